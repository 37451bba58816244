"""Parallel and Map: frames under one TaskGroup, so that a failing branch cancels its siblings.

The interpreter's `run_frame` is handed in; this room never imports it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from statechain.asl.outcome import Branch, FanOut, Tolerance
from statechain.codec import JSONValue
from statechain.errors import StateError
from statechain.launcher import exceeds, first_fault, launch
from statechain.runtime.frame import Frame, branch_path

if TYPE_CHECKING:
    from statechain.clock import Clock

__all__ = ["RunFrame", "fan_out"]

RunFrame: TypeAlias = Callable[[Frame], Awaitable[JSONValue]]
"""Run a frame to its end; return its output, raise StateError where it failed."""

INLINE_MAP_WIDTH = 40
"""How many iterations of a Map run at once where the definition sets no bound; AWS's own figure."""


async def fan_out(effect: FanOut, branches: Sequence[Branch], frame: Frame, clock: Clock, run_frame: RunFrame) -> JSONValue:
    """Run every branch; return their outputs in order.

    Raises the first StateError of a branch after its siblings have been cancelled, unless the Map tolerates it.
    """
    outputs: dict[int, JSONValue] = {}
    failures = _Failures(effect.tolerance, len(branches))
    is_inline_map = frame.is_in("Map") and not effect.distributed

    async def run_one(item: tuple[Branch, Frame]) -> None:
        branch, child = item
        try:
            outputs[branch.index] = await run_frame(child)
        except StateError as fault:
            if is_inline_map:
                frame.note("iteration_failed", clock.now(), index=branch.index)
            if not effect.distributed:
                raise
            failures.add(fault)
        except asyncio.CancelledError:
            if is_inline_map:
                frame.note("iteration_aborted", clock.now(), index=branch.index)
            raise

    width = effect.max_concurrency or (INLINE_MAP_WIDTH if frame.is_in("Map") else len(branches))
    children = ((branch, _child(effect, branch, frame)) for branch in branches)
    try:
        await launch(children, run_one, concurrency=width)
    except BaseExceptionGroup as faults:
        raise first_fault(faults) from None
    return [outputs[index] for index in sorted(outputs)]


def _child(effect: FanOut, branch: Branch, frame: Frame) -> Frame:
    return Frame(
        frame.run.apart() if effect.distributed else frame.run,
        branch.plan,
        branch_path(frame, branch.index),
        branch.input,
        variables={} if effect.distributed else frame.variables,
        item=branch.item if branch.item is not None else frame.item,
        number=frame.round,
        started_event=frame.run.next_event() if frame.is_in("Map") and not effect.distributed else 0,
    )


class _Failures:
    """Counts the failed items of a distributed Map against its tolerance."""

    def __init__(self, tolerance: Tolerance, total: int) -> None:
        self._tolerance = tolerance
        self._total = total
        self._count = 0

    def add(self, fault: StateError) -> None:
        self._count += 1
        if exceeds(self._tolerance, self._count, self._total):
            raise StateError(
                "States.ExceedToleratedFailureThreshold", "The specified tolerated failure threshold was exceeded"
            ) from fault
