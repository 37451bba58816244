"""A distributed Map: items as executions of their own under a Map Run, some of whose failures may be tolerated.

An item's line of control counts its own history events, and sees none of the Map's variables.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from statechain.asl.outcome import Branch, FanOut, Tolerance
from statechain.codec import JSONValue
from statechain.errors import StateError
from statechain.launcher import exceeds, launch
from statechain.runtime.fanout import INLINE_WIDTH, Explain, RunFrame, begin_round, evaluated, gravest
from statechain.runtime.frame import Frame, branch_path

if TYPE_CHECKING:
    from statechain.clock import Clock
    from statechain.runtime.scribe import Scribe

__all__ = ["run_distributed"]


async def run_distributed(
    frame: Frame, effect: FanOut, *, scribe: Scribe, clock: Clock, run_frame: RunFrame, explain: Explain
) -> JSONValue:
    """Run the items of a distributed Map; return the outputs of those that succeeded, in order.

    Raises StateError where more items failed than is tolerated, after the others have been cancelled.
    """
    is_new = begin_round(frame, clock, scribe)
    tolerance = evaluated(effect.tolerance, explain)
    if is_new:
        label = effect.label or frame.state
        frame.note("run_started", clock.now(), f"{frame.run.execution.id}/{label}:{frame.round}")
    await scribe.settle(frame)
    map_run = _MapRun(frame, effect.branches or (), tolerance, run_frame, explain)
    try:
        outputs = await map_run.run(effect.max_concurrency or INLINE_WIDTH)
    except StateError as fault:
        frame.note("run_failed", clock.now(), fault.error, fault.cause)
        raise
    frame.note("run_succeeded", clock.now())
    frame.note("succeeded", clock.now())
    frame.round = 0
    return outputs


@attrs.define
class _MapRun:
    """One round of a distributed Map's items."""

    frame: Frame
    branches: Sequence[Branch]
    tolerance: Tolerance
    run_frame: RunFrame
    explain: Explain
    outputs: dict[int, JSONValue] = attrs.Factory(dict)
    failures: int = 0

    async def run(self, width: int) -> JSONValue:
        items = (self._child(index) for index in range(len(self.branches)))
        try:
            await launch(items, self._run_one, concurrency=width)
        except BaseExceptionGroup as faults:
            raise gravest(faults) from None
        return [self.outputs[index] for index in sorted(self.outputs)]

    async def _run_one(self, item: tuple[int, Frame]) -> None:
        index, child = item
        try:
            self.outputs[index] = await self.run_frame(child)
        except StateError as fault:
            self.failures += 1
            if exceeds(self.tolerance, self.failures, len(self.branches)):
                raise StateError(
                    "States.ExceedToleratedFailureThreshold", "The specified tolerated failure threshold was exceeded"
                ) from fault

    def _child(self, index: int) -> tuple[int, Frame]:
        branch = evaluated(lambda: self.branches[index], self.explain)
        path = branch_path(self.frame, index)
        return index, Frame(
            self.frame.run.apart(), branch.plan, path, branch.input, item=branch.item, number=self.frame.round
        )
