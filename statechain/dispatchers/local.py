"""A dispatcher inside one event loop: a queue that the engines of one process share.

Engines in one process need none, since each looks in storage. It is for tests, and shows what an adapter does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from statechain.tickets import Ticket, Work

__all__ = ["LocalDispatcher"]

logger = logging.getLogger(__name__)


class LocalDispatcher:
    """Carries tickets between engines of one event loop; what waits is lost with the process."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Ticket] = asyncio.Queue()
        self._waiting: set[Ticket] = set()

    async def dispatch(self, tickets: Sequence[Ticket]) -> None:
        """Queue tickets; one that waits already is not queued again."""
        for ticket in tickets:
            if ticket not in self._waiting:
                self._waiting.add(ticket)
                self._queue.put_nowait(ticket)

    async def serve(self, work: Work, *, slots: int) -> None:
        """Do the work for each ticket, at most ``slots`` at once, until cancelled; then wait for the work that runs."""
        gate = asyncio.Semaphore(slots)
        running: set[asyncio.Task[object]] = set()

        def end(task: asyncio.Task[object]) -> None:
            running.discard(task)
            gate.release()

        async with asyncio.TaskGroup() as group:
            try:
                while True:
                    # The slot comes first: until one is free a ticket stays in the queue, where `depth` counts it
                    # and another server may take it.
                    await gate.acquire()
                    ticket = await self._queue.get()
                    # Before the work: a ticket dispatched during it must be queued again, or its signal is lost.
                    self._waiting.discard(ticket)
                    task: asyncio.Task[object] = group.create_task(_call(work, ticket))
                    running.add(task)
                    task.add_done_callback(end)
            except asyncio.CancelledError:
                # Inside the group: an exception that leaves its body cancels the tasks that still run.
                if running:
                    await asyncio.wait(running)
                raise

    async def depth(self) -> int:
        """Return how many tickets wait."""
        return len(self._waiting)


async def _call(work: Work, ticket: Ticket) -> None:
    """Do the work; a ticket that is BUSY or fails is dropped, since the sender's sweep sends it again."""
    try:
        await work(ticket)
    except Exception as error:  # noqa: BLE001 -- one ticket's error must not end the others' work
        logger.warning("shard %s of the batch %s: %s", ticket.shard, ticket.batch_id, error)
