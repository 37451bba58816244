"""Cancelling a task at the n-th suspension: of a coroutine, or of everything that runs in a loop.

Each time a coroutine gives up control is a suspension. The sum over all tasks of a loop visits also the moments that
the caller itself sleeps through.
"""

from __future__ import annotations

import asyncio
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


class _Driven(Coroutine[Any, Any, T]):
    """A coroutine whose suspensions are noted."""

    def __init__(self, inner: Coroutine[Any, Any, T], suspensions: Suspensions) -> None:
        self._inner = inner
        self._suspensions = suspensions

    def send(self, value: Any) -> Any:
        awaited = self._inner.send(value)
        self._suspensions.note()
        return awaited

    def throw(self, *fault: Any) -> Any:
        awaited = self._inner.throw(*fault)
        self._suspensions.note()
        return awaited

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, T]:
        return self._inner.__await__()


async def run_cancelled(work: Coroutine[Any, Any, T], suspensions: Suspensions, *, everywhere: bool) -> T | None:
    """Run work in a task that is cancelled at one of its suspensions, or (everywhere) of any task in the loop.

    Returns None where the cancellation ended it.
    """
    loop = asyncio.get_running_loop()

    def make_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **named: Any) -> asyncio.Task[Any]:
        return asyncio.Task(_Driven(coroutine, suspensions), loop=loop, **named)

    task: asyncio.Task[T] = make_task(loop, work)
    suspensions.act = task.cancel
    if everywhere:
        loop.set_task_factory(make_task)
    try:
        await asyncio.wait([task])
    finally:
        loop.set_task_factory(None)
    return None if task.cancelled() else task.result()
