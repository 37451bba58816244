"""The contract of dispatchers that deliver tickets (see `statechain.tickets`), as one pytest class to inherit.

An adapter's test file is a subclass with one fixture::

    class TestMyDispatcher(DispatcherContract):
        @pytest_asyncio.fixture
        async def dispatcher(self):
            async with MyDispatcher(...) as dispatcher:
                yield dispatcher

No ticket waits in it at first. A second fixture has a default to override: ``other``, another dispatcher that is
connected to the same place (by default the same object). The tests need pytest-asyncio, in either mode.
"""

# ruff: noqa: D102, S101 -- a test's name says what it shows

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from statechain.tickets import Dispatcher, Outcome, Ticket, Work

__all__ = ["DispatcherContract"]

SECONDS = 20.0
"""What is awaited for longer does not happen."""


def tickets(count: int, *, batch_id: str = "batch") -> list[Ticket]:
    """Return some tickets."""
    return [Ticket(batch_id, number, 0) for number in range(count)]


class _Worker:
    """Work that notes what it is given, and may be held back."""

    def __init__(self, *failing: Ticket, outcome: Outcome = Outcome.DONE) -> None:
        self.begun: list[Ticket] = []
        self.ended: list[Ticket] = []
        self.running = self.peak = 0
        self.failing = failing
        self.outcome = outcome
        self.gate = asyncio.Event()
        self.gate.set()
        self._changed = asyncio.Condition()

    async def __call__(self, ticket: Ticket) -> Outcome:
        self.begun.append(ticket)
        self.running += 1
        self.peak = max(self.peak, self.running)
        await self._notify()
        try:
            await self.gate.wait()
        finally:
            self.running -= 1
        if ticket in self.failing:
            raise RuntimeError("the work fails")
        self.ended.append(ticket)
        await self._notify()
        return self.outcome

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def has_begun(self, expected: Iterable[Ticket]) -> None:
        await self._until(lambda: set(self.begun) >= set(expected))

    async def has_ended(self, expected: Iterable[Ticket]) -> None:
        await self._until(lambda: set(self.ended) >= set(expected))

    async def _until(self, condition: Any) -> None:  # noqa: ANN401 -- a function without arguments
        async with asyncio.timeout(SECONDS), self._changed:
            await self._changed.wait_for(condition)


@asynccontextmanager
async def serving(dispatcher: Dispatcher, work: Work, *, slots: int = 4) -> AsyncIterator[asyncio.Task[None]]:
    """Serve meanwhile."""
    task = asyncio.create_task(dispatcher.serve(work, slots=slots))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.asyncio
