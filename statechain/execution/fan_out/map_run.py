"""A distributed Map: items as separate executions under a Map Run, some of whose failures may be tolerated.

An item's line of control counts its own history events, and sees none of the Map's variables.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import attrs

from statechain.asl.outcome import Branch, FanOut, Tolerance, Transfer
from statechain.asl.plan.bounds import within_bounds
from statechain.codec import JSONValue
from statechain.errors import StateError
from statechain.execution.fan_out.inline import INLINE_WIDTH, Explain, begin_round, decisive_error
from statechain.execution.fan_out.shared import THRESHOLD_EXCEEDED, MapRun, SharedMapRun
from statechain.execution.files.items import FAILED, PENDING, SUCCEEDED, Ended
from statechain.execution.frame import Frame, branch_path
from statechain.execution.lengthy import evaluated
from statechain.launcher import exceeds, launch
from statechain.payload import Payload
from statechain.records.details import MomentKind
from statechain.tasks.call import cut_off

if TYPE_CHECKING:
    from statechain.clock import Clock
    from statechain.execution.fan_out.branches import FrameRunner
    from statechain.execution.fan_out.shared import MapRuns
    from statechain.execution.files.items import Files
    from statechain.execution.recorder import VisitRecorder
    from statechain.limits import Limits

__all__ = ["run_distributed"]

logger = logging.getLogger(__name__)

SHARED = "shared"
"""The fact of a Map Run's start that says that its items are executions of their own."""

UNSAFE = re.compile(r"[^\w.-]", re.ASCII)


async def run_distributed(
    frame: Frame,
    effect: FanOut,
    *,
    scribe: VisitRecorder,
    clock: Clock,
    frames: FrameRunner,
    explain: Explain,
    limits: Limits,
    files: Files,
    map_runs: Callable[[], MapRuns],
    shares: bool,
) -> Payload:
    """Run the items of a distributed Map; return the outputs of those that succeeded, in order, or where they are.

    Arguments:
        frame: The Map.

        effect: What it does.

        scribe: What records the visit.

        clock: What times go by.

        frames: Runs an item in this process.

        explain: Reports an error of evaluation with its place.

        limits: Of which the size of an item's input is one: an item that is larger has failed.

        files: The files that are read and written in place of S3.

        map_runs: Returns what runs items as executions of their own.

        shares: Whether a Map that begins here has its items run so; one that was begun goes on as it began.

    Raises StateError where more items failed than is tolerated, after the others have been cancelled.
    """
    is_new = begin_round(frame, clock)
    tolerance = await evaluated(frame, clock, effect.tolerance, explain)
    reader = None if effect.reader is None else await evaluated(frame, clock, effect.reader, explain)
    is_shared = shares if is_new else SHARED in frame.facts_of(MomentKind.RUN_STARTED)
    run_id = _run_id(frame, effect.label or frame.state, is_shared=is_shared)
    # Written before the items run: a take-up finds out from it whether they are executions of their own.
    if is_new:
        frame.note(MomentKind.RUN_STARTED, clock.now(), run_id, *((SHARED,) if is_shared else ()))
        scribe.add_open_visit(frame)
    elif frame.last_of_map_run() in {MomentKind.RUN_FAILED, MomentKind.RUN_ABORTED}:
        frame.note(MomentKind.RUN_REDRIVEN, clock.now(), run_id, frame.run.execution.redrive_count)
    await scribe.flush_before_effect(frame)
    try:
        if effect.writer is not None:
            files.check(effect.writer)
        find_branches = partial(_branches, frame, clock, effect, reader, files, explain)
        map_run: _MapRun | SharedMapRun
        if is_shared:
            described = _described(frame, effect, run_id, tolerance, is_new=is_new)
            map_run = SharedMapRun(frame, described, map_runs(), find_branches, scribe, explain, clock)
        else:
            width, label = effect.max_concurrency or INLINE_WIDTH, effect.label or frame.state
            items = await find_branches()
            map_run = _MapRun(frame, items, tolerance, frames, explain, clock, limits, label, width)
        outputs = await _outputs(map_run, effect.writer, files, run_id)
    except StateError as failure:
        fault = cut_off(failure, limits.cause_characters)
        frame.note(MomentKind.RUN_FAILED, clock.now(), fault.error, fault.cause)
        raise fault from failure.__cause__
    except asyncio.CancelledError:
        # Without room `note` raises, and the cancellation would be lost in a failure.
        if frame.run.has_room():
            frame.note(MomentKind.RUN_ABORTED, clock.now())
        raise
    frame.note(MomentKind.RUN_SUCCEEDED, clock.now())
    frame.note(MomentKind.SUCCEEDED, clock.now())
    frame.round = 0
    return Payload(outputs)


