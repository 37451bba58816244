"""Opening an engine while storage is away: one time limit over all calls, and what is given up when it is left."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from statechain import Engine, MemoryRepository
from statechain.errors import RepositoryError, RepositoryUnavailable
from statechain.worker.opening import Opening
from support.faulty_repository import FaultyRepository, as_repository
from support.virtual_loop import run_virtually

AWAY = RepositoryUnavailable("the server is away")


def opening(seconds: float) -> Opening:
    """Return an opening that is not left."""
    return Opening(timedelta(seconds=seconds), asyncio.Event())


def failing(times: int) -> Callable[[], Awaitable[str]]:
    """Return a call that finds storage away so many times, and is then answered."""
    left = [AWAY] * times

    async def call() -> str:
        if left:
            raise left.pop()
        return "answer"

    return call


async def silent() -> str:
    """Wait for ever."""
    await asyncio.Event().wait()
    return "answer"


async def test_storage_is_called_until_it_answers(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with asyncio.timeout(20):
        assert await opening(10).reach(failing(3)) == "answer"
    messages = [record.message for record in caplog.records]
    # The outage is logged once, and that it is over: not each try.
    assert len(messages) == 2
    assert messages[0].startswith("storage cannot be reached, trying for 10 s more: the server is away")
    assert messages[1].startswith("storage can be reached after ")


async def test_an_answer_at_once_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert await opening(10).reach(failing(0)) == "answer"
    assert not caplog.records


@pytest.mark.parametrize(
    ("call", "why"), [(failing(1_000), "the server is away"), (silent, "it does not answer")], ids=["away", "silent"]
)
async def test_the_error_says_for_how_long_and_why_once_the_time_is_over(
    call: Callable[[], Awaitable[str]], why: str
) -> None:
    async with asyncio.timeout(20):
        with pytest.raises(RepositoryUnavailable, match=f"^storage was away for 0.05 s: {why}$"):
            await opening(0.05).reach(call)


async def test_the_time_is_one_for_all_calls() -> None:
    one = opening(0.05)
    async with asyncio.timeout(20):
        with pytest.raises(RepositoryUnavailable):
            await one.reach(silent)
        with pytest.raises(RepositoryUnavailable):
            await one.reach(failing(1))


def test_an_outage_is_logged_every_ten_seconds_and_waited_out_to_the_end_of_the_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def reach() -> float:
        with pytest.raises(RepositoryUnavailable, match=r"^storage was away for 35 s: the server is away$"):
            await opening(35).reach(failing(10_000))
        return asyncio.get_running_loop().time()

    assert run_virtually(reach()) == pytest.approx(35)
    left = [float(record.message.split()[6]) for record in caplog.records]
    assert left[0] == 35
    assert all(10 <= former - later <= 16 for former, later in pairwise(left))
    assert left[-1] <= 16


def test_a_call_without_an_answer_is_given_up_at_the_end_of_the_time() -> None:
    async def reach() -> float:
        with pytest.raises(RepositoryUnavailable, match=r"^storage was away for 35 s: it does not answer$"):
            await opening(35).reach(silent)
        return asyncio.get_running_loop().time()

    assert run_virtually(reach()) == pytest.approx(35)


async def test_another_error_of_storage_is_raised_at_once() -> None:
    async def refuse() -> str:
        raise RepositoryError("no such database")

    async with asyncio.timeout(20):
        with pytest.raises(RepositoryError, match="no such database"):
            await opening(1_000).reach(refuse)


async def test_what_is_left_meanwhile_is_cancelled_and_waited_for() -> None:
    closing, ends = asyncio.Event(), list[str]()
    one = Opening(timedelta(seconds=1_000), closing)

    async def work() -> None:
        try:
            closing.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ends.append("ended")

    async with asyncio.timeout(20):
        assert await one.unless_left(work()) is None
    assert ends == ["ended"]


async def test_what_is_not_left_returns_or_raises() -> None:
    assert await opening(10).unless_left(failing(0)()) == "answer"
    with pytest.raises(RepositoryUnavailable):
        await opening(10).unless_left(failing(1)())


@pytest.mark.parametrize("is_forked", [False, True])
@pytest.mark.parametrize("given", [None, "given"])
async def test_an_engine_that_is_made_before_a_fork_and_opened_after_it_has_another_id_unless_one_was_given(
    given: str | None, monkeypatch: pytest.MonkeyPatch, *, is_forked: bool
) -> None:
    async with MemoryRepository() as repository:
        engine = Engine(repository, worker_id=given)
        former = engine.worker.id
        if is_forked:
            monkeypatch.setattr(os, "getpid", lambda: -1)
        async with engine:
            assert [lease.worker_id for lease in await repository.workers()] == [engine.worker.id]
            assert engine.worker.id
            assert (engine.worker.id != former) is (is_forked and given is None)


class RefusesLeases(FaultyRepository):
    """Registers no worker."""

    async def renew_lease(self, *_arguments: object) -> bool:
        raise RepositoryError("no lease for you")


async def test_an_engine_to_which_storage_gives_no_lease_raises_that_as_it_is_opened() -> None:
    async with MemoryRepository() as inner, asyncio.timeout(20):
        with pytest.raises(RepositoryError, match="no lease for you"):
            await Engine(as_repository(RefusesLeases(inner))).__aenter__()


async def test_an_engine_whose_opening_is_cancelled_is_closed() -> None:
    asked = asyncio.Event()

    class Silent(FaultyRepository):
        async def renew_lease(self, *_arguments: object) -> bool:
            asked.set()
            await asyncio.Event().wait()
            return True

    async with MemoryRepository() as inner, asyncio.timeout(20):
        opened = asyncio.create_task(Engine(as_repository(Silent(inner))).__aenter__())
        await asked.wait()
        opened.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opened
        assert await inner.workers() == []


@pytest.mark.parametrize("role", ["worker", "client", "reader"])
async def test_an_engine_of_each_role_that_is_left_by_an_exception_raises_that(role: Any) -> None:
    async with asyncio.timeout(20):
        with pytest.raises(LookupError, match="the body's own"):
            async with Engine("memory://", role=role):
                raise LookupError("the body's own")
