"""The engine: opens storage, creates machines, and owns the tasks of everything that runs.

What only reads is in `statechain.engine.queries`, state machines and their limits in `statechain.engine.machines`,
batches in `statechain.engine.batches`, what operators use in `statechain.engine.operations`, and what answers a task
that waits for it in `statechain.engine.callbacks`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from statechain.arguments import (
    DURATION,
    EXECUTION_ID,
    FLAG,
    PATH,
    TEXT,
    WORKER_ID,
    checked,
    count_from,
    instance_of,
    one_of,
    sequence_with,
    text,
    with_method,
)
from statechain.chaining.arguments import FILTER
from statechain.chaining.transformers import stored_transformer
from statechain.clock import Clock, SystemClock, as_duration
from statechain.codec import JSONValue
from statechain.engine.batches import EngineBatches
from statechain.engine.callbacks import EngineCallbacks
from statechain.engine.handle import ExecutionHandle
from statechain.engine.machine import StateMachine
from statechain.engine.machines import EngineMachines
from statechain.engine.operations import EngineOperations
from statechain.engine.services import EngineServices
from statechain.engine.waiting_tasks import EngineWaitingTasks
from statechain.errors import StatechainError
from statechain.guard import Guard, guarded
from statechain.history.kept import KeptIndexes
from statechain.limits import DEFAULT_LIMITS, Limits
from statechain.records.batches import Batch
from statechain.records.executions import Execution
from statechain.records.filters import ExecutionFilter
from statechain.settings import Settings
from statechain.storage.deleting import delete_ended
from statechain.storage.existing import with_machine_ids
from statechain.storage.open import open_repository
from statechain.storage.retrying import retry_while_unavailable
from statechain.tasks.dependencies import DEPENDENCIES, Dependencies
from statechain.tasks.registry import TaskRegistry
from statechain.tickets import Ticket

if TYPE_CHECKING:
    from statechain.observers import Observer
    from statechain.storage.repository import Repository
    from statechain.tickets import Dispatcher, Outcome

__all__ = ["Engine"]

logger = logging.getLogger(__name__)

SUBSTITUTIONS = instance_of(Mapping, meant="a mapping of names to values")
DISPATCHER = with_method("dispatch", "a Dispatcher, such as a ProcrastinateDispatcher")
REPOSITORY = with_method("commit", "a storage URL or a Repository").or_text()
DEFINITION = instance_of(Mapping, str, Path, meant="a mapping, JSON or YAML text, or the Path of a file")


@guarded()
class Engine(EngineMachines, EngineBatches, EngineOperations, EngineWaitingTasks, EngineCallbacks):
    """Runs state machines durably on one storage, inside one event loop.

    An engine is an async context manager. Entering it opens the storage, starts the heartbeat of its lease, and takes
    over executions whose worker died. Leaving it waits for the executions that were started here. If it is left by an
    exception, or cancelled while it waits, these are interrupted: they stay RUNNING in the storage, and any engine can
    continue them at once. Executions that were taken over from other workers are always handed over in this way, unless
    ``wait_for="all"``.

    >>> async with Engine("sqlite:///shop.db", tasks=tasks) as engine:  # doctest: +SKIP
    ...     orders = await engine.create_state_machine("orders", definition)
    ...     print((await orders.execute({"id": 7}, name="order-7")).output)

    Every method raises `InvalidArgument` for an argument of the wrong type, `EngineNotUsable` where the engine is not
    open, or belongs to another event loop, thread or process, and `RepositoryError` where storage fails:
    `RepositoryUnavailable` where the same call may succeed later. Under *Raises* is what a method raises beside these.
    The same holds for state machines and handles.

    Arguments:
        repository: A URL (see `open_repository`) or a `Repository`. The engine closes only what it opened.

        tasks: The task handlers. If they are given, a definition with an unknown Resource is refused.

        clock: The clock for Wait states, retries and timeouts; `SystemClock` by default.

        worker_id: The identity of this worker; random by default. Two engines must not use the same one at a time.

        lease: How long this worker keeps its executions without renewing its lease. A number is in seconds.

        connect_timeout: How long entering the engine retries, with backoff and log messages, while storage cannot be
            reached; then `RepositoryUnavailable` is raised. A number is in seconds.

        max_concurrent_executions: How many executions run here at once. The others wait; their start is durable.

        slots: How many shards of DISTRIBUTED batches run here at once (see `BatchExecutionOptions`).

        dispatcher: Sends the shards of DISTRIBUTED batches to workers through a job queue or cluster that you already
            run (see `statechain.tickets`). Without one, each worker looks for shards in storage.

        observers: Called with each fact about executions, such as a start or an end (see `statechain.observers`).

        limits: The limits that protect this process (see `statechain.limits`).

        recovery: Whether to take over the executions of dead workers. If False, the engine runs only what it starts; of
            executions under limits, which are claimed, only those whose end it waits for.

        role: ``"worker"`` runs executions. ``"client"`` submits them: a start or redrive is durable when the call
            returns, and a worker claims it within a fraction of a second. A client needs no handlers and holds no
            lease; it waits, reads, stops and answers as a worker does. ``"reader"`` only reads: a call that would
            start, stop or answer something raises.

        wait_for: What leaving the engine waits for. ``"started"``: the executions that this process started, redrove or
            awaits; those that recovery took over are handed over to other workers at once. ``"all"``: these, too.

        files: The folder that distributed Maps use in place of S3: each bucket is a folder in it.

        map_runs: Where the items of distributed Maps run that begin here. ``"local"``: in this process, as a part of
            their execution. ``"shared"``: as executions of their own, which all workers of the storage share as a
            DISTRIBUTED batch.

        dependencies: What handlers get for parameters marked with `Depends`, by type: a value or a factory. A factory
            is called when the engine is entered; what it yields is closed after the engine was left.

    Raises:
        ValueError: The URL names no backend or has options that it does not know, or ``lease`` or ``connect_timeout``
            is not positive.

        ImportError: The backend's driver is not installed.
    """

    @checked(
        repository=REPOSITORY,
        tasks=instance_of(TaskRegistry, meant="a TaskRegistry").or_none(),
        clock=with_method("sleep_until", "a Clock").or_none(),
        worker_id=WORKER_ID.or_none(),
        lease=DURATION,
        connect_timeout=DURATION,
        max_concurrent_executions=count_from(1).or_none(),
        slots=count_from(1),
        dispatcher=DISPATCHER.or_none(),
        observers=sequence_with(
            "observe", "a list of observers, each with a method observe that is no coroutine function"
        ),
        limits=instance_of(Limits, meant="Limits"),
        recovery=FLAG,
        files=PATH.or_none(),
        map_runs=one_of("local", "shared"),
        role=one_of("worker", "client", "reader"),
        wait_for=one_of("started", "all"),
        dependencies=DEPENDENCIES.or_none(),
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
        slots: int = 8,
        dispatcher: Dispatcher | None = None,
        observers: Sequence[Observer] = (),
        limits: Limits = DEFAULT_LIMITS,
        recovery: bool = True,
        files: str | Path | None = None,
        map_runs: Literal["local", "shared"] = "local",
        role: Literal["worker", "client", "reader"] = "worker",
        wait_for: Literal["started", "all"] = "started",
        dependencies: Mapping[Any, object] | None = None,
    ) -> None:
        # All that runs is loaded with the first engine: that takes half as long as the library itself.
        from statechain.chaining.batch import LocalBatches  # noqa: PLC0415
        from statechain.chaining.distributed import SharedBatches  # noqa: PLC0415
        from statechain.chaining.map_runs import DistributedMapRuns  # noqa: PLC0415
        from statechain.chaining.runner import BatchServices  # noqa: PLC0415
        from statechain.chaining.shards.worker import ShardWorker  # noqa: PLC0415
        from statechain.worker.options import WorkerOptions  # noqa: PLC0415
        from statechain.worker.supervisor import Supervisor  # noqa: PLC0415

        leased = as_duration(lease)
        if leased <= timedelta(0):
            raise ValueError("lease must be positive")
        if as_duration(connect_timeout) <= timedelta(0):
            raise ValueError("connect_timeout must be positive")
        self._owns_repository = isinstance(repository, str)
        self.repository: Repository = open_repository(repository) if isinstance(repository, str) else repository
        self.guard = Guard("the engine", "async with Engine(...) as engine:")
        self.clock: Clock = clock or SystemClock()
        self.limits = limits
        self._has_tasks = tasks is not None
        self._dependencies = Dependencies(dependencies or {})
        # A view: several engines may share a registry, each with dependencies of its own.
        self._tasks = (TaskRegistry() if tasks is None else tasks).with_dependencies(self._dependencies)
        self._works = role == "worker"
        settings = Settings(
            clock=self.clock,
            limits=limits,
            tasks=self._tasks,
            observers=tuple(observers),
            files=None if files is None else Path(files),
            shares_map_runs=map_runs == "shared",
        )
        options = WorkerOptions(
            worker_id=worker_id or None,
            role=role,
            lease=leased,
            connect_timeout=as_duration(connect_timeout),
            max_concurrent=max_concurrent_executions,
            recovers=recovery,
            waits_for_adopted=wait_for == "all",
        )
        self._supervisor = Supervisor(
            self.repository,
            settings,
            options,
            start=self._start_nested,
            # Asked for later: what it returns is made below, of parts of the supervisor.
            map_runs=lambda: self._map_runs,
            guard=self.guard,
        )
        self.journal = self._supervisor.journal
        self.worker = self._supervisor.worker
        self._callbacks = self._supervisor.callbacks
        self._kept_indexes = KeptIndexes()
        self._revisions = self._supervisor.revisions
        batch_services = BatchServices(
            self.repository,
            self.journal,
            self.clock,
            self._supervisor.streams,
            self.tasks,
            limits,
            settings.observers,
        )
        self.shards = ShardWorker(
            batch_services,
            # Asked for each time: in a fork the worker has another id (see `Supervisor.open`).
            lambda: self.worker.id,
            lambda: self._supervisor.has_lease,
            self._find_target,
            slots=slots,
            serves_all=recovery,
            dispatcher=dispatcher,
            # As often as the lease is renewed (`Lease.period`).
            sweep=leased.total_seconds() / 3,
        )
        self._map_runs = DistributedMapRuns(
            batch_services, self.shards, self._find_target, self.stop_execution, self.worker.tasks
        )
        self.shared_batches = SharedBatches(batch_services, self.shards, self.stop_execution, self.worker.tasks)
        self._services = EngineServices(
            guard=self.guard,
            repository=self.repository,
            clock=self.clock,
            limits=limits,
            revisions=self._revisions,
            worker=self.worker,
            tasks=self.tasks,
            local_batches=LocalBatches(batch_services),
            shared_batches=self.shared_batches,
        )
        self._dispatcher = dispatcher
        self._dispatcher_stack = AsyncExitStack()
        # A client follows its batches in storage, and runs no shard.
        if role == "worker":
            self._supervisor.shards = self.shards

    async def _find_target(self, batch: Batch) -> StateMachine | None:
        """Return the machine that a batch runs; None where a handler or the input transformer is missing here."""
        transformer = stored_transformer(batch)
        if transformer is not None and self._tasks.find_transformer(transformer) is None:
            return None
        try:
            revision = await self._revisions.get(batch.state_machine_id, batch.state_machine_revision)
        except StatechainError as error:
            logger.warning("the batch %s cannot be run here: %s", batch.name_prefix, error)
            return None
        return None if self.worker.missing(revision) else StateMachine(self._services, revision)

    def __repr__(self) -> str:
        # Where the constructor raised, tracebacks and debuggers show what there is of it.
        if not hasattr(self, "_supervisor"):
            return "<Engine, not constructed>"
        return f"<Engine on {self.repository!r}, {len(self._supervisor.worker)} running>"

    @property
    def tasks(self) -> TaskRegistry | None:
        """The handlers that were given; None for an engine without any."""
        return self._tasks if self._has_tasks else None

    async def __aenter__(self) -> Self:
        """Make the handlers' dependencies, open the storage; start the journal, the lease and recovery."""
        # Before the guard, which a second entry must not open for the first one's calls.
        self._supervisor.check_fresh()
        self.guard.open()
        try:
            # First: recovery, which opening begins, may call handlers at once.
            if self._works:
                await self._dependencies.open(self._tasks.wanted())
            if isinstance(self._dispatcher, AbstractAsyncContextManager):
                await self._dispatcher_stack.enter_async_context(self._dispatcher)
            await self._supervisor.open(owns_repository=self._owns_repository)
        except BaseException:
            await self._close()
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
            # The guard stays open meanwhile: handlers that still run may start executions.
            await self._supervisor.close(at_once=exc is not None)
        finally:
            await self._close()

    async def _close(self) -> None:
        """Refuse calls from now on; close the dispatcher and the dependencies."""
        self.guard.close()
        try:
            await self._dispatcher_stack.aclose()
        finally:
            await self._dependencies.aclose()

    # Executions: the operator's verbs

    @checked(id=EXECUTION_ID, error=TEXT.or_none(), cause=TEXT.or_none())
    async def stop_execution(self, id: str, *, error: str | None = None, cause: str | None = None) -> Execution:  # noqa: A002
        """End an execution as ABORTED and return it; one that has ended already is returned as it is.

        An execution that another worker runs is ABORTED in storage at once; that worker cancels it at the next renewal
        of its lease, at the latest.

        Arguments:
            id: The execution.

            error: The name of the error to record.

            cause: Why it is stopped, to record; one that is too long is truncated.

        Returns:
            The execution as it ended.

        Raises:
            ExecutionNotFound: There is no such execution.
        """
        return await self._services.stop_execution(id, error=error, cause=cause)

    async def _start_nested(self, machine: str, input: JSONValue, name: str) -> ExecutionHandle:  # noqa: A002
        """Start an execution on behalf of another (see `statechain.tasks.child_executions`)."""
        # On behalf of an execution, to which an outage is a pause.
        found = await retry_while_unavailable(partial(self.get_state_machine, machine))
        return await found.start_child(input, name=name)

    async def recover(self) -> list[str]:
        """Claim and continue the executions of dead workers now; return their ids. The engine also does so regularly.

        Returns:
            The ids of the executions that were claimed.
        """
        return await self._supervisor.recovery.recover()

    @checked(filter=FILTER)
    async def delete_executions(self, filter: ExecutionFilter) -> int:  # noqa: A002
        """Delete the ended executions that match a filter, with their visits and links; return how many are gone.

        They are deleted page by page, each page in one transaction. An execution that ends meanwhile may be missed,
        one that is redriven meanwhile stays, and one that another caller deletes counts as gone.

        Arguments:
            filter: Which executions; its limit and offset count the ended ones.

        Returns:
            How many executions are gone.

        Raises:
            StateMachineNotFound: The filter names a state machine that does not exist.
        """
        filter_ = await with_machine_ids(self.repository, filter)
        return await delete_ended(self.repository, self.journal, filter_)

    # Dispatchers

    @checked(ticket=instance_of(Ticket, meant="a Ticket"))
    async def run_ticket(self, ticket: Ticket) -> Outcome:
        """Run the shard of a batch that a ticket names, and return once it is over or left to others.

        For engines that call their workers, such as Ray, Dask or Celery: their task takes a ticket and awaits this.

        Arguments:
            ticket: What a `Dispatcher` was given, here or in another process.

        Returns:
            ``Outcome.DONE`` where the shard was run, or the ticket has become void: a duplicate, or the batch has
            ended. ``Outcome.BUSY`` where this worker has no free slot, no lease or no handlers for it, or the batch
            has as many shards under way as it may: send it again later, or drop it.

        Raises:
            StatechainError: This engine is no worker.
        """
        return await self.shards.run_ticket(ticket)

    @checked(worker_id=text("the id of a worker"))
    async def report_death(self, worker_id: str) -> None:
        """End a worker's lease at once, because something knows that its process has died.

        What it ran can be claimed from now on, instead of after the rest of its lease. A wrong report is harmless: a
        worker that is alive renews its lease, and what it has lost meanwhile it cannot write to (fencing).

        Arguments:
            worker_id: The ``worker_id`` of its engine. Nothing happens where no worker has it.

        Raises:
            RepositoryUnavailable: Storage does not answer; report it again.
        """
        leases = [lease for lease in await self.repository.workers() if lease.worker_id == worker_id]
        # As they were read: a lease that was renewed since is another one, and is not released.
        if leases and await self.repository.release_dead(leases):
            logger.info("worker %s is reported dead: what it ran is taken over", worker_id)
            self.shards.look_now()
