"""What an engine reads from storage: executions, their histories and pictures, statistics, links, and batches.

Nothing here writes, starts or owns a task, so all of it also works in an engine that was opened with ``role="reader"``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, cast

from statechain import asl, drawing
from statechain.arguments import (
    BATCH_ID,
    EXECUTION_ID,
    FLAG,
    MACHINE,
    TEXT,
    WHOLE,
    Argument,
    checked,
    count_from,
    one_of,
)
from statechain.chaining.arguments import FILTER
from statechain.errors import BatchNotFound, ExecutionNotFound
from statechain.guard import Guard, guarded
from statechain.records.batches import Batch, BatchStatus
from statechain.records.executions import DurationStatistics, Execution, ExecutionStatus, Link, Suspect
from statechain.records.filters import ExecutionFilter, as_id
from statechain.storage.existing import optional_machine_id, require_execution, with_machine_ids
from statechain.storage.paging import pages

if TYPE_CHECKING:
    from statechain.clock import Clock
    from statechain.drawing import DrawingFormat
    from statechain.history.history import History
    from statechain.history.kept import KeptIndexes
    from statechain.limits import Limits
    from statechain.records.events import HistoryEvent
    from statechain.records.filters import HasId
    from statechain.storage.repository import Repository
    from statechain.storage.waits import ExecutionWait
    from statechain.worker.revisions import Revisions

__all__ = ["EngineQueries"]

PAGE = 100
"""How many records one query returns at most, where the caller does not choose."""

EXECUTIONS = Argument(
    "a list of executions",
    lambda value: isinstance(value, Sequence) and all(isinstance(each, Execution) for each in value),
)


@guarded("iterate_executions", "iterate_execution_history", "iterate_linked_executions", "iterate_batches")
class EngineQueries:
    """The methods of `Engine` that only read; it sets the attributes that they need."""

    guard: Guard
    repository: Repository
    clock: Clock
    limits: Limits
    _revisions: Revisions

    # Executions

    @checked(id=EXECUTION_ID)
    async def get_execution(self, id: str) -> Execution:  # noqa: A002
        """Return an execution as storage last recorded it.

        Arguments:
            id: The execution.

        Raises:
            ExecutionNotFound: There is no such execution.
        """
        execution = await self.repository.execution(id)
        if execution is None:
            raise ExecutionNotFound(f"there is no execution {id!r}")
        return execution

    @checked(filter=FILTER.or_none())
    async def list_executions(self, filter: ExecutionFilter | None = None) -> list[Execution]:  # noqa: A002
        """Return the executions that match a filter, in its order; all of them are in memory at once.

        Arguments:
            filter: Which executions, and in which order; by default all, newest first.

        Raises:
            StateMachineNotFound: The filter names a state machine that does not exist.
        """
        return [execution async for execution in self.iterate_executions(filter)]

    @checked(filter=FILTER.or_none())
    async def list_execution_ids(self, filter: ExecutionFilter | None = None) -> list[str]:  # noqa: A002
        """Return the ids of the executions that match a filter, in its order.

        Arguments:
            filter: Which executions, and in which order; by default all, newest first.

        Raises:
            StateMachineNotFound: The filter names a state machine that does not exist.
        """
        filter_ = await with_machine_ids(self.repository, filter or ExecutionFilter())
        async with aclosing(pages(self.repository.execution_keys, filter_, PAGE)) as found:
            return [key.id async for page in found for key in page]

    @checked(filter=FILTER.or_none(), page_size=count_from(1))
    async def iterate_executions(
        self,
        filter: ExecutionFilter | None = None,  # noqa: A002
        *,
        page_size: int = PAGE,
    ) -> AsyncIterator[Execution]:
        """Yield the executions that match a filter, in its order, with one page in memory at a time.

        Each page continues after the last execution of the previous page, not at an offset: when executions are
        inserted or deleted meanwhile, no other one is repeated or skipped.

        Arguments:
            filter: Which executions, and in which order; by default all, newest first.

            page_size: How many executions one query reads, at least 1.

        Raises:
            StateMachineNotFound: The filter names a state machine that does not exist.
        """
        filter_ = await with_machine_ids(self.repository, filter or ExecutionFilter())
        # A caller may stop early: the pages are closed here, and not when the garbage collector finds them.
        async with aclosing(pages(self.repository.executions, filter_, page_size)) as found:
            async for page in found:
                for execution in page:
                    yield execution

    @checked(filter=FILTER.or_none())
    async def count_executions(self, filter: ExecutionFilter | None = None) -> int:  # noqa: A002
        """Return how many executions `list_executions` would return.

        Arguments:
            filter: Which executions; its limit and offset count, too.

        Raises:
            StateMachineNotFound: The filter names a state machine that does not exist.
        """
        filter_ = await with_machine_ids(self.repository, filter or ExecutionFilter())
        # The storage counts all that match: limit and offset are the caller's.
        count = max(0, await self.repository.count_executions(filter_) - filter_.offset)
        return count if filter_.limit is None else min(count, filter_.limit)

    @checked(executions=EXECUTIONS)
    async def get_execution_waits(self, executions: Sequence[Execution]) -> dict[str, ExecutionWait]:
        """Return what executions wait for: a worker, a limit, an answer, a time.

        Arguments:
            executions: The executions, as they were read.

        Returns:
            An `ExecutionWait` for each that is RUNNING and waits, by its id. Of one with branches, a Wait state and a
            retry are known of the branch that was recorded last.

        Raises:
            TypeError: What is given is no sequence of executions.

            EngineNotUsable: The engine is not open, or belongs to another event loop, thread or process.
        """
        running = [each.id for each in executions if each.end_time is None]
        found = await self.repository.waits(running) if running else {}
        now = self.clock.now()
        # A time that has come is no wait: the execution runs on.
        return {id_: wait for id_, wait in found.items() if wait.until is None or wait.until > now}

    @checked(id=EXECUTION_ID, after=WHOLE, limit=WHOLE.or_none(), reverse=FLAG)
    async def get_execution_history(
        self,
        id: str,  # noqa: A002
        *,
        after: int = 0,
        limit: int | None = None,
        reverse: bool = False,
    ) -> list[HistoryEvent]:
        """Return an execution's events as AWS does: ``id``, ``previousEventId``, ``type``, ``timestamp``, details.

        The details have a name that depends on the type, such as ``stateEnteredEventDetails`` (AWS,
        GetExecutionHistory). While an execution runs, ids may be missing: parallel branches are not written in order.

        Arguments:
            id: The execution.

            after: The id of the last event that you have: later events are returned, or, in reverse order, earlier
                ones. 0 starts at the beginning, or, in reverse order, at the end.

            limit: At most this many events are returned. By default, all are, which may take much memory.

            reverse: Whether the last event comes first.

        Raises:
            ExecutionNotFound: There is no such execution.

            ValueError: ``after`` or ``limit`` is negative.
        """
        events = self.iterate_execution_history(id, after=after, limit=limit, reverse=reverse)
        return [event async for event in events]

    @checked(id=EXECUTION_ID, after=WHOLE, limit=WHOLE.or_none(), reverse=FLAG)
    async def iterate_execution_history(
        self,
        id: str,  # noqa: A002
        *,
        after: int = 0,
        limit: int | None = None,
        reverse: bool = False,
    ) -> AsyncIterator[HistoryEvent]:
        """Yield the events that `get_execution_history` returns, with the payloads of a few in memory at a time.

        Events that happen after the first one was requested are not yielded.

        Arguments:
            id: The execution.

            after: The id of the last event that you have.

            limit: At most this many events are yielded.

            reverse: Whether the last event comes first.

        Raises:
            ExecutionNotFound: There is no such execution.

            ValueError: ``after`` or ``limit`` is negative.
        """
        if after < 0 or (limit is not None and limit < 0):
            raise ValueError("after and limit must not be negative")
        history = await self._history(id)
        async with aclosing(history.events(after=after, limit=limit, reverse=reverse)) as events:
            async for event in events:
                yield cast("HistoryEvent", event)

    async def _history(self, execution_id: str, kept: KeptIndexes | None = None) -> History:
        from statechain.history.history import History  # noqa: PLC0415 -- read rarely: loading it costs 5 ms

        execution = await self.get_execution(execution_id)
        revision = await self._revisions.get(execution.state_machine_id, execution.state_machine_revision)
        return await History.read(self.repository, execution, revision, kept)

    @checked(id=EXECUTION_ID, format=TEXT)
    async def draw_execution(self, id: str, format: DrawingFormat = "svg") -> str:  # noqa: A002
        """Return a picture of what an execution did: which states it visited, how often, how long, where it failed.

        An EXPRESS execution leaves no visits to draw.

        Arguments:
            id: The execution, running or ended.

            format: ``"svg"``, ``"mermaid"`` or ``"dot"`` for its definition's graph with the execution drawn on it;
                ``"timeline"`` for a Gantt chart, as SVG.

        Raises:
            ExecutionNotFound: There is no such execution.

            ValueError: There is no such format.
        """
        execution = await self.get_execution(id)
        revision = await self._revisions.get(execution.state_machine_id, execution.state_machine_revision)
        visits = await self.repository.visits(id)
        now = self.clock.now()

        # In a thread: to lay out a large definition takes long, and the event loop serves executions meanwhile.
        def draw() -> str:
            definition = asl.load_stored(revision.record.definition, limits=self.limits)
            return drawing.draw_execution(execution, definition.model, visits, now, format)

        return await asyncio.to_thread(draw)

    @checked(state_machine_id=MACHINE)
    async def execution_statistics(self, state_machine_id: HasId | str) -> Mapping[ExecutionStatus, DurationStatistics]:
        """Return how many executions of a machine have each status, and how long they took, in seconds.

        Arguments:
            state_machine_id: The machine, its name or its id; all its revisions count.

        Returns:
            The figures for each status that occurs; an empty mapping if there is no such machine.

        Raises:
            InvalidArgument: The argument is neither a state machine, nor a name or an id.
        """
        id_or_name = as_id(state_machine_id)
        record = await self.repository.state_machine(id_or_name)
        return {} if record is None else await self.repository.statistics(record.id)

    @checked(
        source_execution_id=EXECUTION_ID.or_none(),
        target_execution_id=EXECUTION_ID.or_none(),
        target_state_machine_id=MACHINE.or_none(),
    )
    async def list_linked_executions(
        self,
        *,
        source_execution_id: str | None = None,
        target_execution_id: str | None = None,
        target_state_machine_id: HasId | str | None = None,
    ) -> list[Link]:
        """Return the chain links that match every argument given, oldest first; all of them are in memory at once.

        Arguments:
            source_execution_id: The execution that a link starts from.

            target_execution_id: The execution that was started from it.

            target_state_machine_id: The machine of the execution that was started, its name or its id.

        Returns:
            The links; without an argument, all of the storage.

        Raises:
            ExecutionNotFound: There is no such source or target execution.

            StateMachineNotFound: There is no such state machine.
        """
        links = self.iterate_linked_executions(
            source_execution_id=source_execution_id,
            target_execution_id=target_execution_id,
            target_state_machine_id=target_state_machine_id,
        )
        return [link async for link in links]

    @checked(
        source_execution_id=EXECUTION_ID.or_none(),
        target_execution_id=EXECUTION_ID.or_none(),
        target_state_machine_id=MACHINE.or_none(),
        page_size=count_from(1),
    )
    async def iterate_linked_executions(
        self,
        *,
        source_execution_id: str | None = None,
        target_execution_id: str | None = None,
        target_state_machine_id: HasId | str | None = None,
        page_size: int = PAGE,
    ) -> AsyncIterator[Link]:
        """Yield the links that `list_linked_executions` returns, with one page in memory at a time.

        Arguments:
            source_execution_id: The execution that a link starts from.

            target_execution_id: The execution that was started from it.

            target_state_machine_id: The machine of the execution that was started, its name or its id.

            page_size: How many links one query reads, at least 1.

        Raises:
            ExecutionNotFound: There is no such source or target execution.

            StateMachineNotFound: There is no such state machine.
        """
        await require_execution(self.repository, "source_execution_id", source_execution_id)
        await require_execution(self.repository, "target_execution_id", target_execution_id)
        target = await optional_machine_id(self.repository, "target_state_machine_id", target_state_machine_id)
        read = partial(
            self.repository.links,
            source_execution_id=source_execution_id,
            target_execution_id=target_execution_id,
            target_state_machine_id=target,
            page=page_size,
        )
        after: Link | None = None
        while page := await read(after=after):
            for link in page:
                yield link
            # A short page is the last: one query less.
            if len(page) < page_size:
                return
            after = page[-1]

    @checked(limit=count_from(1))
    async def list_suspects(self, *, limit: int = PAGE) -> list[Suspect]:
        """Return the RUNNING executions whose workers died after claiming them, those with the most deaths first.

        Arguments:
            limit: At most this many are returned.
        """
        return list(await self.repository.suspects(page=limit))

    # Batches

    @checked(id=BATCH_ID)
    async def get_batch(self, id: str) -> Batch:  # noqa: A002
        """Return a stored batch, with its items counted now.

        Arguments:
            id: The batch.

        Raises:
            BatchNotFound: There is no such batch.
        """
        batch = await self.repository.batch(id)
        if batch is None:
            raise BatchNotFound(f"there is no batch {id!r}")
        return batch

    @checked(
        state_machine_id=MACHINE.or_none(),
        status=one_of(*BatchStatus).or_none(),
        parent_execution_id=EXECUTION_ID.or_none(),
    )
    async def list_batches(
        self,
        *,
        state_machine_id: HasId | str | None = None,
        status: BatchStatus | None = None,
        parent_execution_id: str | None = None,
    ) -> list[Batch]:
        """Return the stored batches that match every argument given, newest first; all of them are in memory at once.

        Arguments:
            state_machine_id: The machine whose executions the batches start, its name or its id.

            status: The batches' status.

            parent_execution_id: The execution whose Map Runs the batches are.

        Returns:
            The batches, with their items counted now; without an argument, all of the storage.

        Raises:
            StateMachineNotFound: There is no such state machine.

            ExecutionNotFound: There is no such parent execution.
        """
        found = self.iterate_batches(
            state_machine_id=state_machine_id, status=status, parent_execution_id=parent_execution_id
        )
        return [batch async for batch in found]

    @checked(
        state_machine_id=MACHINE.or_none(),
        status=one_of(*BatchStatus).or_none(),
        parent_execution_id=EXECUTION_ID.or_none(),
        page_size=count_from(1),
    )
    async def iterate_batches(
        self,
        *,
        state_machine_id: HasId | str | None = None,
        status: BatchStatus | None = None,
        parent_execution_id: str | None = None,
        page_size: int = PAGE,
    ) -> AsyncIterator[Batch]:
        """Yield the batches that `list_batches` returns, with one page in memory at a time.

        Arguments:
            state_machine_id: The machine whose executions the batches start, its name or its id.

            status: The batches' status.

            parent_execution_id: The execution whose Map Runs the batches are.

            page_size: How many batches one query reads, at least 1.

        Raises:
            StateMachineNotFound: There is no such state machine.

            ExecutionNotFound: There is no such parent execution.
        """
        target = await optional_machine_id(self.repository, "state_machine_id", state_machine_id)
        await require_execution(self.repository, "parent_execution_id", parent_execution_id)
        wanted = None if status is None else BatchStatus(status)
        read = partial(
            self.repository.batches,
            state_machine_id=target,
            status=wanted,
            parent_execution_id=parent_execution_id,
            page=page_size,
        )
        after: Batch | None = None
        while page := await read(after=after):
            for batch in page:
                yield batch
            if len(page) < page_size:
                return
            after = page[-1]
