"""``schema``: the JSON Schema of definitions, for editors."""

from __future__ import annotations

import click

from statechain.asl.schema import definition_schema
from statechain.cli.render import echo_json

__all__ = ["schema"]


@click.command()
def schema() -> None:
    """Write the JSON Schema of definitions (draft 2020-12), for editors, as JSON.

    An editor that knows it completes fields, and marks those that a state does not have.
    """
    echo_json(definition_schema(), indent=2)
