"""The thread of the connection that writes, and the connections that read beside it."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from statechain import Batch, RepositoryError, SQLiteRepository
from statechain.testing.contract.samples import finish, freeze, start
from statechain_backends.sqlite.connection import ConnectionThread
from statechain_backends.sqlite.freezing import Freezing


def connect() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", isolation_level=None)


def ask(connection: sqlite3.Connection, number: int) -> Any:
    (answer,) = connection.execute("SELECT ?", (number,)).fetchone()
    return answer


def threads() -> int:
    return sum(each.name == "statechain sqlite" for each in threading.enumerate())


async def threads_end() -> None:
    async with asyncio.timeout(10):
        while threads():  # noqa: ASYNC110 -- the end of a thread has no event
            await asyncio.sleep(0.001)


@pytest_asyncio.fixture
async def opened() -> AsyncIterator[ConnectionThread]:
    thread = ConnectionThread(connect)
    await thread.open()
    yield thread
    await thread.close()


async def test_functions_run_one_after_the_other_in_one_thread_that_is_not_the_loops(opened: ConnectionThread) -> None:
    order: list[int] = []

    def note(_: sqlite3.Connection, number: int) -> int:
        order.append(number)
        return threading.get_ident()

    idents = await asyncio.gather(*(opened.run(note, number) for number in range(50)))
    assert order == [*range(50)]
    assert len({*idents, threading.get_ident()}) == 2


async def test_what_a_function_raises_is_raised_where_it_is_awaited(opened: ConnectionThread) -> None:
    with pytest.raises(RepositoryError, match="SQLITE_ERROR"):
        await opened.run(lambda each: each.execute("SELECT * FROM nowhere"))
    with pytest.raises(ZeroDivisionError):
        await opened.run(lambda _: 1 // 0)
    assert await opened.run(ask, 7) == 7


async def test_a_function_runs_to_its_end_although_its_caller_is_cancelled(opened: ConnectionThread) -> None:
    may_end, ended = threading.Event(), threading.Event()

    def work(_: sqlite3.Connection) -> None:
        may_end.wait(10)
        ended.set()

    def fail(_: sqlite3.Connection) -> None:
        raise ZeroDivisionError

    calls = [asyncio.create_task(opened.run(work)), asyncio.create_task(opened.run(fail))]
    await asyncio.sleep(0)
    for call in calls:
        call.cancel()
    assert {type(each) for each in await asyncio.gather(*calls, return_exceptions=True)} == {asyncio.CancelledError}
    may_end.set()
    assert await opened.run(ask, 1) == 1
    assert ended.is_set()


async def test_any_event_loop_may_call_and_one_that_is_closed_is_not_answered(opened: ConnectionThread) -> None:
    may_end = threading.Event()

    async def leave_early() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await opened.run(lambda _: may_end.wait(10))

    await asyncio.to_thread(asyncio.run, leave_early())
    may_end.set()
    assert await asyncio.to_thread(asyncio.run, opened.run(ask, 2)) == 2
    assert await opened.run(ask, 3) == 3


async def test_closing_answers_what_is_queued_and_refuses_what_comes_later() -> None:
    thread = ConnectionThread(connect)
    await thread.open()
    calls = [asyncio.create_task(thread.run(ask, number)) for number in range(9)]
    await asyncio.sleep(0)
    await thread.close()
    assert await asyncio.gather(*calls) == [*range(9)]
    with pytest.raises(RepositoryError, match="not open"):
        await thread.run(ask, 1)
    await thread.close()
    await threads_end()
    await thread.open()
    assert await thread.run(ask, 4) == 4
    await thread.close()
    await threads_end()


async def test_a_connection_that_cannot_be_opened_leaves_no_thread() -> None:
    def refuse() -> sqlite3.Connection:
        return sqlite3.connect("/nowhere/at/all.db")

    thread = ConnectionThread(refuse)
    with pytest.raises(RepositoryError, match="could not be opened"):
        await thread.open()
    with pytest.raises(RepositoryError, match="not open"):
        await thread.run(ask, 1)
    await threads_end()


async def test_what_the_check_raises_replaces_the_result() -> None:
    def check() -> None:
        raise RepositoryError("the file is gone")

    thread = ConnectionThread(connect, check)
    await thread.open()
    with pytest.raises(RepositoryError, match="the file is gone"):
        await thread.run(ask, 1)
    await thread.close()


@pytest.mark.parametrize(
    "name", ["a b.db", "100%.db", "what?.db", "one#two.db", "a&mode=rw.db", "größe 😀.db", "%41.db"]
)
async def test_readers_open_the_file_whatever_its_name(tmp_path: Path, name: str) -> None:
    escaped = name.replace("%", "%25").replace("?", "%3F")
    async with SQLiteRepository(f"sqlite:///{tmp_path}/{escaped}") as repository:
        made = await start(repository)
        assert await repository.execution(made.id) == made
        assert (tmp_path / name).exists()


async def test_a_statement_of_a_reader_writes_nothing_but_temporary_tables(sqlite_url: str) -> None:
    async with SQLiteRepository(sqlite_url) as repository:
        assert repository._readers is not None
        async with repository._readers.lend() as reader:
            with pytest.raises(RepositoryError, match="SQLITE_READONLY"):
                await reader.fetch("CREATE TABLE kept (id)")
            await reader.fetch("CREATE TEMP TABLE passing (id)")
            await reader.fetch("INSERT INTO passing VALUES (?)", (1,))
            assert [tuple(row) for row in await reader.fetch("SELECT id FROM passing")] == [(1,)]


async def test_items_that_are_deleted_while_a_batch_is_frozen_are_written_again(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`statechain doctor` deletes items of no batch, as those of a batch are until all of them are written."""
    add, looks = Freezing._add, 0

    async def add_after_a_repair(freezing: Freezing, count: int) -> Batch | None:
        nonlocal looks
        looks += 1
        if looks == 1:
            found = [finding async for finding in other.check(repair=True)]
            assert {(each.table, each.is_repaired) for each in found} == {("batch_items", True)}
        return await add(freezing, count)

    monkeypatch.setattr(Freezing, "_add", add_after_a_repair)
    async with SQLiteRepository(sqlite_url) as repository, SQLiteRepository(sqlite_url) as other:
        for _ in range(120):
            await finish(repository)
        frozen = await freeze(repository)
        assert (frozen.item_counts.total, looks) == (120, 2)
