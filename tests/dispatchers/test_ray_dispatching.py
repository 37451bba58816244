"""What the dispatcher over Ray does with its actors, of which there are doubles here."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

pytest.importorskip("ray")

from ray.exceptions import RayActorError

from statechain.dispatchers.ray import RayDispatcher
from statechain.errors import RepositoryUnavailable
from statechain.tickets import Ticket


class Method:
    """A method of an actor: what it answers, or raises."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    async def remote(self, *_arguments: object) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return await self.answer.wait() if isinstance(self.answer, asyncio.Event) else self.answer


class Actor:
    def __init__(self, run: Any) -> None:
        self.open, self.run = Method("worker-of-an-actor"), Method(run)


class Dispatcher(RayDispatcher):
    """Finds actors that are no actors, and counts how often."""

    def __init__(self, *runs: Any) -> None:
        super().__init__("app:make_engine", actors=len(runs), slots=1)
        self.runs = runs
        self.found = 0

    def _find_actors(self) -> list[Any]:
        self.found += 1
        return [Actor(run) for run in self.runs]


async def settled() -> None:
    """Give tasks their turns."""
    for _ in range(9):
        await asyncio.sleep(0)
    gc.collect()


async def test_a_death_that_cannot_be_reported_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    lost: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: lost.append(context))

    async def report(worker_id: str) -> None:
        raise RepositoryUnavailable(f"storage is away, {worker_id}")

    dispatcher = Dispatcher(RayActorError())
    dispatcher.report_death = report
    await dispatcher.dispatch([Ticket("batch", 0, 0)])
    await settled()
    assert lost == []
    assert "could not be reported: storage is away, worker-of-an-actor" in caplog.text


async def test_actors_are_found_once_by_two_that_dispatch_first() -> None:
    ends = asyncio.Event()
    async with Dispatcher(ends) as dispatcher:
        # The second one finds no slot: what the first has submitted counts.
        await asyncio.gather(*(dispatcher.dispatch([Ticket("batch", shard, 0)]) for shard in range(2)))
        assert dispatcher.found == 1
        assert [len(tasks) for tasks in dispatcher._outstanding.values()] == [1]
