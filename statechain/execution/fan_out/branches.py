"""Branches in order, a bounded number at once, each in a separate asyncio task only from where it needs one.

A branch that begins with a plain Task begins as a line, which no task awaits; most end there. Where the line stops
before the end of the branch, a task goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol

from statechain.cancellation import await_shielded
from statechain.errors import StateError
from statechain.execution.lines.line import Line
from statechain.execution.lines.stops import Exit
from statechain.launcher import Places, siblings

if TYPE_CHECKING:
    from statechain.execution.frame import Frame
    from statechain.execution.lines.shared import Lines

__all__ = ["Branches", "FrameRunner"]


class FrameRunner(Protocol):
    """The interpreter, as what fans out sees it."""

    @property
    def lines(self) -> Lines:
        """What makes lines."""

    async def run_branch(self, frame: Frame, line: Line | None = None) -> None:
        """Run a branch from where its line stopped to its end, made durable, which leaves the frame with its output.

        Raises StateError where it failed.
        """


class Branches:
    """Runs the branches of one round; ``failed`` is the one that failed first.

    Arguments:
        frames: Runs a branch.

        collect: Takes a branch, by its index, that has succeeded, its end durable.

        width: How many run at once.
    """

    def __init__(self, frames: FrameRunner, collect: Callable[[int], None], width: int) -> None:
        self._frames = frames
        self._collect = collect
        self._places = Places(width)
        self._lines: dict[int, Line] = {}  # those that run, and those that stopped whose tasks have not begun
        self._ends: list[asyncio.Task[Exit]] = []
        self._is_ending = False
        self.failed: int | None = None

    async def run(self, branches: AsyncGenerator[tuple[int, Frame]]) -> None:
        """Run all branches; the next one is asked for once there is room for it, and none after one has failed.

        An exception of a branch cancels its siblings and leaves as TaskGroup leaves it; a cancellation of the caller
        wins over it.
        """
        try:
            async with aclosing(branches), siblings() as group:
                try:
                    while (following := await self._next(branches)) is not None:
                        self._begin(*following, group)
                    # Before Python 3.13 a group that fails while it is left leaves the caller cancelled.
                    while self._places.running:
                        await self._places.wait()
                except BaseException:
                    self._end_lines()  # together with the tasks, which the group cancels: neither waits for the other
                    raise
        finally:
            await self._lines_ended()

    async def _next(self, branches: AsyncGenerator[tuple[int, Frame]]) -> tuple[int, Frame] | None:
        while not self._places.free:
            await self._places.wait()
        following = None if self._is_ending else await anext(branches, None)
        return None if self._is_ending else following

    def _begin(self, index: int, frame: Frame, group: asyncio.TaskGroup) -> None:
        self._places.take()
        # One that has visits is restored from them first, which a line does not do.
        if frame.run.past.is_empty and self._frames.lines.begins(frame):
            line = self._lines[index] = Line(self._frames.lines, frame)
            line.begin_soon(_Begun(self, index, group))
        else:
            self._spawn(index, frame, None, group)

    def take_stopped(self, index: int, group: asyncio.TaskGroup, line: Line) -> None:
        """Take a branch whose line has stopped: it has ended, or a task goes on with it."""
        if line.exit is Exit.DONE and line.error is None:
            del self._lines[index]
            self._collect(index)
            self._places.give_back()
        else:
            self._spawn(index, line.frame, line, group)

    def _spawn(self, index: int, frame: Frame, line: Line | None, group: asyncio.TaskGroup) -> None:
        task = group.create_task(self._run_one(index, frame, line))
        task.add_done_callback(self._places.give_back)  # after the group's own callback

    async def _run_one(self, index: int, frame: Frame, line: Line | None) -> None:
        self._lines.pop(index, None)
        try:
            await self._frames.run_branch(frame, line)
            self._collect(index)
        except BaseException as error:
            self._end_lines()  # now, and not when the group cancels the caller: its siblings begin nothing more
            if self.failed is None and isinstance(error, StateError):
                self.failed = index
            raise

    def _end_lines(self) -> None:
        """Cancel the lines that still run; each has a task from here on, in which its handler ends."""
        self._is_ending = True
        for index in [index for index, line in self._lines.items() if not line.has_stopped]:
            self._end_line(self._lines.pop(index))

    def _end_line(self, line: Line) -> None:
        line.cancel()
        self._ends.append(asyncio.ensure_future(line.wait()))

    async def _lines_ended(self) -> None:
        """Wait until the handlers of lines that were cancelled have ended; raise what is no cancellation of theirs."""
        # A task that is cancelled before its first step never runs: nothing else records the visit that it was to end.
        for line in self._lines.values():
            self._end_line(line)
        if not self._ends:
            return
        for outcome in await await_shielded(asyncio.gather(*self._ends, return_exceptions=True)):
            if isinstance(outcome, Exception):
                raise outcome


class _Begun:
    """A branch that has begun as a line, which no task awaits."""

    __slots__ = ("_branches", "_group", "_index")

    def __init__(self, branches: Branches, index: int, group: asyncio.TaskGroup) -> None:
        self._branches = branches
        self._index = index
        self._group = group

    def take_stopped(self, line: Line) -> None:
        """Take the branch, whose line has stopped."""
        self._branches.take_stopped(self._index, self._group, line)