class DispatcherContract:
    """What an engine asks of its dispatcher: to inherit in its tests."""

    @pytest.fixture
    def other(self, dispatcher: Dispatcher) -> Dispatcher:
        """Another dispatcher that is connected to the same place; by default the same object."""
        return dispatcher

    async def test_it_keeps_the_protocol(self, dispatcher: Dispatcher) -> None:
        assert isinstance(dispatcher, Dispatcher)

    async def test_what_is_dispatched_is_delivered(self, dispatcher: Dispatcher, other: Dispatcher) -> None:
        work = _Worker()
        async with serving(other, work):
            await dispatcher.dispatch(tickets(10))
            await work.has_ended(tickets(10))

    async def test_what_waits_is_delivered_once_it_is_served(self, dispatcher: Dispatcher, other: Dispatcher) -> None:
        await dispatcher.dispatch(tickets(3))
        work = _Worker()
        async with serving(other, work):
            await work.has_ended(tickets(3))

    async def test_no_tickets_are_no_error(self, dispatcher: Dispatcher) -> None:
        await dispatcher.dispatch([])

    async def test_a_ticket_that_waits_may_be_dispatched_again(self, dispatcher: Dispatcher) -> None:
        await dispatcher.dispatch(tickets(2))
        await dispatcher.dispatch(tickets(3))
        work = _Worker()
        async with serving(dispatcher, work):
            await work.has_ended(tickets(3))

    async def test_a_ticket_that_was_delivered_may_be_dispatched_again(self, dispatcher: Dispatcher) -> None:
        work = _Worker()
        async with serving(dispatcher, work):
            for _ in range(2):
                await dispatcher.dispatch(tickets(1))
                await work.has_ended(tickets(1))
                work.ended.clear()

    async def test_a_ticket_may_be_dispatched_again_while_it_runs(self, dispatcher: Dispatcher) -> None:
        work = _Worker()
        work.gate.clear()
        async with serving(dispatcher, work):
            await dispatcher.dispatch(tickets(1))
            await work.has_begun(tickets(1))
            await dispatcher.dispatch(tickets(1))
            work.gate.set()
            await work.has_ended(tickets(1))

    async def test_the_work_may_dispatch(self, dispatcher: Dispatcher) -> None:
        first, second = tickets(2)
        done = asyncio.Event()

        async def work(ticket: Ticket) -> Outcome:
            if ticket == first:
                await dispatcher.dispatch([second])
            else:
                done.set()
            return Outcome.DONE

        # The only slot is taken by the work that dispatches: to dispatch must not wait for a slot.
        async with serving(dispatcher, work, slots=1), asyncio.timeout(SECONDS):
            await dispatcher.dispatch([first])
            await done.wait()

    async def test_no_more_run_at_once_than_there_are_slots(self, dispatcher: Dispatcher) -> None:
        work = _Worker()
        work.gate.clear()
        async with serving(dispatcher, work, slots=2):
            await dispatcher.dispatch(tickets(6))
            await work.has_begun(work.begun)
            while work.running < 2:  # noqa: ASYNC110 -- the work is no event
                await asyncio.sleep(0.01)
            work.gate.set()
            await work.has_ended(tickets(6))
        assert work.peak == 2

    async def test_two_that_serve_share_the_tickets(self, dispatcher: Dispatcher, other: Dispatcher) -> None:
        one, two = _Worker(), _Worker()
        one.gate.clear()
        two.gate.clear()
        async with serving(dispatcher, one, slots=1), serving(other, two, slots=1):
            await dispatcher.dispatch(tickets(2))
            async with asyncio.timeout(SECONDS):
                while not (one.begun and two.begun):  # noqa: ASYNC110 -- there are two to wait for
                    await asyncio.sleep(0.01)
            one.gate.set()
            two.gate.set()
        assert {*one.begun, *two.begun} == {*tickets(2)}

    async def test_work_that_fails_or_is_busy_ends_nothing_else(self, dispatcher: Dispatcher) -> None:
        first, *others = tickets(5)
        work = _Worker(first, outcome=Outcome.BUSY)
        async with serving(dispatcher, work, slots=1) as server:
            await dispatcher.dispatch([first])
            await work.has_begun([first])
            await dispatcher.dispatch(others)
            await work.has_ended(others)
            assert not server.done()

    async def test_a_server_that_is_cancelled_waits_for_what_runs(self, dispatcher: Dispatcher) -> None:
        work = _Worker()
        work.gate.clear()
        async with serving(dispatcher, work, slots=1) as server:
            await dispatcher.dispatch(tickets(2))
            await work.has_begun([])
            while not work.begun:  # noqa: ASYNC110 -- either may be the first
                await asyncio.sleep(0.01)
            server.cancel()
            # Time enough to end at once, or to take another ticket.
            await asyncio.sleep(0.05)
            assert not server.done()
            assert work.running == 1
            work.gate.set()
            async with asyncio.timeout(SECONDS):
                await asyncio.wait([server])
            assert server.cancelled()
        assert len(work.ended) == len(work.begun) == 1, "it took no more tickets"

    async def test_it_counts_what_waits(self, dispatcher: Dispatcher) -> None:
        if await dispatcher.depth() is None:
            pytest.skip("it does not know how many wait")
        assert await dispatcher.depth() == 0
        await dispatcher.dispatch(tickets(3))
        assert await dispatcher.depth() == 3
        work = _Worker()
        async with serving(dispatcher, work):
            await work.has_ended(tickets(3))
        assert await dispatcher.depth() == 0
