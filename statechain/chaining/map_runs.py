"""Map Runs as DISTRIBUTED batches: a distributed Map's items as executions of their own, which all workers share.

A Map Run is a batch of stored inputs that has the Map's execution as its parent. Its items run a machine that is made
of the Map's processor. All of it is found again by the id of the Map Run alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID, uuid5

import attrs

from statechain.asl.item_machines import item_machine
from statechain.chaining.batch import StopFunction, stop_batch
from statechain.chaining.bulk import store_bulk
from statechain.chaining.following import batch_status
from statechain.chaining.options import DISTRIBUTED, BatchExecutionOptions
from statechain.chaining.stored import describe_options
from statechain.codec import decode, encode
from statechain.errors import BatchNotFound
from statechain.execution.fan_out.shared import MapRunItem
from statechain.records.batches import Batch, BatchStatus
from statechain.records.executions import StateMachineRecord
from statechain.storage.repository import CreateStateMachine, DropBatchItems, ResumeBatch
from statechain.storage.retrying import backoff_delays, retry_while_unavailable

if TYPE_CHECKING:
    from statechain.chaining.runner import BatchServices, Target
    from statechain.chaining.shards.worker import ShardWorker
    from statechain.codec import JSONValue
    from statechain.execution.fan_out.shared import MapRun
    from statechain.records.executions import Execution
    from statechain.reports import BatchResult

__all__ = ["DistributedMapRuns"]

WIDTH = 1_000
"""How many items of a Map without a MaxConcurrency run at once, over all workers."""

REDRIVES = "redrives"
"""The option of a batch that says how often its execution had been redriven when the batch was last begun."""

ITEM_MACHINES = UUID("a3c5f0de-2a56-4d6e-9d4c-5f3f0b1b7a10")
"""The namespace of the ids of machines that are made of a Map's processor."""

FIRST_POLL, LONGEST_POLL = 0.05, 0.5
PAGE = 500
# The largest value of the column.
LAST = 2**31 - 1


