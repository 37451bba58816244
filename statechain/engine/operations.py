"""What an operator does beyond starting and stopping: pages and reports, answers without a token, parts of batches.

The command line and the console use the same verbs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, cast

import attrs

from statechain.arguments import (
    BATCH_ID,
    EXECUTION_ID,
    FLAG,
    MACHINE,
    MOMENT,
    WHOLE,
    Argument,
    checked,
    count_from,
    instance_of,
)
from statechain.chaining.arguments import FILTER
from statechain.engine.handle import ExecutionHandle
from statechain.engine.queries import EngineQueries
from statechain.errors import BatchNotFound
from statechain.guard import guarded
from statechain.launcher import first_error, launch
from statechain.records.executions import Execution, ExecutionStatus
from statechain.records.filters import Cursor, ExecutionFilter, to_statuses
from statechain.reports import (
    Activity,
    Backlog,
    BatchResult,
    BatchTotals,
    HistoryPage,
    Redriven,
    durations_of,
)
from statechain.storage.existing import optional_machine_id, with_machine_ids

if TYPE_CHECKING:
    from statechain.engine.services import EngineServices
    from statechain.history.kept import KeptIndexes
    from statechain.records.events import HistoryEvent
    from statechain.records.filters import HasId, Statuses
    from statechain.storage.journal.journal import Journal
    from statechain.tickets import Dispatcher

__all__ = ["EngineOperations"]

logger = logging.getLogger(__name__)

PAGE = 100
REDRIVEN_AT_ONCE = 100
MOST_DURATIONS, FEWER_DURATIONS, FEW_INTERVALS = 500, 100, 12
"""How many executions of an interval are asked for their durations: fewer where there are more than a few intervals."""

AT_ONCE = 4
"""How many intervals are counted at the same time, so that other reads get connections too."""

DEPTH_SECONDS = 5.0
"""How long a dispatcher has to say how many tickets wait."""

UNSUCCESSFUL = frozenset({ExecutionStatus.FAILED, ExecutionStatus.TIMED_OUT, ExecutionStatus.ABORTED})
CURSOR = instance_of(Cursor, meant="a Cursor (`Cursor.of` an execution)")


MOST_INTERVALS = 1000
INTERVALS = Argument(
    f"a whole number from 1 to {MOST_INTERVALS}",
    lambda value: count_from(1).accepts(value) and value <= MOST_INTERVALS,
)


@guarded()
class EngineOperations(EngineQueries):
    """The methods of `Engine` that operators use; it sets the attributes that they need."""

    journal: Journal
    _services: EngineServices
    _kept_indexes: KeptIndexes
    _dispatcher: Dispatcher | None

    # Pages and reports

    @checked(filter=FILTER, after=CURSOR.or_none(), size=count_from(1))
    async def page_executions(
        self,
        filter: ExecutionFilter,  # noqa: A002
        *,
        after: Cursor | None = None,
        size: int = PAGE,
    ) -> list[Execution]:
        """Return one page of the executions that match a filter, in its order.

        Arguments:
            filter: Which executions; its limit plays no part, and its offset only on the first page.

            after: The place of the last execution of the page before: ``Cursor.of(execution)``.

            size: How many are returned at most.

        Raises:
            StateMachineNotFound: The filter names a state machine that does not exist.
        """
        filter_ = await with_machine_ids(self.repository, filter)
        return list(await self.repository.executions(filter_, after=after, page=size))

    async def backlog(self) -> Backlog:
        """Return what waits for a worker now, for autoscaling: executions, shards, and the dispatcher's tickets.

        Its cost grows with what waits, and not with what runs. A dispatcher that does not answer leaves its tickets
        out.

        Raises:
            RepositoryUnavailable: Storage does not answer.
        """
        found = await self.repository.backlog()
        if self._dispatcher is None:
            return found
        try:
            async with asyncio.timeout(DEPTH_SECONDS):
                tickets = await self._dispatcher.depth()
        except Exception as error:  # noqa: BLE001 -- an adapter may raise anything; what storage knows is still right
            logger.warning("the dispatcher does not say how many tickets wait: %s", type(error).__name__)
            return found
        return attrs.evolve(found, tickets=tickets)

    @checked(id=BATCH_ID)
    async def get_batch_totals(self, id: str) -> BatchTotals:  # noqa: A002
        """Return how far a batch has come, as its shards last counted it, which each does twice a second.

        Unlike `get_batch` it looks at no item, and reads at most some thousand shards.

        Arguments:
            id: The batch.

        Raises:
            BatchNotFound: There is no such batch.
        """
        batch = await self.repository.batch(id, is_counted=False)
        if batch is None:
            raise BatchNotFound(f"there is no batch {id!r}")
        is_shared = batch.is_distributed
        shards = await self.repository.shards(id) if is_shared else ()
        return BatchTotals(
            status=batch.status,
            total=batch.item_counts.total,
            ended=sum(shard.ended for shard in shards) if is_shared else None,
            failed=sum(shard.failed for shard in shards) if is_shared else None,
        )

    @checked(begin=MOMENT, end=MOMENT, intervals=INTERVALS, state_machine_id=MACHINE.or_none())
    async def execution_activity(
        self, begin: datetime, end: datetime, *, intervals: int = 1, state_machine_id: HasId | str | None = None
    ) -> list[Activity]:
        """Return what was started between two moments: counts by status and durations, for each of equal intervals.

        Durations are those of the newest executions of an interval that have ended: at most 500, or 100 where there are
        more than twelve intervals.

        Arguments:
            begin: Where the first interval begins.

            end: Where the last one ends.

            intervals: How many there are, at most 1,000: each costs two queries.

            state_machine_id: Only executions of this machine: itself, its name or its id.

        Raises:
            StateMachineNotFound: There is no such state machine.

            ValueError: ``end`` is not later than ``begin``.
        """
        if end <= begin:
            raise ValueError("end must be later than begin")
        machine = await optional_machine_id(self.repository, "state_machine_id", state_machine_id)
        step = (end - begin) / intervals
        bounds = [(begin + step * place, begin + step * (place + 1)) for place in range(intervals)]
        room = asyncio.Semaphore(AT_ONCE)
        most = MOST_DURATIONS if intervals <= FEW_INTERVALS else FEWER_DURATIONS

        async def read(begin: datetime, end: datetime) -> Activity:
            async with room:
                window = {"state_machine_id": machine, "start_after": begin, "start_before": end}
                counts = await self.repository.count_by_status(**window)  # type: ignore[arg-type]
                # Most intervals of a quiet day are empty: one query less for each.
                took = await self.repository.durations(**window, most=most) if any(counts.values()) else ()  # type: ignore[arg-type]
                return Activity(begin=begin, end=end, counts=counts, durations=durations_of(took))

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(read(*interval)) for interval in bounds]
        return [task.result() for task in tasks]

    @checked(id=EXECUTION_ID, after=WHOLE, limit=count_from(1), reverse=FLAG, failures=WHOLE)
    async def page_execution_history(
        self,
        id: str,  # noqa: A002
        *,
        after: int = 0,
        limit: int = PAGE,
        reverse: bool = False,
        failures: int = 0,
    ) -> HistoryPage:
        """Return one page of an execution's history, and with it the first events that report a failure.

        Arguments:
            id: The execution.

            after: The id of the last event of the page before, as in `get_execution_history`.

            limit: How many events the page has at most.

            reverse: Whether the last event comes first.

            failures: How many of the events are returned, at most, that report a failure; they may be on any page.

        Raises:
            ExecutionNotFound: There is no such execution.

            ValueError: ``after`` or ``failures`` is negative.
        """
        if after < 0 or failures < 0:
            raise ValueError("after and failures must not be negative")
        history = await self._history(id, self._kept_indexes)
        page, failed = await history.page(after=after, limit=limit, reverse=reverse, failures=failures)
        return HistoryPage(
            events=cast("Sequence[HistoryEvent]", page),
            failures=cast("Sequence[HistoryEvent]", failed),
            total=len(history),
        )

    # Batches

    @checked(id=BATCH_ID, after=WHOLE, until=WHOLE.or_none(), limit=count_from(1))
    async def list_batch_results(
        self,
        id: str,  # noqa: A002
        *,
        status: Statuses | None = None,
        after: int = -1,
        until: int | None = None,
        limit: int = PAGE,
    ) -> list[BatchResult]:
        """Return items of a batch with what became of them, in order.

        Arguments:
            id: The batch.

            status: Only items whose executions have this status, or one of these; FAILED includes those that were not
                started.

            after: Only items with an index above this.

            until: Only items with an index of at most this: how far a search through a large batch goes.

            limit: How many are returned at most.

        Raises:
            BatchNotFound: There is no such batch.

            ValueError: A status is unknown.
        """
        wanted = to_statuses(status)
        # The status alone: `get_batch` counts all items, and is asked only for its error.
        if await self.repository.batch_status(id) is None:
            await self.get_batch(id)  # raises
        return list(await self.repository.batch_results(id, status=wanted, after=after, until=until, page=limit))

    @checked(id=BATCH_ID, after=WHOLE, limit=count_from(1))
    async def redrive_batch(self, id: str, *, after: int = -1, limit: int = PAGE) -> Redriven:  # noqa: A002
        """Redrive executions of a batch that ended without success, in this process; items that never started stay.

        They are redriven at once, so that a few commits have all of them. Each runs on by itself: what the batch, or
        the Map Run, has ended with stays.

        Arguments:
            id: The batch.

            after: Only items with an index above this: the ``last`` of what was returned before.

            limit: How many are redriven at most.

        Returns:
            How many were redriven, and from where to go on.

        Raises:
            BatchNotFound: There is no such batch.
        """
        results = await self.list_batch_results(id, status=UNSUCCESSFUL, after=after, limit=limit)
        ids = [each.execution_id for each in results if each.execution_id is not None]
        count = await self._redrive_all(await self.repository.executions_with(ids) if ids else ())
        # A full page may be the last one: the next call then redrives nothing.
        is_more = len(results) == limit
        return Redriven(count=count, last=results[-1].index if results else after, is_more=is_more)

    async def _redrive_all(self, executions: Sequence[Execution]) -> int:
        """Redrive executions at once; return how many were."""
        redriven: list[ExecutionHandle] = []

        async def redrive(execution: Execution) -> None:
            if (handle := await self.try_redrive(execution)) is not None:
                redriven.append(handle)

        try:
            await launch(executions, redrive, concurrency=REDRIVEN_AT_ONCE)
        except BaseExceptionGroup as errors:
            raise first_error(errors) from None
        return len(redriven)

    # Executions

    @checked(id=EXECUTION_ID)
    async def redrive_execution(self, id: str) -> ExecutionHandle:  # noqa: A002
        """Continue a FAILED, TIMED_OUT or ABORTED execution from the state that failed, on its own revision.

        Arguments:
            id: The execution.

        Returns:
            A handle on the execution, to wait for its end. A caller that is cancelled meanwhile leaves it ABORTED, one
            of an engine that runs nothing (``role="client"``) may leave it RUNNING.

        Raises:
            ExecutionNotFound: There is no such execution.

            ValueError: It is RUNNING or SUCCEEDED, or another caller has redriven it meanwhile. To a client, which runs
                nothing, the redrive of another caller is as good as its own.
        """
        execution = await self.get_execution(id)
        handle = await self.try_redrive(execution)
        if handle is None:
            name, status = execution.name, execution.status
            what = "only one that ended without success is redriven, and by one at a time"
            raise ValueError(f"execution {name!r} is {status}: {what}")
        return handle

    async def try_redrive(self, execution: Execution) -> ExecutionHandle | None:
        """Continue an execution as `redrive_execution` does; None where it runs, or is redriven elsewhere."""
        is_redriven, live = await self._services.redrive(execution)
        return ExecutionHandle(self._services, execution, live) if is_redriven else None

    @checked(id=EXECUTION_ID)
    async def delete_execution(self, id: str) -> None:  # noqa: A002
        """Delete an ended execution with its visits and links.

        Arguments:
            id: The execution.

        Raises:
            ExecutionNotFound: There is no such execution.

            ValueError: It is RUNNING, or was redriven meanwhile.
        """
        execution = await self.get_execution(id)
        if not await self._delete([execution]):
            raise ValueError(f"execution {execution.name!r} is RUNNING: only one that has ended is deleted")

    async def _delete(self, executions: Sequence[Execution]) -> int:
        from statechain.storage.writes import DeleteExecutions  # noqa: PLC0415 -- loaded by the first engine

        # With the redrive count that was read: what is redriven in between is not deleted.
        ended = {each.id: each.redrive_count for each in executions if each.status.is_terminal}
        return await self.journal.write_for_caller(DeleteExecutions(redrive_counts=ended)) if ended else 0
