"""Waiting for executions that run elsewhere: one query for all of them at each poll, however many wait."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import suppress
from functools import partial
from itertools import islice
from math import ceil
from typing import TYPE_CHECKING, Any

from statechain.errors import ExecutionNotFound, StatechainError
from statechain.storage.retrying import retry_while_unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from statechain.records.executions import Execution
    from statechain.storage.repository import Repository

__all__ = ["EndWatcher"]

PAGE = 500
"""How many executions one query asks for."""

FIRST_POLL = 0.02
LONGEST_POLL = 0.5
POLL_PER_PAGE = 0.2
"""Seconds between two polls: few for an execution that is waited for since now, more for each query that a poll is."""

ALONE = 8
"""Up to this many, executions are read at each poll: one query, not two. More are first asked whether they run."""

FEW = 0.1
"""The part of a page up to which a poll may follow the one before it after `FIRST_POLL`."""


class EndWatcher:
    """Polls storage for the ends of executions that other workers run.

    It has no separate task. One of its waiters polls for all; when that one has its answer, or is cancelled, it hands
    over to another.
    """

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._waiting: defaultdict[str, set[asyncio.Future[Execution]]] = defaultdict(set)
        # In their order, as keys: a waiter that has its end is taken out, wherever it is.
        self._successors: dict[asyncio.Future[Any], None] = {}
        self._is_polled = False
        self._pause = FIRST_POLL
        self._arrived = asyncio.Event()

    async def wait(self, execution_id: str) -> Execution:
        """Return an execution once it has ended. Raises ExecutionNotFound."""
        end: asyncio.Future[Execution] = asyncio.get_running_loop().create_future()
        self._waiting[execution_id].add(end)
        self._pause = FIRST_POLL
        self._arrived.set()
        try:
            while not end.done():
                if self._is_polled:
                    await self._follow(end)
                else:
                    await self._poll_until(end)
            return end.result()
        finally:
            self._forget(execution_id, end)

    def awaited(self, most: int) -> list[str]:
        """Return the ids of executions whose end is waited for, at most that many."""
        return list(islice(self._waiting, most))

    def is_awaited(self, execution_id: str) -> bool:
        """Return whether something in this process waits for the end of an execution."""
        return execution_id in self._waiting

    def note_end(self, execution: Execution) -> None:
        """Resolve the waiters of an execution whose end is known here."""
        for end in self._waiting.get(execution.id, ()):
            if not end.done():
                end.set_result(execution)

    def _forget(self, execution_id: str, end: asyncio.Future[Execution]) -> None:
        waiting = self._waiting.get(execution_id)
        if waiting is not None:
            waiting.discard(end)
            if not waiting:
                del self._waiting[execution_id]

    async def _follow(self, end: asyncio.Future[Execution]) -> None:
        """Return once the end is there, or it is this waiter's turn to poll."""
        turn: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._successors[turn] = None
        either: list[asyncio.Future[Any]] = [end, turn]
        will_poll = False
        try:
            # Waited for beside the turn: the poller resolves ends of all, and its own only among them.
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            will_poll = not end.done()
        finally:
            self._successors.pop(turn, None)
            if turn.done() and not will_poll:  # it has its end, or is cancelled: the turn is another's
                self._pass_on()

    async def _poll_until(self, end: asyncio.Future[Execution]) -> None:
        self._is_polled = True
        try:
            while not end.done():
                await self._poll()
                if not end.done():
                    await self._sleep()
        finally:
            # Also where the poller was cancelled: polling must not end with it while others wait.
            self._is_polled = False
            self._pass_on()

    def _pass_on(self) -> None:
        """Have the next waiter poll."""
        turn = next(iter(self._successors), None)
        if turn is not None:
            del self._successors[turn]
            turn.set_result(None)

    async def _sleep(self) -> None:
        """Wait for the next poll; a new waiter brings it forward, but not below what the queries of a poll allow."""
        pages = len(self._waiting) / PAGE
        least = max(FIRST_POLL, POLL_PER_PAGE * (ceil(pages) if pages > FEW else 0))
        pause, self._pause = max(least, self._pause), min(2 * self._pause, LONGEST_POLL)
        self._arrived.clear()
        await asyncio.sleep(least)
        with suppress(TimeoutError):
            async with asyncio.timeout(pause - least):
                await self._arrived.wait()

    async def _poll(self) -> None:
        """Ask which executions still run, and read those that do not."""
        # A copy: waiters come and go while storage is asked.
        ids = list(self._waiting)
        for begin in range(0, len(ids), PAGE):
            page = ids[begin : begin + PAGE]
            if len(ids) <= ALONE:
                await self._read(page)
                continue
            running = await retry_while_unavailable(partial(self._repository.epochs, page))
            over = [each for each in page if each not in running]
            if over:
                await self._read(over)

    async def _read(self, ids: Sequence[str]) -> None:
        read = await retry_while_unavailable(partial(self._repository.executions_with, ids))
        found = {each.id: each for each in read}
        for id_ in ids:
            execution = found.get(id_)
            if execution is None:
                await self._read_alone(id_)
            elif execution.status.is_terminal:  # else it was redriven in between
                self.note_end(execution)

    async def _read_alone(self, execution_id: str) -> None:
        """Find out why an execution was not among those that were read: it does not exist, or its row is damaged."""
        error: StatechainError = ExecutionNotFound(f"there is no execution {execution_id!r}")
        try:
            execution = await retry_while_unavailable(partial(self._repository.execution, execution_id))
            if execution is not None:
                # It was inserted, or its row repaired, between the two reads: the next poll reads it.
                return
        except StatechainError as damaged:
            error = damaged
        for end in self._waiting.get(execution_id, ()):
            if not end.done():
                end.set_exception(error)
