"""What the machines and handles of an engine use of it, so that neither holds the engine itself."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import attrs

from statechain.storage.queues import MachineLimited
from statechain.storage.retrying import retry_while_unavailable

if TYPE_CHECKING:
    from statechain.chaining.batch import LocalBatches
    from statechain.chaining.distributed import SharedBatches
    from statechain.clock import Clock
    from statechain.execution.running import RunningExecution
    from statechain.guard import Guard
    from statechain.limits import Limits
    from statechain.records.executions import Execution
    from statechain.storage.repository import Repository
    from statechain.tasks.registry import TaskRegistry
    from statechain.worker.revisions import Revisions
    from statechain.worker.worker import Worker

__all__ = ["EngineServices"]


@attrs.frozen(kw_only=True, eq=False)
class EngineServices:
    """The parts of one engine.

    Attributes:
        guard: Refuses calls while the engine is not open.

        repository: Where everything is stored.

        clock: What Wait, Retry and timeouts go by.

        limits: What guards the process.

        revisions: The definitions that this process has compiled.

        worker: Runs the executions.

        tasks: The handlers and input transformers; None where none were given.

        local_batches: The batches that this process runs by itself.

        shared_batches: The DISTRIBUTED batches that this engine stores or follows.
    """

    guard: Guard
    repository: Repository
    clock: Clock
    limits: Limits
    revisions: Revisions
    worker: Worker
    tasks: TaskRegistry | None
    local_batches: LocalBatches
    shared_batches: SharedBatches

    async def stop_execution(self, id: str, *, error: str | None = None, cause: str | None = None) -> Execution:  # noqa: A002
        """End an execution as ABORTED, as `Engine.stop_execution` does."""
        return await self.worker.stop(id, error=error, cause=self.limits.cut_off(cause))

    async def redrive(self, execution: Execution) -> tuple[bool, RunningExecution | None]:
        """Continue an execution that ended without success; return whether it is redriven, and how it runs here.

        It is not redriven where it runs, or another caller has redriven it.
        """
        number = execution.state_machine_revision
        # An outage is waited out, as it would be for the write below.
        revision = await retry_while_unavailable(partial(self.revisions.get, execution.state_machine_id, number))
        submissions = self.worker.submissions
        if not submissions.takes(execution.state_machine_id):
            try:
                live = await self.worker.redrive(revision, execution)
            # Storage refused to run it here: it is submitted, and claimed when the limits allow it.
            except MachineLimited as limited:
                submissions.note_limited(limited)
            else:
                return live is not None, live
        return await submissions.redrive(execution), None
