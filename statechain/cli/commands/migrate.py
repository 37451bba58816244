"""``migrate``: the schema of a storage, brought to what this release needs, however long that takes."""

from __future__ import annotations

import click

from statechain.cli.command import asynchronous
from statechain.cli.storage import Storage, storage_option
from statechain.cli.terminal import echo_err
from statechain.storage.open import open_repository

__all__ = ["migrate"]


@click.command()
@storage_option
@asynchronous
async def migrate(storage: Storage) -> None:
    """Create the schema of a storage, or upgrade it to what this release needs.

    Every engine does that when it opens, and gives up where it takes longer than storage may be away. In a database
    with millions of executions an upgrade takes minutes: this command waits for it.
    """
    # Not by an engine, which gives up where storage does not open in time.
    async with open_repository(storage.url):
        echo_err("the schema is what this release needs")
