"""Nested executions: ``startExecution``, alone or awaited to the end of what it started.

The engine's way to start an execution is handed in as a callable; this room never imports it. A nested execution's
name is made of the attempt that starts it, so that a resumed parent joins the child that it had started.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol, TypeAlias

from statechain.cancellation import await_shielded
from statechain.clock import to_micros
from statechain.codec import JSONValue, encode_plain
from statechain.errors import (
    ExecutionAlreadyExists,
    RepositoryError,
    StatechainError,
    StateError,
    StateMachineNotFound,
)
from statechain.records.executions import Execution, ExecutionStatus

if TYPE_CHECKING:
    from statechain.storage.repository import Repository
    from statechain.tasks.services import NestedCall

__all__ = ["EXISTS", "ChildExecution", "ChildExecutions", "Start", "described", "started"]

logger = logging.getLogger(__name__)

EXISTS = "StepFunctions.ExecutionAlreadyExistsException"


class ChildExecution(Protocol):
    """An execution that was started: `statechain.engine.machine.ExecutionHandle`."""

    @property
    def execution(self) -> Execution:
        """The execution as it was when it was started, or joined."""

    async def wait(self) -> Execution:
        """Return the execution once it has ended."""

    async def stop(self, error: str | None = None, cause: str | None = None) -> Execution:
        """End it as ABORTED."""


class Parent(Protocol):
    """The run of an execution that starts others: `statechain.execution.run.Run`."""

    @property
    def execution(self) -> Execution:
        """The execution."""

    @property
    def is_lost(self) -> bool:
        """Whether other workers have ended it, or taken it over."""

    @property
    def is_left(self) -> bool:
        """Whether it goes on, or ended, elsewhere."""


class Attempt(Protocol):
    """An attempt that starts another execution: `statechain.execution.frame.Frame`."""

    @property
    def run(self) -> Parent:
        """The run that it is part of."""

    @property
    def attempt_key(self) -> str:
        """The same whenever this attempt is made again."""


Start: TypeAlias = Callable[[str, JSONValue, str], Awaitable[ChildExecution]]
"""Start an execution of a machine (by name or id) with an input and a name; join the one that has the name."""


class ChildExecutions:
    """Starts executions on behalf of others, and waits for them."""

    def __init__(self, start: Start, repository: Repository) -> None:
        self._start = start
        self._repository = repository

    async def start(self, frame: Attempt, call: NestedCall) -> ChildExecution:
        """Start the execution that a Task asks for; raise StateError where that cannot be.

        A start is not cut off: where its parent goes on elsewhere, what was begun to be started is joined from there.
        """
        # From the attempt's key: a parent that is resumed asks for the same name, and joins the child it had started.
        made = hashlib.sha256(frame.attempt_key.encode(errors="surrogatepass")).hexdigest()[:32]
        name = made if call.name is None else call.name
        starting = asyncio.ensure_future(self._start(call.machine, call.input, name))
        try:
            return await await_shielded(starting)
        except asyncio.CancelledError:
            # Shielded without a grace, so it is done here: what was started must be stopped, or left with its parent.
            if starting.exception() is None:
                await await_shielded(asyncio.ensure_future(self._stop_with_parent(frame.run, starting.result())))
            raise
        except StateMachineNotFound as fault:
            raise StateError(
                "StepFunctions.StateMachineDoesNotExistException", f"State Machine Does Not Exist: '{call.arn}'"
            ) from fault
        except ExecutionAlreadyExists as fault:
            raise StateError(EXISTS, f"Execution Already Exists: '{name}'") from fault
        except ValueError as fault:
            raise StateError("StepFunctions.ValidationException", str(fault)) from fault

    async def wait(self, frame: Attempt, nested: ChildExecution) -> Execution:
        """Return a nested execution once it has ended; it is stopped where its parent is, and left where that is."""
        try:
            return await nested.wait()
        except asyncio.CancelledError:
            await await_shielded(asyncio.ensure_future(self._stop_with_parent(frame.run, nested)))
            raise

    async def _stop_with_parent(self, run: Parent, nested: ChildExecution) -> None:
        """Stop a nested execution, unless its parent goes on elsewhere, and goes on to wait for it."""
        # Of a lost parent only storage knows whether it runs on; of one that is left it is sure.
        if not (await self._parent_is_running(run.execution) if run.is_lost else run.is_left):
            try:
                await nested.stop(cause="the execution that had started it was stopped")
            except StatechainError as fault:  # the parent ends all the same
                logger.warning("an execution that a stopped one had started could not be stopped: %s", fault)

    async def _parent_is_running(self, parent: Execution) -> bool:
        """Return whether an execution that was lost runs on; where storage cannot say, it is taken to."""
        try:
            found = await self._repository.execution(parent.id)
        except RepositoryError:
            return True
        if found is None or found.status.is_terminal:
            return False
        return found.redrive_count == parent.redrive_count  # once redriven, it starts another one


def started(execution: Execution) -> JSONValue:
    """Return what ``startExecution`` answers."""
    return {"ExecutionArn": execution.id, "StartDate": to_micros(execution.start_time) // 1000}


def described(execution: Execution, *, parses: bool) -> JSONValue:
    """Return an ended execution as ``.sync`` answers it; raise StateError where it did not succeed."""
    description: dict[str, JSONValue] = {
        "ExecutionArn": execution.id,
        "Input": execution.input if parses else execution.input_text,
        "InputDetails": {"Included": True},
        "Name": execution.name,
        "RedriveCount": execution.redrive_count,
        "RedriveStatus": "REDRIVABLE",
        "StartDate": to_micros(execution.start_time) // 1000,
        "StateMachineArn": execution.state_machine_id,
        "Status": str(execution.status),
    }
    if execution.end_time is not None:
        description["StopDate"] = to_micros(execution.end_time) // 1000
    if execution.status is ExecutionStatus.SUCCEEDED:
        description["RedriveStatus"] = "NOT_REDRIVABLE"
        description["RedriveStatusReason"] = "Execution is SUCCEEDED and cannot be redriven"
        description["Output"] = execution.output if parses else execution.output_text
        description["OutputDetails"] = {"Included": True}
        return description
    description |= {"Error": execution.error, "Cause": execution.cause}
    # AWS leaves out what there is not.
    cause = encode_plain({key: each for key, each in description.items() if each is not None})
    raise StateError("States.TaskFailed", cause)
