"""Freezing on SQLite: short transactions that need not wait for the disk, before one that makes the batch durable."""

from __future__ import annotations

from pathlib import Path

import pytest

from statechain import Batch, ExecutionFilter, SQLiteRepository
from statechain.storage.repository import CreateBatch
from statechain.testing.contract.samples import batch, finish, start
from statechain_backends.sqlite.freezing import Chunks, Freezing

SOURCES = 5


async def traced_freeze(url: str) -> tuple[list[str], str]:
    """Freeze a batch in several transactions; return with which setting each commit was made, and one afterwards."""
    current, commits = "", list[str]()

    def trace(statement: str) -> None:
        nonlocal current
        pragma, _, value = statement.partition("synchronous=")
        if pragma == "PRAGMA ":
            current = value
        elif statement == "COMMIT":
            commits.append(current)

    async with SQLiteRepository(url) as repository:
        for _ in range(SOURCES):
            await finish(repository)
        await repository._writer.run(lambda connection: connection.set_trace_callback(trace))
        current = await repository._writer.run(
            lambda connection: str(*connection.execute("PRAGMA synchronous").fetchone())
        )
        assert repository._readers is not None
        write = CreateBatch(batch=batch(), filter_=ExecutionFilter())
        frozen = await Freezing(repository._writer, repository._readers, write, Chunks(first=2, least=1, most=2)).run()
        assert isinstance(frozen, Batch)
        during = [*commits]
        await start(repository)
        assert len(await repository.batch_items(frozen.id, page=99)) == SOURCES
        return during, commits[-1]


@pytest.mark.parametrize(
    ("configured", "chunks", "last"),
    [("full", "1", "2"), ("extra", "1", "3"), ("normal", "1", "1"), ("off", "0", "0")],
)
async def test_the_batch_is_as_durable_as_configured_and_its_items_wait_for_no_disk_before(
    tmp_path: Path, configured: str, chunks: str, last: str
) -> None:
    commits, afterwards = await traced_freeze(f"sqlite:///{tmp_path / 'shop.db'}?synchronous={configured}")
    assert commits == [last, *[chunks] * 3, last]  # the first one asks whether the batch is there
    assert afterwards == last