async def _outputs(map_run: _MapRun | SharedMapRun, writer: Transfer | None, files: Files, run: str) -> JSONValue:
    """Run the items; return their outputs, or where they are written."""
    if writer is None:
        return await map_run.run()
    try:
        await map_run.run()
    except StateError:
        await _write_partly(files, writer, run, map_run.ended())
        raise
    return await files.write(writer, run, map_run.ended())


async def _write_partly(files: Files, writer: Transfer, run: str, ended: Sequence[Ended]) -> None:
    """Write the results of a Map Run that failed, as far as there are any; what made it fail remains its error."""
    try:
        await files.write(writer, run, ended)
    except StateError as error:
        logger.warning("the results of a Map Run that failed could not be written: %s", error.cause)


def _run_id(frame: Frame, label: str, *, is_shared: bool) -> str:
    """Return what identifies a Map Run, however often it is resumed; as the id of a batch it is a part of URLs."""
    # A state's name may have a lone surrogate, which JSON can write.
    digest = hashlib.sha256(f"{frame.visit_key}:{frame.round}".encode(errors="surrogatepass")).hexdigest()
    return f"{UNSAFE.sub('-', label) if is_shared else label}-{digest[:32]}"


def _described(frame: Frame, effect: FanOut, run_id: str, tolerance: Tolerance, *, is_new: bool) -> MapRun:
    """Return what a Map Run is whose items are executions of their own."""
    return MapRun(
        id=run_id,
        parent=frame.run.execution,
        machine=frame.run.machine,
        state=frame.state,
        label=effect.label or frame.state,
        max_concurrency=effect.max_concurrency,
        tolerance=tolerance,
        is_new=is_new,
    )


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
    frames: FrameRunner
    explain: Explain
    clock: Clock
    limits: Limits
    label: str
    width: int
    outputs: dict[int, JSONValue] = attrs.Factory(dict)
    faults: dict[int, StateError] = attrs.Factory(dict)
    begun: set[int] = attrs.Factory(set)

    async def run(self) -> JSONValue:
        items = (await self._child(index) for index in range(len(self.branches)))
        try:
            await launch(items, self._run_one, concurrency=self.width)
        except BaseExceptionGroup as faults:
            fault = decisive_error(faults)
            raise fault from fault.__cause__
        return [self.outputs[index] for index in sorted(self.outputs)]

    async def _run_one(self, item: tuple[int, Frame]) -> None:
        index, child = item
        self.begun.add(index)
        try:
            # An item that is too large is one that failed, within the tolerance.
            within_bounds(child.input.value, f"{self.label}, item {index}", self.limits)
            await self.frames.run_branch(child)
            self.outputs[index] = child.input.value
        except StateError as fault:
            self.faults[index] = fault
            if exceeds(self.tolerance, len(self.faults), len(self.branches)):
                # Past the tolerance: this ends the group, which cancels the items that run.
                raise StateError(*THRESHOLD_EXCEEDED) from fault
        finally:
            child.run.root = None  # its own run and it hold each other

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
            # An item that was begun before a crash keeps its start time in the context object.
            began=frame.run.past.began(path, frame.round) or self.clock.now(),
        )
        return index, Frame(run, branch.plan, path, Payload(branch.input), item=branch.item, number=frame.round)
