"""A Map Run whose items are executions that all workers of the storage share: a stored batch, begun and awaited.

How such a batch is stored and run is handed in (`MapRuns`); this room never imports it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol

import attrs

from statechain.cancellation import await_shielded
from statechain.errors import StatechainError, StateError
from statechain.execution.files.items import FAILED, PENDING, SUCCEEDED, Ended
from statechain.execution.lengthy import evaluated
from statechain.records.batches import BatchStatus
from statechain.records.executions import ExecutionStatus

if TYPE_CHECKING:
    from statechain.asl.outcome import Branch, Tolerance
    from statechain.clock import Clock
    from statechain.codec import JSONValue
    from statechain.execution.fan_out.inline import Explain
    from statechain.execution.frame import Frame
    from statechain.execution.recorder import VisitRecorder
    from statechain.records.executions import Execution, StateMachineRecord

__all__ = ["THRESHOLD_EXCEEDED", "MapRun", "MapRunItem", "MapRuns", "SharedMapRun"]

logger = logging.getLogger(__name__)

THRESHOLD_EXCEEDED = (
    "States.ExceedToleratedFailureThreshold",
    "The specified tolerated failure threshold was exceeded",
)
"""The error and the cause of a Map more of whose items failed than it tolerates."""


@attrs.frozen(kw_only=True)
class MapRun:
    """What identifies a Map Run, and how it runs.

    Attributes:
        id: The same however often the Map is taken up, and however often its execution is redriven.

        parent: The execution that the Map is a part of.

        machine: The parent's state machine, whose definition has the Map.

        state: The Map's name.

        label: The Map's Label, or else its name.

        max_concurrency: How many items run at once; 0 leaves it to the engine.

        tolerance: How many items may fail.

        is_new: Whether the Map was entered just now: nothing of the Map Run is stored.
    """

    id: str
    parent: Execution
    machine: StateMachineRecord
    state: str
    label: str
    max_concurrency: int
    tolerance: Tolerance
    is_new: bool


@attrs.frozen(kw_only=True)
class MapRunItem:
    """How far an item is: its execution, or the error that kept it from being started; None and None before either."""

    index: int
    name: str
    execution: Execution | None
    error: str | None
    cause: str | None


class MapRuns(Protocol):
    """Map Runs as batches: `statechain.chaining.map_runs`."""

    async def take_up(self, run: MapRun) -> bool:
        """Return whether a Map Run is stored; resume it where its execution was redriven since."""

    async def store(self, run: MapRun, inputs: AsyncGenerator[JSONValue], total: int) -> None:
        """Store a Map Run with all of its items; raise what the inputs raise."""

    async def finish(self, run: MapRun) -> BatchStatus | None:
        """Take part in a stored Map Run until it is over; return how it ended, or None where it was deleted."""

    def pages(self, run: MapRun) -> AsyncGenerator[Sequence[MapRunItem]]:
        """Yield all items, in order, some at a time."""

    async def stop(self, run: MapRun) -> None:
        """End a Map Run as ABORTED, unless it is over, and those of its items that run."""

    async def stop_unless_running(self, run: MapRun) -> None:
        """Stop a Map Run unless its execution runs on, under another worker."""


@attrs.define
class SharedMapRun:
    """One round of a distributed Map's items, as executions of their own."""

    frame: Frame
    map_run: MapRun
    map_runs: MapRuns
    find_branches: Callable[[], Awaitable[Sequence[Branch]]]
    scribe: VisitRecorder
    explain: Explain
    clock: Clock
    items: list[MapRunItem] = attrs.Factory(list)
    has_succeeded: bool = False

    async def run(self) -> JSONValue:
        """Return the outputs of the items that succeeded, in order; raise StateError where the Map Run failed."""
        await self._rest()
        try:
            # A Map Run whose items were not all stored is not taken up: they are read and stored once more.
            if not await self.map_runs.take_up(self.map_run):
                branches = await self.find_branches()
                await self.map_runs.store(self.map_run, self._inputs(branches), len(branches))
            # Its items run in the slots of this worker, too.
            async with self.frame.run.place.yielded():
                status = await self.map_runs.finish(self.map_run)
        except asyncio.CancelledError:
            # No grace: the items must not run on after the execution that they belong to.
            await await_shielded(asyncio.ensure_future(self._stop_with_parent()))
            raise
        self.has_succeeded = status is BatchStatus.SUCCEEDED
        if not self.has_succeeded:
            await self.map_runs.stop(self.map_run)  # it has ended: what still runs of it has not
        outputs = await self._gather()
        if status is BatchStatus.FAILED:
            raise StateError(*THRESHOLD_EXCEEDED)
        if not self.has_succeeded:
            raise StateError("States.TaskFailed", f"the Map Run {self.map_run.id} was stopped")
        return outputs

    async def _rest(self) -> None:
        """Make durable that the items are executions of their own; to wait for them brings no worker down."""
        await self.scribe.flush(self.frame)
        live = self.frame.run.live
        if live is not None and not self.frame.path:
            live.has_rested = True

    async def _inputs(self, branches: Sequence[Branch]) -> AsyncGenerator[JSONValue]:
        for index in range(len(branches)):
            yield (await self._branch(branches, index)).input

    async def _branch(self, branches: Sequence[Branch], index: int) -> Branch:
        return await evaluated(self.frame, self.clock, lambda: branches[index], self.explain)

    async def _gather(self) -> list[JSONValue]:
        """Read the items; return the outputs of those that succeeded, in order, where the Map Run did."""
        outputs: list[JSONValue] = []
        async with aclosing(self.map_runs.pages(self.map_run)) as pages:
            async for page in pages:
                self.items += page
                if self.has_succeeded:
                    outputs += [self._output(item) for item in page if not self._has_failed(item)]
        return outputs

    async def _stop_with_parent(self) -> None:
        """Stop the Map Run, unless its execution goes on elsewhere, and goes on to wait for it."""
        run = self.frame.run
        try:
            if run.is_lost:
                await self.map_runs.stop_unless_running(self.map_run)
            elif not run.is_left:
                await self.map_runs.stop(self.map_run)
        except StatechainError as error:  # the workers end it: its execution does not run any more
            logger.warning("the Map Run %s could not be stopped with its execution: %s", self.map_run.id, error)

    @staticmethod
    def _has_failed(item: MapRunItem) -> bool:
        if item.execution is None:
            return item.error is not None
        return item.execution.status is not ExecutionStatus.SUCCEEDED

    @staticmethod
    def _output(item: MapRunItem) -> JSONValue:
        if item.execution is None:
            raise StateError("States.Runtime", f"The execution of item {item.index} was deleted before its Map ended.")
        return item.execution.output

    def ended(self) -> list[Ended]:
        """Return how each item that was begun ended, in order."""
        return [self._ended(item) for item in self.items if item.execution is not None or item.error is not None]

    def _ended(self, item: MapRunItem) -> Ended:
        execution = item.execution
        if execution is None:
            fault = StateError(item.error, item.cause)
            return Ended(id="", name=item.name, machine="", input=None, status=FAILED, fault=fault)
        status = self._status(execution.status)
        return Ended(
            id=execution.id,
            name=execution.name,
            machine=execution.state_machine_id,
            input=execution.input,
            status=status,
            output=execution.output if status == SUCCEEDED else None,
            fault=StateError(execution.error, execution.cause) if status == FAILED else None,
        )

    def _status(self, status: ExecutionStatus) -> str:
        """Return an item's status among the results; what ran when the Map Run failed is PENDING."""
        match status:
            case ExecutionStatus.SUCCEEDED:
                return SUCCEEDED
            case ExecutionStatus.RUNNING:
                return PENDING
            # Stopped with the Map Run, and not by itself.
            case ExecutionStatus.ABORTED if not self.has_succeeded:
                return PENDING
            case _:
                return FAILED
