"""Cancelling somebody at the n-th suspension: of a coroutine, or of everything that runs in a loop.

A coroutine is driven by hand; each time it would give up control is a suspension. The sum over all tasks of a loop visits
also the moments at which the caller itself sleeps through.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

import attrs

__all__ = ["Suspensions", "run_cancelled"]

T = TypeVar("T")


@attrs.define
class Suspensions:
    """Counts suspensions, and acts at one of them.

    Attributes:
        at: At which one, counted from 1.

        act: What is done then.

        count: How many there have been.
    """

    at: int
    act: Callable[[], object] = lambda: None
    count: int = 0

    def note(self) -> None:
        self.count += 1
        if self.count == self.at:
            self.act()

    @types.coroutine
    def drive(self, coroutine: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
        """Run a coroutine to its end, noting each suspension."""
        thrown: BaseException | None = None
        while True:
            try:
                awaited = coroutine.send(None) if thrown is None else coroutine.throw(thrown)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]
            self.note()
            try:
                yield awaited
            except BaseException as fault:  # noqa: BLE001 -- whatever comes in is the coroutine's
                thrown = fault
            else:
                thrown = None


async def run_cancelled(
    work: Coroutine[Any, Any, T], suspensions: Suspensions, *, everywhere: bool
) -> T | None:
    """Run work in a task that is cancelled at a suspension of its own, or (everywhere) of any task in the loop.

    Returns None where the cancellation ended it.
    """
    loop = asyncio.get_running_loop()

    async def driven(coroutine: Coroutine[Any, Any, Any]) -> Any:
        return await suspensions.drive(coroutine)

    def make_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **named: Any) -> asyncio.Task[Any]:
        return asyncio.Task(driven(coroutine), loop=loop, **named)

    task = asyncio.create_task(work if everywhere else driven(work))
    suspensions.act = task.cancel
    if everywhere:
        loop.set_task_factory(make_task)
    try:
        await asyncio.wait([task])
    finally:
        loop.set_task_factory(None)
    return None if task.cancelled() else task.result()
