"""Parallel and Map: one round of branches, of which a failing one cancels its siblings.

The interpreter is handed in; this room never imports it. Distributed Maps go on to
`statechain.execution.fan_out.map_run`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import attrs

from statechain.asl.outcome import Branch, FanOut
from statechain.errors import StateError
from statechain.execution.fan_out.branches import Branches, FrameRunner
from statechain.execution.frame import Frame, branch_path
from statechain.execution.lengthy import evaluated
from statechain.payload import Payload
from statechain.records.details import MomentKind
from statechain.tasks.retry import RUNTIME

if TYPE_CHECKING:
    from statechain.clock import Clock
    from statechain.execution.recorder import VisitRecorder
    from statechain.limits import Limits

__all__ = ["INLINE_WIDTH", "Explain", "begin_round", "decisive_error", "run_inline"]

Explain: TypeAlias = Callable[[StateError], StateError]
"""Report an error of evaluation with its place in the execution."""

INLINE_WIDTH = 40
"""How many iterations of a Map run at once where the definition sets no bound; AWS's own figure."""

ABORTABLE = frozenset({"Task", "Wait", "Map", "Parallel"})
"""The types of states whose interruption AWS's history shows."""


async def run_inline(
    frame: Frame,
    effect: FanOut,
    *,
    scribe: VisitRecorder,
    clock: Clock,
    frames: FrameRunner,
    explain: Explain,
    limits: Limits,
) -> Payload:
    """Run the branches of a Parallel or an inline Map; return their outputs in order.

    Raises the first StateError of a branch after its siblings have been cancelled.
    """
    branches = effect.branches or ()
    is_map = frame.type == "Map"
    if begin_round(frame, clock):
        # Before the rows of its branches: restoring relies on that order (`StoredVisits._last_event_of`).
        scribe.add_open_visit(frame)
    await scribe.flush_before_effect(frame)
    width = effect.max_concurrency or (INLINE_WIDTH if is_map else len(branches))
    outputs = await _Inline(frame, branches, clock, frames, explain, width, is_map=is_map).run(limits)
    frame.note(MomentKind.SUCCEEDED, clock.now())
    frame.round = 0
    return outputs


def begin_round(frame: Frame, clock: Clock) -> bool:
    """Begin a round of branches, unless a stored one is resumed; return whether it is new."""
    if frame.round:
        return False
    frame.round = frame.run.next_round()
    frame.note(MomentKind.STARTED, clock.now(), frame.round)
    return True


def decisive_error(faults: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error that decides: what is no error of a state (such as a lost lease), else the first."""
    flat: list[BaseException] = []
    waiting: list[BaseException] = [faults]
    while waiting:
        fault = waiting.pop(0)
        if isinstance(fault, BaseExceptionGroup):
            # Depth first, so that the first error of a nested group comes before the errors after that group.
            waiting[:0] = fault.exceptions
        else:
            flat.append(fault)
    return next((fault for fault in flat if not isinstance(fault, StateError)), flat[0])


@attrs.define
class _Inline:
    """One round of a Parallel's branches, or of an inline Map's iterations."""

    frame: Frame
    branches: Sequence[Branch]
    clock: Clock
    frames: FrameRunner
    explain: Explain
    width: int
    is_map: bool = attrs.field(kw_only=True)
    outputs: dict[int, Payload] = attrs.Factory(dict)
    failed: int | None = None

    async def run(self, limits: Limits) -> Payload:
        self.frame.children = {}
        try:
            await self._run_all()
        except BaseExceptionGroup as faults:
            fault = decisive_error(faults)
            if isinstance(fault, StateError):
                self._note_failure(fault)
            raise fault from fault.__cause__
        except StateError as fault:
            self._note_failure(fault)
            raise
        outputs = [self.outputs[index] for index in range(len(self.branches))]
        return Payload.listed(outputs, max_bytes=limits.payload_bytes, max_depth=limits.payload_depth)

    async def _run_all(self) -> None:
        branches = Branches(self.frames, self._collect, self.width)
        try:
            for index in self._failed_before():
                self.failed, child = await self._child(index)
                await self.frames.run_branch(child)
            await branches.run(self._children())
        finally:
            if self.failed is None:
                self.failed = branches.failed
            self._note_begun()

    def _collect(self, index: int) -> None:
        """Take the output of a branch that has succeeded."""
        self.outputs[index] = self.frame.children.pop(index).input

    def _failed_before(self) -> list[int]:
        """Return the branches that had failed before a crash: they decide, before any other runs on."""
        frame, past = self.frame, self.frame.run.past
        if past.is_empty:
            return []
        # Before anything runs: a round that had failed must not call the handlers of the other branches again.
        paths = [(index, branch_path(frame, index)) for index in range(len(self.branches))]
        return [index for index, path in paths if past.failed(path, frame.round)]

    async def _children(self) -> AsyncGenerator[tuple[int, Frame]]:
        """Yield the branches, each made when it is asked for."""
        for index in range(len(self.branches)):
            yield await self._child(index)

    async def _child(self, index: int) -> tuple[int, Frame]:
        frame = self.frame
        branch = await evaluated(frame, self.clock, lambda: self.branches[index], self.explain)
        child = Frame(
            frame.run,
            branch.plan,
            branch_path(frame, index),
            # Its text, where that is known: a handler's private copy is read from it.
            Payload(branch.input, frame.input.text if branch.input is frame.input.value else None),
            variables=frame.variables,
            item=branch.item if branch.item is not None else frame.item,
            number=frame.round,
            is_iteration=self.is_map,
        )
        # An iteration that has visits was started before the crash, and its event is in their rows.
        if self.is_map and not frame.run.past.has_visits(child.path, child.number):
            child.iteration_started = frame.run.next_event()
        frame.children[index] = child
        return index, child

    def _note_begun(self) -> None:
        """Remember the iterations that were started and have no visit yet, whose rows would show their start."""
        past = self.frame.run.past
        for index, child in self.frame.children.items():
            # The first visit's row has the event otherwise, so that it is not noted twice.
            if child.iteration_started and not child.entered_event and not past.has_visits(child.path, child.first):
                now = self.clock.now()
                self.frame.note_earlier(
                    MomentKind.ITERATION_STARTED, child.iteration_started, now, index, self.frame.state
                )

    def _note_failure(self, fault: StateError) -> None:
        """Report what the failure interrupted, as AWS's history does; a States.Runtime ends all without a word."""
        if fault.error != RUNTIME:
            self._note_open(self.frame, self.failed)
        # While they are listed, their variables count as kept (`variables._kept`).
        self.frame.children = {}

    def _note_open(self, parent: Frame, failed: int | None) -> None:
        now = self.clock.now()
        for index, child in sorted(parent.children.items()):
            if parent.type == "Map":
                kind = MomentKind.ITERATION_FAILED if index == failed else MomentKind.ITERATION_ABORTED
                self.frame.note(kind, now, index, parent.state)
            self._note_open(child, None)
            if child.is_open and child.type in ABORTABLE:
                self.frame.note(MomentKind.ABORTED, now, child.type)
