"""The commands, together."""

from __future__ import annotations

from importlib.metadata import version

import click

from statechain.cli.command import Commands
from statechain.cli.commands.aws import import_aws
from statechain.cli.commands.batch import batch
from statechain.cli.commands.batches import batches
from statechain.cli.commands.console import console
from statechain.cli.commands.doctor import doctor
from statechain.cli.commands.executions import history, list_executions, show, stop
from statechain.cli.commands.graph import graph
from statechain.cli.commands.limits import limits
from statechain.cli.commands.migrate import migrate
from statechain.cli.commands.run import redrive, run
from statechain.cli.commands.schema import schema
from statechain.cli.commands.statistics import statistics
from statechain.cli.commands.tasks import tasks
from statechain.cli.commands.validate import validate
from statechain.cli.commands.worker import worker
from statechain.cli.storage import VARIABLES
from statechain.cli.terminal import prepare_streams

__all__ = ["cli"]


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--repository", metavar="URL", help=f"The storage, for any command; also {' or '.join(VARIABLES)}.")
@click.version_option(version("statechain"), prog_name="statechain", message="%(prog)s %(version)s")
def cli(repository: str | None) -> None:  # noqa: ARG001 -- `storage_option` reads it
    """Durable Amazon States Language state machines, chained in batches."""
    # Once more: the colour is turned off in click's context, which there is none of before.
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
    limits,
    statistics,
    worker,
    console,
    doctor,
    migrate,
    import_aws,
):
    cli.add_command(command)
