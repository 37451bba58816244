"""A deletion whose replies are lost deletes what was meant, no more, and counts each execution once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from statechain import Engine, ExecutionFilter, ExecutionStatus, open_repository
from statechain.storage.repository import CreateStateMachine, DeleteExecutions
from statechain.testing.contract.samples import (
    advance,
    chained,
    commit,
    deleting,
    ending,
    execution,
    finish,
    ids,
    machine,
    moment,
    redriving,
    seed,
    start,
)
from support.faulty_repository import FaultyRepository, as_repository

if TYPE_CHECKING:
    from statechain import Repository

COUNT = 1100
"""More executions than two pages hold."""

ENDED = {"status": ExecutionStatus.SUCCEEDED, "end_time": moment(9)}


@pytest.mark.parametrize(
    ("fields", "gone"),
    [
        ({}, slice(COUNT)),
        ({"limit": 3}, slice(COUNT - 3, COUNT)),
        ({"limit": 3, "offset": 2, "order": "oldest_first"}, slice(2, 5)),
        ({"limit": 700, "offset": 100, "order": "oldest_first"}, slice(100, 800)),
        ({"limit": 1000}, slice(COUNT - 1000, COUNT)),
        ({"offset": 600}, slice(COUNT - 600)),
        ({"status": ["RUNNING", "SUCCEEDED"], "limit": 2, "order": "oldest_first"}, slice(2)),
        ({"status": "RUNNING"}, slice(0)),
        ({"limit": 0}, slice(0)),
        ({"unchained_to": "machine-b", "limit": 600}, slice(COUNT - 600, COUNT)),
    ],
    ids=str,
)
async def test_a_lost_reply_changes_nothing(repository_url: str, fields: dict[str, Any], gone: slice) -> None:
    """Each answer of the storage is lost once: limit and offset count the ended ones, and they count once."""
    running = execution()
    made = [execution(**ENDED) for _ in range(COUNT)]
    wanted = [each for index, each in enumerate(made) if index not in range(COUNT)[gone]]
    async with open_repository(repository_url) as inner:
        await commit(inner, CreateStateMachine(machine=machine("invoices", id="machine-b")))
        await seed(inner, running, *made)
        faulty = FaultyRepository(inner)
        async with Engine(as_repository(faulty), recovery=False) as engine:
            faulty.lose_replies()
            assert await engine.delete_executions(ExecutionFilter(**fields)) == COUNT - len(wanted)
            faulty.lose_replies(whether=False)
            left = await engine.list_execution_ids(ExecutionFilter(order="oldest_first"))
        assert left == ids([running, *wanted])
        assert faulty.failed or fields == {"limit": 0}


class Meanwhile(FaultyRepository):
    """Lets something happen before the first deletion, when its executions were read."""

    def __init__(self, inner: Repository, act: Callable[[], Awaitable[object]]) -> None:
        super().__init__(inner)
        self._act: Callable[[], Awaitable[object]] | None = act

    async def commit(self, writes: Sequence[Any]) -> Sequence[object]:
        if self._act is not None and any(isinstance(write, DeleteExecutions) for write in writes):
            act, self._act = self._act, None
            await act()
        return await super().commit(writes)


async def delete_while(
    inner: Repository, select: ExecutionFilter, act: Callable[[], Awaitable[object]]
) -> tuple[int, list[str]]:
    """Delete what a filter means while something happens; return the count, and what is left, oldest first."""
    async with Engine(as_repository(Meanwhile(inner, act)), recovery=False) as engine:
        count = await engine.delete_executions(select)
        return count, await engine.list_execution_ids(ExecutionFilter(order="oldest_first"))


async def test_what_is_redriven_meanwhile_stays_though_it_ends(repository_url: str) -> None:
    """It was meant as a failure, and is a success by the time of the write."""
    async with open_repository(repository_url) as inner:
        made = [await finish(inner, status=ExecutionStatus.FAILED) for _ in range(3)]

        async def redrive() -> None:
            claim = await commit(inner, redriving(made[1]))
            assert claim is not None
            await commit(inner, advance(made[1], epoch=claim.epoch, end=ending()))

        failed = ExecutionFilter(status="FAILED")
        assert await delete_while(inner, failed, redrive) == (2, [made[1].id])


async def test_what_somebody_else_deletes_meanwhile_is_gone(repository_url: str) -> None:
    async with open_repository(repository_url) as inner:
        made = [await finish(inner) for _ in range(3)]
        oldest = ExecutionFilter(order="oldest_first", limit=2)
        assert await delete_while(inner, oldest, lambda: commit(inner, deleting(made[0]))) == (2, [made[2].id])


async def test_what_ends_meanwhile_is_not_among_what_was_read(repository_url: str) -> None:
    async with open_repository(repository_url) as inner:
        await finish(inner)
        running = await start(inner)
        assert await delete_while(inner, ExecutionFilter(), lambda: finish(inner, of=running)) == (1, [running.id])


async def test_a_chain_that_is_deleted_makes_no_source_meant(repository_url: str) -> None:
    """The targets fill the first page; when it is gone, their sources are chained no more."""
    sources = [execution(**ENDED) for _ in range(COUNT // 2)]
    targets = [chained(each, **ENDED) for each in sources]
    async with open_repository(repository_url) as inner:
        await commit(inner, CreateStateMachine(machine=machine("invoices", id="machine-b")))
        await seed(inner, *sources, *targets)
        async with Engine(inner, recovery=False) as engine:
            unchained = ExecutionFilter(unchained_to="machine-b")
            assert await engine.delete_executions(unchained) == len(targets)
            assert await engine.list_execution_ids(ExecutionFilter(order="oldest_first")) == ids(sources)
