"""The commands, together."""

from __future__ import annotations

from importlib.metadata import version

import click

from statechain.cli.aws import import_aws
from statechain.cli.batch import batch
from statechain.cli.batches import batches
from statechain.cli.console import console
from statechain.cli.doctor import doctor
from statechain.cli.executions import history, list_executions, show, stop
from statechain.cli.graph import graph
from statechain.cli.run import redrive, run
from statechain.cli.schema import schema
from statechain.cli.session import VARIABLES
from statechain.cli.statistics import statistics
from statechain.cli.tasks import tasks
from statechain.cli.terminal import prepare_streams
from statechain.cli.validate import validate
from statechain.cli.worker import worker

__all__ = ["cli"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--repository", metavar="URL", help=f"The storage, for any command; also {' or '.join(VARIABLES)}.")
@click.version_option(version("statechain"), prog_name="statechain", message="%(prog)s %(version)s")
def cli(repository: str | None) -> None:  # noqa: ARG001 -- `storage_option` reads it
    """Durable Amazon States Language state machines, chained in batches."""
    prepare_streams()


for command in (
    validate,
    schema,
    run,
    batch,
    list_executions,
    show,
    history,
    graph,
    stop,
    redrive,
    batches,
    tasks,
    statistics,
    worker,
    console,
    doctor,
    import_aws,
):
    cli.add_command(command)
