"""A distributed Map: items as separate executions under a Map Run, some of whose failures may be tolerated.

An item's line of control counts its own history events, and sees none of the Map's variables.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import attrs

from statechain.asl.outcome import Branch, FanOut, Tolerance, Transfer
from statechain.codec import JSONValue
from statechain.errors import StateError
from statechain.execution.fan_out.inline import INLINE_WIDTH, Explain, RunFrame, begin_round, decisive_error
from statechain.execution.files.items import FAILED, PENDING, SUCCEEDED, Ended
from statechain.execution.frame import Frame, branch_path
from statechain.execution.lengthy import evaluated
from statechain.launcher import exceeds, launch
from statechain.payload import Payload
from statechain.records.details import MomentKind

if TYPE_CHECKING:
    from statechain.clock import Clock
    from statechain.execution.files.items import Files
    from statechain.execution.recorder import VisitRecorder

__all__ = ["run_distributed"]

logger = logging.getLogger(__name__)


async def run_distributed(
    frame: Frame,
    effect: FanOut,
    *,
    scribe: VisitRecorder,
    clock: Clock,
    run_frame: RunFrame,
    explain: Explain,
    files: Files,
) -> JSONValue:
    """Run the items of a distributed Map; return the outputs of those that succeeded, in order, or where they are.

    Raises StateError where more items failed than is tolerated, after the others have been cancelled.
    """
    is_new = begin_round(frame, clock)
    tolerance = await evaluated(frame, clock, effect.tolerance, explain)
    reader = None if effect.reader is None else await evaluated(frame, clock, effect.reader, explain)
    if is_new:
        frame.note(MomentKind.RUN_STARTED, clock.now(), _run_id(frame, effect))
        scribe.add_open_visit(frame)
    elif frame.last_of_map_run() in {MomentKind.RUN_FAILED, MomentKind.RUN_ABORTED}:
        frame.note(MomentKind.RUN_REDRIVEN, clock.now(), _run_id(frame, effect), frame.run.execution.redrive_count)
    await scribe.flush_before_effect(frame)
    try:
        if effect.writer is not None:
            files.check(effect.writer)
        branches = await _branches(frame, clock, effect, reader, files, explain)
        map_run = _MapRun(frame, branches, tolerance, run_frame, explain, clock, effect.label or frame.state)
        try:
            outputs = await map_run.run(effect.max_concurrency or INLINE_WIDTH)
        except StateError:
            if effect.writer is not None:
                await _write_partly(files, effect.writer, _run_id(frame, effect), map_run.ended())
            raise
        if effect.writer is not None:
            outputs = await files.write(effect.writer, _run_id(frame, effect), map_run.ended())
    except StateError as fault:
        frame.note(MomentKind.RUN_FAILED, clock.now(), fault.error, fault.cause)
        raise
    except asyncio.CancelledError:
        if frame.run.has_room():
            frame.note(MomentKind.RUN_ABORTED, clock.now())
        raise
    frame.note(MomentKind.RUN_SUCCEEDED, clock.now())
    frame.note(MomentKind.SUCCEEDED, clock.now())
    frame.round = 0
    return outputs


async def _write_partly(files: Files, writer: Transfer, run: str, ended: Sequence[Ended]) -> None:
    """Write the results of a Map Run that failed, as far as there are any; what made it fail remains its error."""
    try:
        await files.write(writer, run, ended)
    except StateError as error:
        logger.warning("the results of a Map Run that failed could not be written: %s", error.cause)


def _run_id(frame: Frame, effect: FanOut) -> str:
    """Return what identifies a Map Run, however often it is resumed."""
    digest = hashlib.sha256(f"{frame.visit_key}:{frame.round}".encode(errors="surrogatepass")).hexdigest()
    return f"{effect.label or frame.state}-{digest[:32]}"


async def _branches(
    frame: Frame, clock: Clock, effect: FanOut, reader: Transfer | None, files: Files, explain: Explain
) -> Sequence[Branch]:
    """Return the items, read first where they have to be."""
    if reader is None or effect.branches_of is None:
        return effect.branches or ()
    items, branches_of = await files.read(reader), effect.branches_of
    return await evaluated(frame, clock, partial(branches_of, items), explain)


@attrs.define
class _MapRun:
    """One round of a distributed Map's items."""

    frame: Frame
    branches: Sequence[Branch]
    tolerance: Tolerance
    run_frame: RunFrame
    explain: Explain
    clock: Clock
    label: str
    outputs: dict[int, JSONValue] = attrs.Factory(dict)
    faults: dict[int, StateError] = attrs.Factory(dict)
    begun: set[int] = attrs.Factory(set)

    async def run(self, width: int) -> JSONValue:
        items = (await self._child(index) for index in range(len(self.branches)))
        try:
            await launch(items, self._run_one, concurrency=width)
        except BaseExceptionGroup as faults:
            fault = decisive_error(faults)
            raise fault from fault.__cause__
        return [self.outputs[index] for index in sorted(self.outputs)]

    async def _run_one(self, item: tuple[int, Frame]) -> None:
        index, child = item
        self.begun.add(index)
        try:
            await self.run_frame(child)
            self.outputs[index] = child.input.value
        except StateError as fault:
            self.faults[index] = fault
            if exceeds(self.tolerance, len(self.faults), len(self.branches)):
                raise StateError(
                    "States.ExceedToleratedFailureThreshold", "The specified tolerated failure threshold was exceeded"
                ) from fault

    def ended(self) -> list[Ended]:
        """Return how each item that was begun ended, in order."""
        run = self.frame.run
        return [
            Ended(
                id=f"{run.execution.id}/{branch_path(self.frame, index)}",
                name=f"{self.frame.state}-{index}",
                machine=run.machine.id,
                input=self.branches[index].input,
                status=self._status(index),
                output=self.outputs.get(index),
                fault=self.faults.get(index),
            )
            for index in sorted(self.begun)
        ]

    def _status(self, index: int) -> str:
        if index in self.faults:
            return FAILED
        return SUCCEEDED if index in self.outputs else PENDING

    async def _child(self, index: int) -> tuple[int, Frame]:
        branch = await evaluated(self.frame, self.clock, lambda: self.branches[index], self.explain)
        frame, path = self.frame, branch_path(self.frame, index)
        run = frame.run.apart(
            path=path,
            label=self.label,
            input=branch.input,
            began=frame.run.past.began(path, frame.round) or self.clock.now(),
        )
        return index, Frame(run, branch.plan, path, Payload(branch.input), item=branch.item, number=frame.round)
