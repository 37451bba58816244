"""The tasks that wait for an answer from outside: pages of them, and answers without their tokens."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from statechain.arguments import EXECUTION_ID, MACHINE, MOMENT, TEXT, checked, count_from, instance_of
from statechain.codec import JSONInput, encode
from statechain.engine.queries import EngineQueries
from statechain.errors import TaskTimedOut
from statechain.guard import guarded
from statechain.reports import WaitingTask
from statechain.storage.existing import optional_machine_id, require_execution

if TYPE_CHECKING:
    from statechain.records.filters import HasId
    from statechain.tasks.callbacks import Callbacks

__all__ = ["EngineWaitingTasks"]

PAGE = 100


@guarded()
class EngineWaitingTasks(EngineQueries):
    """The methods of `Engine` that list and answer tasks that wait; it sets the attributes that they need."""

    _callbacks: Callbacks

    @checked(
        execution_id=EXECUTION_ID.or_none(),
        state_machine_id=MACHINE.or_none(),
        state=TEXT.or_none(),
        since_before=MOMENT.or_none(),
        after=instance_of(WaitingTask, meant="a WaitingTask").or_none(),
        limit=count_from(1),
    )
    async def list_waiting_tasks(
        self,
        *,
        execution_id: str | None = None,
        state_machine_id: HasId | str | None = None,
        state: str | None = None,
        since_before: datetime | None = None,
        after: WaitingTask | None = None,
        limit: int = PAGE,
    ) -> list[WaitingTask]:
        """Return tasks that wait for an answer from outside, those that have waited longest first.

        Arguments:
            execution_id: Only tasks of this execution.

            state_machine_id: Only tasks of this machine's executions: itself, its name or its id.

            state: Only tasks of states of this name.

            since_before: Only tasks that have waited since before this moment.

            after: The last task of the page before.

            limit: How many are returned at most.

        Raises:
            ExecutionNotFound, StateMachineNotFound: There is no such execution, or no such state machine.
        """
        await require_execution(self.repository, "execution_id", execution_id)
        machine = await optional_machine_id(self.repository, "state_machine_id", state_machine_id)
        found = await self.repository.waiting_tasks(
            execution_id=execution_id,
            state_machine_id=machine,
            state=state,
            since_before=since_before,
            after=after,
            page=limit,
        )
        return list(found)

    @checked(execution_id=EXECUTION_ID, task_id=TEXT)
    async def get_waiting_task(self, execution_id: str, task_id: str) -> WaitingTask:
        """Return a task that waits for an answer from outside, however many others of its execution do.

        Arguments:
            execution_id: The execution.

            task_id: The task's id, as `list_waiting_tasks` has it.

        Raises:
            ExecutionNotFound: There is no such execution.

            TaskTimedOut: The task waits no more: it was answered, or its execution has ended.
        """
        # First, so that an execution that does not exist is not reported as a task that is over.
        await require_execution(self.repository, "execution_id", execution_id)
        found = await self.repository.waiting_tasks(execution_id=execution_id, task_id=task_id, page=1)
        if not found:
            raise TaskTimedOut("this task waits no more: it was answered, or its execution has ended")
        return found[0]

    @checked(execution_id=EXECUTION_ID, state=TEXT.or_none(), task_id=TEXT.or_none())
    async def answer_waiting_task(
        self, execution_id: str, output: JSONInput, *, state: str | None = None, task_id: str | None = None
    ) -> WaitingTask:
        """Answer a task that waits, without its token: it succeeded, with an output. Return the task.

        Arguments:
            execution_id: The execution.

            output: The task's result, any JSON value.

            state: The state that waits, where several do.

            task_id: The task's id (see `list_waiting_tasks`), where several tasks of a state wait.

        Returns:
            The task that was answered.

        Raises:
            ExecutionNotFound: There is no such execution.

            TaskTimedOut: No such task waits, or not any more.

            ValueError: Several tasks wait, or the task is an activity's that no worker has taken yet.

            InvalidPayload: The output is not JSON, or too large.
        """
        text = encode(output, max_bytes=self.limits.payload_bytes, max_depth=self.limits.payload_depth)
        task, token_hash = await self._waiting(execution_id, state, task_id)
        await self._callbacks.answer(token_hash, text)
        return task

    @checked(
        execution_id=EXECUTION_ID,
        error=TEXT.or_none(),
        cause=TEXT.or_none(),
        state=TEXT.or_none(),
        task_id=TEXT.or_none(),
    )
    async def fail_waiting_task(
        self,
        execution_id: str,
        error: str | None = None,
        cause: str | None = None,
        *,
        state: str | None = None,
        task_id: str | None = None,
    ) -> WaitingTask:
        """Answer a task that waits, without its token: it failed. Return the task.

        Arguments:
            execution_id: The execution.

            error: The name of the error, which Retry and Catch match.

            cause: What happened; one that is too long is truncated.

            state: The state that waits, where several do.

            task_id: The task's id (see `list_waiting_tasks`), where several tasks of a state wait.

        Returns:
            The task that was answered.

        Raises:
            ExecutionNotFound: There is no such execution.

            TaskTimedOut: No such task waits, or not any more.

            ValueError: Several tasks wait, or the task is an activity's that no worker has taken yet.
        """
        task, token_hash = await self._waiting(execution_id, state, task_id)
        await self._callbacks.refuse(token_hash, error, self.limits.cut_off(cause))
        return task

    async def _waiting(self, execution_id: str, state: str | None, task_id: str | None) -> tuple[WaitingTask, str]:
        """Return the one task that is meant, with the hash of its token."""
        await self.get_execution(execution_id)
        found = await self.repository.waiting_tasks(execution_id=execution_id, state=state, task_id=task_id, page=PAGE)
        if not found:
            place = "" if state is None else f" in state {state!r}"
            raise TaskTimedOut(f"no task of execution {execution_id!r} waits{place} any more")
        if len(found) > 1:
            tasks = ", ".join(f"{task.id} ({task.state})" for task in found[:5])
            count = f"{PAGE} tasks or more" if len(found) == PAGE else f"{len(found)} tasks"
            raise ValueError(f"{count} of this execution wait; name one by its id: {tasks}")
        # Read apart: a `WaitingTask` has no hash, so that pages and logs cannot reveal one.
        callbacks = await self.repository.callbacks([found[0].id])
        if not callbacks or callbacks[0].token_hash is None:
            raise ValueError(f"the task waits for a worker of the activity {found[0].activity!r} to take it")
        return found[0], callbacks[0].token_hash
