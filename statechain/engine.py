"""The engine: opens storage, creates machines, owns the tasks of all that runs, and carries the operator's verbs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from statechain import asl, chaining, drawing
from statechain.arguments import (
    BATCH_ID,
    DURATION,
    EXECUTION_ID,
    FLAG,
    MACHINE_ID,
    NAME,
    PATH,
    TEXT,
    TOKEN,
    WHOLE,
    checked,
    count_from,
    instance_of,
    one_of,
    sequence_with,
    text,
    with_method,
)
from statechain.chaining.arguments import FILTER, OPTIONS, TRANSFORMER
from statechain.chaining.options import BatchExecutionOptions
from statechain.chaining.source import InputTransformer
from statechain.clock import Clock, SystemClock, as_duration
from statechain.codec import JSONInput, JSONValue, encode, same_json
from statechain.errors import (
    BatchNotFound,
    DefinitionError,
    Diagnostic,
    ExecutionNotFound,
    StateMachineNotFound,
)
from statechain.execution import lengthy
from statechain.filters import ExecutionFilter
from statechain.guard import Guard, guarded
from statechain.limits import DEFAULT_LIMITS, Limits
from statechain.machine import ExecutionHandle, StateMachine
from statechain.records import (
    Batch,
    BatchStatus,
    DurationStatistics,
    Execution,
    ExecutionStatus,
    Link,
    StateMachineRecord,
    Suspect,
    new_id,
)
from statechain.storage.deleting import delete_ended
from statechain.storage.existing import require_execution, require_machine, require_machines
from statechain.storage.open import open_repository
from statechain.storage.paging import pages
from statechain.storage.repository import CreateStateMachine, EndBatch
from statechain.storage.retrying import patiently
from statechain.tasks import services
from statechain.tasks.registry import TaskRegistry

if TYPE_CHECKING:
    from statechain.asl import Definition
    from statechain.drawing import DrawingFormat
    from statechain.observers import Observer
    from statechain.storage.repository import Repository
    from statechain.tasks.callbacks import ActivityTask

__all__ = ["Engine"]

PAGE = 100
REPOSITORY = with_method("commit", "a storage URL or a Repository").or_text()
DEFINITION = instance_of(Mapping, str, Path, meant="a mapping, JSON or YAML text, or the Path of a file")


@guarded("iterate_executions", "iterate_execution_history")
class Engine:
    """Runs state machines durably on one storage, inside one event loop.

    An async context manager: entering opens the storage and starts the heartbeat and the recovery of executions
    whose worker died; leaving waits for the executions that were started here. Leaving by an exception, or being
    cancelled while waiting, interrupts them: they stay RUNNING in the storage and can be recovered, by any engine, at
    once. So does what was taken over from other workers, however the engine is left (see ``wait_for``).

    Arguments:
        repository: A URL (see `open_repository`), or a `Repository`; the engine closes only what it opened.

        tasks: The handlers. Where they are given, a definition whose Resource is not among them is refused.

        clock: What Wait, Retry and timeouts go by; `SystemClock` unless given.

        worker_id: This process's identity; random unless given. Never use one twice at the same time.

        lease: How long the executions of a worker that fell silent stay its own; a number counts seconds.

        connect_timeout: For how long storage may be away when the engine is entered: it waits with backoff, and says so
            in the log; then `RepositoryUnavailable` is raised. A number counts seconds.

        max_concurrent_executions: How many executions run at once here; the rest wait, started and durable.

        observers: Who is told what happened (see `statechain.observers`).

        limits: What guards the process (see `statechain.limits`).

        recovery: Whether to take over what dead workers left. With False, the engine runs only what it starts itself.

        role: ``"worker"``, or ``"reader"`` for an engine that only reads: it registers no worker, holds no lease and
            takes over nothing. What starts, stops or answers raises.

        wait_for: What leaving waits for. ``"started"``: the executions that this process started, redrove or awaits;
            what recovery took over is handed over to other workers at once. ``"all"``: those, too.

        files: The folder in the place of S3, for distributed Maps that read or write files: a bucket is a folder in it.
    """

    @checked(
        repository=REPOSITORY,
        tasks=instance_of(TaskRegistry, meant="a TaskRegistry").or_none(),
        clock=with_method("sleep_until", "a Clock").or_none(),
        worker_id=TEXT.or_none(),
        lease=DURATION,
        connect_timeout=DURATION,
        max_concurrent_executions=count_from(1).or_none(),
        observers=sequence_with("observe", "a list of observers, each with a method observe"),
        limits=instance_of(Limits, meant="Limits"),
        recovery=FLAG,
        files=PATH.or_none(),
        role=one_of("worker", "reader"),
        wait_for=one_of("started", "all"),
    )
    def __init__(
        self,
        repository: str | Repository = "memory://",
        *,
        tasks: TaskRegistry | None = None,
        clock: Clock | None = None,
        worker_id: str | None = None,
        lease: timedelta | float = timedelta(seconds=30),
        connect_timeout: timedelta | float = timedelta(seconds=30),
        max_concurrent_executions: int | None = None,
        observers: Sequence[Observer] = (),
        limits: Limits = DEFAULT_LIMITS,
        recovery: bool = True,
        files: str | Path | None = None,
        role: Literal["worker", "reader"] = "worker",
        wait_for: Literal["started", "all"] = "started",
    ) -> None:
        # All that runs is loaded with the first engine: that takes half as long as the library itself.
        from statechain.chaining.runner import BatchServices  # noqa: PLC0415
        from statechain.worker.supervisor import Host  # noqa: PLC0415

        leased = as_duration(lease)
        if leased <= timedelta(0):
            raise ValueError("a lease lasts longer than nothing")
        if as_duration(connect_timeout) <= timedelta(0):
            raise ValueError("connect_timeout is longer than nothing")
        self._owns_repository = isinstance(repository, str)
        self.repository: Repository = open_repository(repository) if isinstance(repository, str) else repository
        self.guard = Guard("the engine", "async with Engine(...) as engine:")
        self.clock: Clock = clock or SystemClock()
        self.limits = limits
        self._has_tasks = tasks is not None
        self._tasks = TaskRegistry() if tasks is None else tasks
        self._host = Host(
            self.repository,
            self.clock,
            self._tasks,
            limits,
            worker_id=worker_id or None,
            lease=leased,
            connect_timeout=as_duration(connect_timeout),
            max_concurrent=max_concurrent_executions,
            observers=observers,
            recovers=recovery,
            reads_only=role == "reader",
            waits_for_adopted=wait_for == "all",
            start=self._start_nested,
            guard=self.guard,
            files=None if files is None else Path(files),
        )
        self.journal = self._host.journal
        self.worker = self._host.worker
        self._revisions = self._host.revisions
        self.batch_services = BatchServices(self.repository, self.journal, self.clock, self._host.streams)

    def __repr__(self) -> str:
        return f"<Engine on {self.repository!r}, {len(self.worker)} running>"

    async def __aenter__(self) -> Self:
        """Open the storage; start the journal, the lease and recovery."""
        self._host.check_fresh()
        self.guard.open()
        try:
            await self._host.open(owns_repository=self._owns_repository)
        except BaseException:
            self.guard.close()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Wait for what was started here, or after an exception interrupt it; then close what this engine opened."""
        self.guard.check_place()
        try:
            await self._host.close(at_once=exc is not None)
        finally:
            self.guard.close()

    # State machines

    @checked(name=NAME, definition=DEFINITION, type=one_of("STANDARD", "EXPRESS"))
    async def create_state_machine(
        self,
        name: str,
        definition: Mapping[str, Any] | str | Path,
        *,
        type: Literal["STANDARD", "EXPRESS"] = "STANDARD",  # noqa: A002 -- AWS's term
    ) -> StateMachine:
        """Create a state machine, or a new revision of it where the name has another definition.

        Arguments:
            name: Unique in the storage, 1 to 80 characters.

            definition: Amazon States Language, as a mapping, as JSON or YAML text, or as a `Path` to a file of it.

            type: ``"STANDARD"`` journals every visit; ``"EXPRESS"`` records only starts and ends, so that a crash
                runs an execution again from its beginning.

        Raises:
            DefinitionError: with every fault of the definition.
        """
        if not 1 <= len(name) <= 80 or not name.isprintable():
            raise ValueError("a state machine's name is 1 to 80 printable characters")
        loaded = await lengthy.loaded(definition, partial(self._load, definition, type))
        record = await self.journal.write_for_caller(
            CreateStateMachine(
                machine=StateMachineRecord(
                    id=new_id(),
                    name=name,
                    revision=1,
                    type=type,
                    definition=await self._as_stored(name, loaded.text),
                    created=self.clock.now(),
                )
            )
        )
        return StateMachine(self, self._revisions.add(record, loaded))

    def _load(self, definition: Mapping[str, Any] | str | Path, type: Literal["STANDARD", "EXPRESS"]) -> Definition:  # noqa: A002
        loaded = asl.load(definition, limits=self.limits, type=type)
        self._check_resources(loaded)
        _ = loaded.plan  # what cannot be compiled is refused before it is stored
        return loaded

    async def _as_stored(self, name: str, definition: str) -> str:
        """Return a definition as the machine's newest revision has it, where that differs by the order of members."""
        newest = await patiently(partial(self.repository.state_machine, name))
        if newest is not None and newest.name == name and same_json(newest.definition, definition):
            return newest.definition
        return definition

    def _check_resources(self, definition: Definition) -> None:
        """Refuse a definition that names handlers which nobody registered."""
        if not self._has_tasks:
            return
        faults = [
            definition.place(
                Diagnostic(
                    "unknown-resource",
                    f"no handler is registered for {resource!r}; registered are: {', '.join(self._tasks) or 'none'}",
                    pointer=pointer,
                )
            )
            for pointer, resource in definition.resources()
            if not services.is_known(resource, self._tasks)
        ]
        if faults:
            raise DefinitionError(faults)

    @checked(name_or_id=text("the name or the id of a state machine"))
    async def get_state_machine(self, name_or_id: str) -> StateMachine:
        """Return the newest revision of a state machine. Raises StateMachineNotFound."""
        record = await self.repository.state_machine(name_or_id)
        if record is None:
            raise StateMachineNotFound(f"there is no state machine {name_or_id!r}")
        return StateMachine(self, await self._revisions.get(record.id, record.revision))

    async def list_state_machines(self) -> list[StateMachine]:
        """Return the newest revision of every state machine, by name."""
        records = await self.repository.state_machines()
        return [StateMachine(self, each) for each in await self._revisions.readable(records)]

    # Executions: reading

    @checked(id=EXECUTION_ID)
    async def get_execution(self, id: str) -> Execution:  # noqa: A002
        """Return an execution as storage last recorded it. Raises ExecutionNotFound."""
        execution = await self.repository.execution(id)
        if execution is None:
            raise ExecutionNotFound(f"there is no execution {id!r}")
        return execution

    @checked(filter=FILTER.or_none())
    async def list_executions(self, filter: ExecutionFilter | None = None) -> list[Execution]:  # noqa: A002
        """Return the executions that a filter means, in its order; all of them in memory."""
        return [execution async for execution in self.iterate_executions(filter)]

    @checked(filter=FILTER.or_none())
    async def list_execution_ids(self, filter: ExecutionFilter | None = None) -> list[str]:  # noqa: A002
        """Return the ids of the executions that a filter means, in its order."""
        select = filter or ExecutionFilter()
        await require_machines(self.repository, select)
        async with aclosing(pages(self.repository.execution_keys, select, PAGE)) as found:
            return [key.id async for page in found for key in page]

    @checked(filter=FILTER.or_none(), page_size=count_from(1))
    async def iterate_executions(
        self,
        filter: ExecutionFilter | None = None,  # noqa: A002
        *,
        page_size: int = PAGE,
    ) -> AsyncIterator[Execution]:
        """Yield the executions that a filter means, in its order, holding one page at a time.

        Pages go by the place in the order, not by counting: what is inserted or deleted meanwhile neither repeats
        nor skips another execution.
        """
        select = filter or ExecutionFilter()
        await require_machines(self.repository, select)
        async with aclosing(pages(self.repository.executions, select, page_size)) as found:
            async for page in found:
                for execution in page:
                    yield execution

    @checked(filter=FILTER.or_none())
    async def count_executions(self, filter: ExecutionFilter | None = None) -> int:  # noqa: A002
        """Return how many executions `list_executions` would return."""
        select = filter or ExecutionFilter()
        await require_machines(self.repository, select)
        count = max(0, await self.repository.count_executions(select) - select.offset)
        return count if select.limit is None else min(count, select.limit)

    @checked(id=EXECUTION_ID, after=WHOLE, limit=WHOLE.or_none(), reverse=FLAG)
    async def get_execution_history(
        self,
        id: str,  # noqa: A002
        *,
        after: int = 0,
        limit: int | None = None,
        reverse: bool = False,
    ) -> list[dict[str, Any]]:
        """Return an execution's history as AWS does: ``id``, ``previousEventId``, ``type``, ``timestamp``, details.

        The details object is named after the type, such as ``stateEnteredEventDetails`` (AWS, GetExecutionHistory).
        While an execution runs, ids may be missing: a branch that is under way is written later than what others did.

        Arguments:
            id: The execution.

            after: The id of the last event that is known already: events behind it are returned, or in reverse order
                those before it. 0 is the beginning, or in reverse order the end.

            limit: How many events are returned at most; all of them by default, which may take much memory.

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
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield an execution's events as `get_execution_history` returns them, a few with their payloads at a time.

        They are those that there were when the first one was asked for.
        """
        from statechain.history.history import History  # noqa: PLC0415 -- read rarely: loading it costs 5 ms

        if after < 0 or (limit is not None and limit < 0):
            raise ValueError("after and limit must not be negative")
        execution = await self.get_execution(id)
        revision = await self._revisions.get(execution.state_machine_id, execution.state_machine_revision)
        history = await History.read(self.repository, execution, revision)
        async with aclosing(history.events(after=after, limit=limit, reverse=reverse)) as events:
            async for event in events:
                yield event

    @checked(id=EXECUTION_ID, format=TEXT)
    async def draw_execution(self, id: str, format: DrawingFormat = "svg") -> str:  # noqa: A002
        """Return a picture of what an execution did: which states it visited, how often, how long, where it failed.

        Arguments:
            id: The execution, running or ended.

            format: ``"svg"``, ``"mermaid"`` or ``"dot"`` for its definition's graph with the execution drawn on it;
                ``"timeline"`` for a Gantt chart, as SVG.

        An EXPRESS execution leaves no visits to draw. Raises ExecutionNotFound.
        """
        execution = await self.get_execution(id)
        revision = await self._revisions.get(execution.state_machine_id, execution.state_machine_revision)
        definition = asl.load_stored(revision.record.definition, limits=self.limits)
        visits = await self.repository.visits(id)
        now = self.clock.now()
        return await asyncio.to_thread(drawing.draw_execution, execution, definition.model, visits, now, format)

    @checked(state_machine_id=MACHINE_ID)
    async def execution_statistics(self, state_machine_id: str) -> Mapping[ExecutionStatus, DurationStatistics]:
        """Return how many executions of a machine stand in each status, and how long they took, in seconds."""
        return await self.repository.statistics(state_machine_id)

    @checked(
        source_execution_id=EXECUTION_ID.or_none(),
        target_execution_id=EXECUTION_ID.or_none(),
        target_state_machine_id=MACHINE_ID.or_none(),
    )
    async def list_linked_executions(
        self,
        *,
        source_execution_id: str | None = None,
        target_execution_id: str | None = None,
        target_state_machine_id: str | None = None,
    ) -> list[Link]:
        """Return the chain links that match all that is given, oldest first."""
        await require_execution(self.repository, "source_execution_id", source_execution_id)
        await require_execution(self.repository, "target_execution_id", target_execution_id)
        await require_machine(self.repository, "target_state_machine_id", target_state_machine_id)
        links: list[Link] = []
        while True:
            page = await self.repository.links(
                source_execution_id=source_execution_id,
                target_execution_id=target_execution_id,
                target_state_machine_id=target_state_machine_id,
                after=links[-1] if links else None,
                page=PAGE,
            )
            links.extend(page)
            if len(page) < PAGE:
                return links

    # Executions: the operator's verbs

    @checked(id=EXECUTION_ID, error=TEXT.or_none(), cause=TEXT.or_none())
    async def stop_execution(self, id: str, *, error: str | None = None, cause: str | None = None) -> Execution:  # noqa: A002
        """End an execution as ABORTED, whoever runs it, and return it; one that has ended stays as it is.

        Where another engine runs it, that one cuts it short with the next beat of its lease, at the latest. A cause
        that is too long is cut off. Raises ExecutionNotFound.
        """
        return await self.worker.stop(id, error=error, cause=self.limits.cut_off(cause))

    @checked(id=EXECUTION_ID)
    async def redrive_execution(self, id: str) -> ExecutionHandle:  # noqa: A002
        """Continue a FAILED, TIMED_OUT or ABORTED execution from the state that failed, on its own revision.

        Raises ExecutionNotFound, and ValueError where it is RUNNING or SUCCEEDED.
        """
        execution = await self.get_execution(id)
        handle = await self.try_redrive(execution)
        if handle is None:
            name, status = execution.name, execution.status
            what = "only one that ended without success is redriven, and by one at a time"
            raise ValueError(f"execution {name!r} is {status}: {what}")
        return handle

    async def try_redrive(self, execution: Execution) -> ExecutionHandle | None:
        """Continue an execution as `redrive_execution` does; None where it runs, or somebody else continued it."""
        revision = await patiently(
            partial(self._revisions.get, execution.state_machine_id, execution.state_machine_revision)
        )
        live = await self.worker.redrive(revision, execution)
        return None if live is None else ExecutionHandle(self, execution, live)

    async def _start_nested(self, machine: str, input: JSONValue, name: str) -> ExecutionHandle:  # noqa: A002
        """Start an execution on behalf of another (see `statechain.tasks.child_executions`)."""
        found = await patiently(partial(self.get_state_machine, machine))
        return await found.start_execution(input, name=name)

    # Tasks that wait for an answer from outside

    @checked(token=TOKEN)
    async def send_task_success(self, token: str, output: JSONInput) -> None:
        """Answer the task that waits under a token: it succeeded, with an output.

        Raises:
            InvalidToken: where no task ever waited under the token.

            TaskTimedOut: where the task is over.

            InvalidPayload: where the output is not JSON, or too large.
        """
        await self._host.callbacks.succeed(token, encode(output, max_bytes=self.limits.payload_bytes))

    @checked(token=TOKEN, error=TEXT.or_none(), cause=TEXT.or_none())
    async def send_task_failure(self, token: str, error: str | None = None, cause: str | None = None) -> None:
        """Answer the task that waits under a token: it failed, with an error's name or without one.

        A cause that is too long is cut off. Raises InvalidToken, TaskTimedOut.
        """
        await self._host.callbacks.fail(token, error, self.limits.cut_off(cause))

    @checked(token=TOKEN)
    async def send_task_heartbeat(self, token: str) -> None:
        """Tell that the work behind a token goes on: its HeartbeatSeconds count from now. Raises as a failure does."""
        await self._host.callbacks.beat(token)

    @checked(activity=text("an activity's name or ARN"), patience=DURATION)
    async def get_activity_task(self, activity: str, *, patience: timedelta | float = 60.0) -> ActivityTask | None:
        """Take the oldest task that waits for an activity's workers; answer it under its token.

        A task that was taken for a caller who is cancelled meanwhile goes to the next one who asks this engine; where
        nobody does, its HeartbeatSeconds and TimeoutSeconds bound how long it is lost.

        Arguments:
            activity: The activity's name or its ARN.

            patience: How long to wait for a task, in seconds or as a timedelta; None is returned where none came.
        """
        seconds = as_duration(patience).total_seconds()
        return await self._host.callbacks.take(services.activity_name(activity) or activity, seconds)

    async def recover(self) -> list[str]:
        """Take over and run on what dead workers left; return the ids. It also happens by itself."""
        return await self._host.recovery.recover()

    @checked(limit=count_from(1))
    async def list_suspects(self, *, limit: int = PAGE) -> list[Suspect]:
        """Return the RUNNING executions whose workers died after taking them up, those with the most deaths first."""
        return list(await self.repository.suspects(page=limit))

    @checked(filter=FILTER)
    async def delete_executions(self, filter: ExecutionFilter) -> int:  # noqa: A002
        """Delete the ended executions that a filter means, with their visits and links; return how many are gone.

        Limit and offset count the ended ones. They go a page at a time, each page whole or not at all: what ends
        meanwhile may be missed, what is redriven meanwhile stays, and what somebody else deletes counts as gone.
        """
        await require_machines(self.repository, filter)
        return await delete_ended(self.repository, self.journal, filter)

    # Batches

    @checked(id=BATCH_ID)
    async def get_batch(self, id: str) -> Batch:  # noqa: A002
        """Return a stored batch, its items counted now. Raises BatchNotFound."""
        batch = await self.repository.batch(id)
        if batch is None:
            raise BatchNotFound(f"there is no batch {id!r}")
        return batch

    @checked(state_machine_id=MACHINE_ID.or_none(), status=one_of(*BatchStatus).or_none())
    async def list_batches(
        self, *, state_machine_id: str | None = None, status: BatchStatus | None = None
    ) -> list[Batch]:
        """Return the stored batches that match all that is given, newest first."""
        await require_machine(self.repository, "state_machine_id", state_machine_id)
        wanted = None if status is None else BatchStatus(status)
        batches: list[Batch] = []
        while True:
            page = await self.repository.batches(
                state_machine_id=state_machine_id, status=wanted, after=batches[-1] if batches else None, page=PAGE
            )
            batches.extend(page)
            if len(page) < PAGE:
                return batches

    @checked(id=BATCH_ID)
    async def stop_batch(self, id: str) -> Batch:  # noqa: A002
        """End a batch as ABORTED: start nothing more of it, abort what runs of it, and return it. Idempotent.

        Raises BatchNotFound.
        """
        ending = EndBatch(batch_id=id, status=BatchStatus.ABORTED, end_time=self.clock.now())
        batch = await self.journal.write_for_caller(ending)
        running = tuple(self.batch_services.running.get(id, ()))
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
        after = -1
        while items := await self.repository.batch_items(id, after=after, page=PAGE):
            for item in items:
                execution = await self.repository.execution_by_name(batch.state_machine_id, item.name)
                if execution is not None and not execution.status.is_terminal:
                    await self.stop_execution(execution.id, cause=f"the batch {id} was stopped")
            after = items[-1].index
        return await self.get_batch(id)

    @checked(id=BATCH_ID, options=OPTIONS, input_transformer=TRANSFORMER)
    async def resume_batch(
        self,
        id: str,  # noqa: A002
        *,
        options: BatchExecutionOptions | None = None,
        input_transformer: InputTransformer | None = None,
    ) -> Batch:
        """Finish what is missing of a stored batch, in whatever process, and return it.

        Its frozen sources are run again in order: executions that ended are left as they are, those that run are
        awaited, the rest are started. Callbacks and the input_transformer are not stored: give them again.

        Raises BatchNotFound, BatchStopped.
        """
        batch = await self.get_batch(id)
        revision = await self._revisions.get(batch.state_machine_id, batch.state_machine_revision)
        stream = chaining.resume_batch(
            StateMachine(self, revision),
            batch,
            options=options or BatchExecutionOptions.of(batch),
            input_transformer=input_transformer,
            services=self.batch_services,
        )
        async with stream:
            async for _ in stream:
                pass
        return await self.get_batch(id)