@attrs.define(eq=False)
class DistributedMapRuns:
    """The Map Runs of the executions that run in one engine.

    Arguments:
        services: What a batch needs of the engine.

        shards: What runs shards here.

        find_target: Returns the machine that a batch runs, or None where this process cannot run it.

        stop_execution: Stops one execution.

        tasks: Returns the group of the tasks that the engine waits for when it is left.
    """

    _services: BatchServices
    _shards: ShardWorker
    _find_target: Callable[[Batch], Awaitable[Target | None]]
    _stop_execution: StopFunction
    _tasks: Callable[[], asyncio.TaskGroup]
    _machines: dict[tuple[str, int, str], StateMachineRecord] = attrs.field(factory=dict, init=False)

    # Storing

    async def take_up(self, run: MapRun) -> bool:
        """Return whether a Map Run is stored; resume it where its execution was redriven since."""
        batch = None if run.is_new else await self._batch(run)
        if batch is None:
            return False
        redrives = run.parent.redrive_count
        # Once for each redrive: another worker that takes the execution up finds the number stored.
        if batch.options.get(REDRIVES, 0) != redrives:
            options = {**batch.options, "redrive_failed": True, REDRIVES: redrives}
            await self._services.journal.write_for_caller(ResumeBatch(batch_id=run.id, options=options))
        return True

    async def store(self, run: MapRun, inputs: AsyncGenerator[JSONValue], total: int) -> None:
        """Store a Map Run with all of its items; raise what the inputs raise."""
        journal = self._services.journal
        machine = await self._item_machine(run)
        batch = Batch(
            id=run.id,
            name_prefix=run.id,
            state_machine_id=machine.id,
            state_machine_revision=machine.revision,
            source_state_name=None,
            filter={},
            options={**describe_options(_options(run, total)), REDRIVES: run.parent.redrive_count},
            status=BatchStatus.RUNNING,
            start_time=self._services.clock.now(),
            parent_execution_id=run.parent.id,
        )
        if not run.is_new:  # a worker may have died while it stored some of them
            await journal.write_for_caller(DropBatchItems(batch_id=run.id, first=0, last=LAST))
        await store_bulk(batch, inputs, self._services)

    async def _item_machine(self, run: MapRun) -> StateMachineRecord:
        """Return the machine that the items run, stored as ``machine/label``; a name that is taken is not touched."""
        key = (run.machine.id, run.machine.revision, run.state)
        if key not in self._machines:
            definition, type_ = item_machine(decode(run.machine.definition), run.state)
            # Made of what it is for: all workers, and all tries, mean the same machine.
            id_ = str(uuid5(ITEM_MACHINES, encode([run.machine.id, run.state])))
            name = f"{run.machine.name}/{run.label}"
            holder = await retry_while_unavailable(partial(self._services.repository.state_machine, name))
            made = StateMachineRecord(
                id=id_,
                name=name if holder is None or holder.id == id_ else id_,
                revision=1,
                type=type_,
                definition=encode(definition),
                created=self._services.clock.now(),
            )
            self._machines[key] = await self._services.journal.write_for_caller(CreateStateMachine(machine=made))
        return self._machines[key]

    # Running

    async def finish(self, run: MapRun) -> BatchStatus | None:
        """Take part in a stored Map Run until it is over; return how it ended, or None where it was deleted.

        Its shards run here beyond the worker's slots: they may all be taken by what waits for this Map Run.
        """
        repository, pauses = self._services.repository, backoff_delays(FIRST_POLL, LONGEST_POLL)
        batch = await self._batch(run)
        target = None if batch is None else await self._find_target(batch)
        with ExitStack() as taking_part:
            taking_part.enter_context(self._shards.served.awaiting(run.id))
            self._shards.revive(self._tasks())  # an execution that the engine waits for may begin a Map then
            if target is not None:
                taking_part.enter_context(self._shards.served.joined(run.id, target, None))
            await self._shards.announce(run.id)
            while (status := await batch_status(run.id, repository)) is BatchStatus.RUNNING:  # noqa: ASYNC110
                await asyncio.sleep(next(pauses))
        return status

    async def pages(self, run: MapRun) -> AsyncGenerator[Sequence[MapRunItem]]:
        """Yield all items, in order, some at a time."""
        repository, after = self._services.repository, -1
        while True:
            read = partial(repository.batch_results, run.id, after=after, page=PAGE)
            page = await retry_while_unavailable(read)
            ids = [each.execution_id for each in page if each.execution_id is not None]
            executions = await retry_while_unavailable(partial(repository.executions_with, ids))
            by_id = {each.id: each for each in executions}
            yield [_item(each, by_id) for each in page]
            if len(page) < PAGE:
                return
            after = page[-1].index

    # Stopping

    async def stop(self, run: MapRun) -> None:
        """End a Map Run as ABORTED, unless it is over, and those of its items that run."""
        with suppress(BatchNotFound):  # it never came to be stored
            await stop_batch(run.id, services=self._services, stop_execution=self._stop_execution)

    async def stop_unless_running(self, run: MapRun) -> None:
        """Stop a Map Run unless its execution runs on, under another worker."""
        # An epoch is there while the execution is RUNNING, owned or not.
        if not await self._services.repository.epochs([run.parent.id]):
            await self.stop(run)

    async def _batch(self, run: MapRun) -> Batch | None:
        return await retry_while_unavailable(partial(self._services.repository.batch, run.id, is_counted=False))


def _options(run: MapRun, total: int) -> BatchExecutionOptions:
    """Return how the batch of a Map Run runs; without a tolerance no failure is tolerated."""
    count, percentage = run.tolerance.count, run.tolerance.percentage
    return BatchExecutionOptions(
        mode=DISTRIBUTED,
        concurrent_batches=max(1, min(run.max_concurrency or WIDTH, total)),
        tolerated_failure_count=0 if count is None and percentage is None else count,
        tolerated_failure_percentage=percentage,
    )


def _item(result: BatchResult, executions: Mapping[str, Execution]) -> MapRunItem:
    return MapRunItem(
        index=result.index,
        name=result.name,
        execution=executions.get(result.execution_id or ""),
        error=result.error,
        cause=result.cause,
    )
