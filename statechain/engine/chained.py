"""The execution of one item of a batch, from its beginning to its end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from statechain.codec import same_json
from statechain.engine.handle import ExecutionHandle
from statechain.errors import ExecutionAlreadyExists
from statechain.records.executions import Execution, ExecutionStatus

if TYPE_CHECKING:
    from statechain.chaining.runner import JoinedCallback
    from statechain.engine.services import EngineServices
    from statechain.execution.running import Follower, RunningExecution

__all__ = ["ChainedRun", "check_same_input", "is_end_of", "wait_or_abort"]


class ChainedRun:
    """The execution of an item that was begun, which no task needs to await where it runs here."""

    __slots__ = ("_begun", "_execution", "_joins", "_machine_name", "_redrive_failed", "_services")

    def __init__(
        self,
        services: EngineServices,
        execution: Execution,
        begun: RunningExecution | None,
        joins: JoinedCallback | None,
        *,
        machine_name: str,
        redrive_failed: bool,
    ) -> None:
        self._services = services
        self._execution = execution
        self._begun = begun
        self._joins = joins
        self._machine_name = machine_name
        self._redrive_failed = redrive_failed

    @property
    def end(self) -> Execution | None:
        """The execution as it ended here; None where it runs, or `conclude` knows more."""
        return None if self._begun is None else self._begun.end

    def follow(self, follower: Follower) -> bool:
        """Resolve a follower once the execution is over here; return False where it does not run here."""
        if self._begun is None:
            return False
        self._begun.follow(follower)
        return True

    async def conclude(self) -> tuple[Execution, BaseException | None]:
        """Return the execution, or the one that has its name already, once it ended, and what it failed by here.

        Cancelling the await aborts the execution, but not one of another name: ABORTED is recorded before the
        cancellation goes on.
        """
        execution, joins = self._execution, self._joins
        # One call for start and end: the caller's task is woken once for each item.
        holder, live = await self._services.worker.conclude(execution, self._begun, exclusive=joins is not None)
        if is_end_of(holder, execution):
            return holder, None if live is None else live.exception
        if joins is not None and holder.name != execution.name:
            await joins(holder.name)
        # What a transformer makes of a source may differ from run to run; the item is the same. Another state of the
        # source, or what was chained from nothing, is another item, unless it comes to the same.
        has_name = holder.name == execution.name
        if execution.source is None or (has_name and holder.source != execution.source):
            check_same_input(holder, execution, self._machine_name)
        handle = ExecutionHandle(self._services, holder, live)
        if self._redrive_failed and holder.status.is_terminal and holder.status is not ExecutionStatus.SUCCEEDED:
            is_redriven, live = await self._services.redrive(holder)
            handle = ExecutionHandle(self._services, holder, live) if is_redriven else handle
        ended = await (wait_or_abort(self._services, handle) if has_name else handle.wait())
        return ended, handle.exception

    async def abort(self) -> None:
        """Abort the execution, which nothing concludes: ABORTED is recorded, unless the engine is interrupted."""
        if self._begun is not None:
            await self._services.worker.abort_begun(self._begun)


def is_end_of(found: Execution, execution: Execution) -> bool:
    """Return whether what was found is how an execution ended that was just started."""
    return found.id == execution.id and found.status.is_terminal


def check_same_input(holder: Execution, execution: Execution, machine_name: str) -> None:
    """Refuse a name that an execution with another input holds."""
    # By value: texts of the same input differ by the order of members.
    if holder.id != execution.id and not same_json(holder.input_text, execution.input_text):
        raise ExecutionAlreadyExists(
            f"the name {execution.name!r} belongs to execution {holder.id} of {machine_name!r}, with another input"
        )


async def wait_or_abort(services: EngineServices, handle: ExecutionHandle) -> Execution:
    """Wait for the end of an execution; cancelling the await aborts it."""
    try:
        return await handle.wait()
    except asyncio.CancelledError:
        if not services.worker.is_interrupted:  # else it stays RUNNING, for the worker that recovers it
            await services.worker.abort(handle.id)
        raise
