"""What the executions of a command run with: handlers, a transformer of inputs, a folder of files."""

from __future__ import annotations

import click

from statechain.cli.options.objects import TASKS, TRANSFORMER

__all__ = ["files_option", "tasks_option", "transformer_option"]

tasks_option = click.option("--tasks", type=TASKS, help="The handlers: a TaskRegistry, as module:attribute.")
files_option = click.option(
    "--files",
    type=click.Path(exists=True, file_okay=False),
    help="The folder in the place of S3, for distributed Maps: a bucket is a folder in it.",
)
transformer_option = click.option(
    "--input-transformer",
    "transformer",
    type=TRANSFORMER,
    help="Maps a source's output to an input: module:function, or a name that is registered in the handlers.",
)
