"""Freezing the sources of a batch in SQLite without holding up other writes, however many they are.

One statement of a reader finds the sources, and keeps their ids in its own temporary table: a snapshot that was
held for longer would keep the write-ahead log from being emptied. From there they are written in short transactions,
between which others write; the batch itself is written last, so that it is there with all of its items or not at all.
What a crash leaves behind belongs to a batch that does not exist, and nothing reads it. So these transactions need not
wait for the disk: the commit of the batch syncs the write-ahead log, with all that was written to it before.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import attrs
from sqlalchemy.dialects.sqlite import insert

from statechain.storage.repository import items_missing
from statechain_backends.sql import filters
from statechain_backends.sql.compiler import param
from statechain_backends.sql.schema.tables import batch_items
from statechain_backends.sql.scripts import batches
from statechain_backends.sql.text_escape import escape_rows, unescape_text
from statechain_backends.sqlite.unsynced import no_sync
from statechain_backends.sqlite.writes import COMPILER, perform

if TYPE_CHECKING:
    from statechain.errors import StatechainError
    from statechain.records.batches import Batch
    from statechain.records.filters import ExecutionFilter
    from statechain.storage.repository import CreateBatch
    from statechain_backends.sqlite.connection import ConnectionThread
    from statechain_backends.sqlite.readers import Reader, Readers

__all__ = ["Chunks", "Freezing"]

CHUNK_SECONDS = 0.01
"""How long a transaction may take, for which other writes wait; the next one is sized by the pace of the last."""

_COLUMNS = ("batch_id", "index", "source_execution_id", "name")
_added = insert(batch_items).values({name: param(f"new_{name}") for name in _COLUMNS})
_ADD_ITEM = _added.on_conflict_do_update(  # what an attempt that was given up has left is written over
    index_elements=[batch_items.c.batch_id, batch_items.c.index],
    set_={name: _added.excluded[name] for name in ("source_execution_id", "name")},
)


@attrs.frozen
class Chunks:
    """How many sources one transaction writes: the first one, and the bounds of those after it."""

    first: int = 500
    least: int = 50
    most: int = 2000


class Freezing:
    """Stores one batch with its items.

    Arguments:
        writer: The connection that writes.

        readers: Those that read, of which one is borrowed: it keeps the ids of the sources while this runs.

        write: The batch, and what its sources are.

        chunks: How many sources one transaction writes.
    """

    def __init__(
        self, writer: ConnectionThread, readers: Readers, write: CreateBatch, chunks: Chunks | None = None
    ) -> None:
        self._writer = writer
        self._readers = readers
        self._write = write
        self._chunks = chunks or Chunks()
        self._is_given_up = False

    def give_up(self) -> None:
        """End after the next chunk, and store no batch."""
        self._is_given_up = True

    async def run(self) -> Batch | StatechainError | None:
        """Store the batch and return it; None where that was given up. Not to be cancelled, as no read is."""
        batch = self._write.batch
        if (stored := await self._writer.run(perform, batches.stored_batch(batch.id))) is not None:
            return cast("Batch", stored)  # this write was made before, and its reply was lost
        if self._write.joins and (twin := await self._writer.run(perform, batches.running_twin(batch))) is not None:
            return cast("Batch", twin)
        if self._write.filter_ is None:  # its items were added before
            added = await self._add(self._write.item_count)
            return items_missing(self._write) if added is None else added
        async with self._readers.lend() as reader:
            try:
                await self._find(reader, self._write.filter_)
                added = None
                while added is None:  # again where `statechain doctor` has deleted items of a batch not there yet
                    count = await self._copy(reader)
                    if self._is_given_up:
                        return None
                    added = await self._add(count)
                return added
            # The connection goes back into the pool, where the next batch would meet its table.
            finally:
                await reader.fetch("DROP TABLE IF EXISTS temp.found")

    async def _add(self, count: int) -> Batch | None:
        """Write the batch in the transaction that finds all of its items; None where any is missing."""
        added = batches.add_frozen_batch(self._write.batch, count, joins=self._write.joins)
        return cast("Batch | None", await self._writer.run(perform, added))

    async def _find(self, reader: Reader, filter_: ExecutionFilter) -> None:
        """Keep the ids of all sources, in their order."""
        text, arguments = COMPILER.render(filters.chosen_ids(filter_), None)
        await reader.fetch("CREATE TEMP TABLE found (place INTEGER PRIMARY KEY, id, start_time)")
        await reader.fetch(f"INSERT INTO temp.found (id, start_time) {text}", arguments)

    async def _copy(self, reader: Reader) -> int:
        """Write an item for each id that was kept; return how many."""
        count, size = 0, self._chunks.first
        while not self._is_given_up and (ids := await _next_chunk(reader, count, size)):
            seconds = await self._writer.run(self._add_items, count, ids)
            count += len(ids)
            # At most doubled: one quick chunk says little of the next.
            pace = CHUNK_SECONDS / max(seconds, 1e-6)
            size = min(max(round(size * min(pace, 2.0)), self._chunks.least), self._chunks.most)
        return count

    def _add_items(self, connection: sqlite3.Connection, first: int, ids: Sequence[str]) -> float:
        """Write items in a transaction; return how many seconds other writes had to wait for it."""
        began = time.monotonic()
        batch = self._write.batch
        rows = [(batch.id, index, id_, f"{batch.name_prefix}-{id_}") for index, id_ in enumerate(ids, first)]
        with no_sync(connection):
            connection.execute("BEGIN IMMEDIATE")
            try:
                connection.executemany(COMPILER.known(_ADD_ITEM).text, escape_rows(rows))
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        return time.monotonic() - began


async def _next_chunk(reader: Reader, after: int, size: int) -> list[str]:
    rows = await reader.fetch("SELECT id FROM temp.found WHERE place > ? ORDER BY place LIMIT ?", (after, size))
    return [unescape_text(id_) for (id_,) in rows]
