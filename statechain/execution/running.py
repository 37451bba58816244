"""An execution that runs in this process: how it is cancelled, and how those that wait for its end are resolved."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol, cast

from statechain.records.executions import ExecutionStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from statechain.payload import Payload
    from statechain.records.executions import Execution
    from statechain.storage.journal.ledger import ExecutionWrites
    from statechain.storage.repository import End, TakeUpExecution

__all__ = ["Driver", "Follower", "RunState", "RunningExecution"]


class RunState(enum.Enum):
    """What a process does with an execution that it runs. It moves down this list, and never back.

    A stop, an interruption and a hand-over are decided once: of two, the first one counts. Only a loss comes later than
    any of them, since storage has decided it.
    """

    QUEUED = enum.auto()
    """Its task has not made its first step; or, as long as it needs none, its start is not durable."""

    RUNNING = enum.auto()

    STOPPING = enum.auto()
    """It was asked to end here, in the way of `RunningExecution.stopping`."""

    INTERRUPTED = enum.auto()
    """It stays RUNNING in storage, for the worker that claims it once this engine is closed."""

    HANDED_OVER = enum.auto()
    """The same, and it is released at once."""

    CLOSING = enum.auto()
    """Its end is being written."""

    LOST = enum.auto()
    """Another worker ended it or took it over; its task may not be over."""

    OVER = enum.auto()
    """Nothing more comes of it here: its waiters are resolved."""


class Follower(Protocol):
    """What waits for the end of an execution: a future, or what is called back."""

    def done(self) -> bool:
        """Return whether it waits no longer."""

    def set_result(self, result: None, /) -> None:
        """Take note that the execution is over here. Does not raise."""


class Driver(Protocol):
    """What drives an execution: an asyncio task, or, while it needs none, what the journal and its handlers call."""

    def cancel(self) -> object:
        """Have it carry out what was decided about the execution."""


class RunningExecution:
    """An execution that this process runs, or is about to, under the epoch of one claim.

    ``given`` is its input, if in memory; `take_input` hands it over. ``holder`` is the execution that holds its
    name, once its start is durable; ``started`` is done then, where something waits for the start alone. ``succeeding``
    is called when it has SUCCEEDED, and that is about to be written.
    """

    __slots__ = (
        "_end",
        "_fault",
        "_waiters",
        "driver",
        "epoch",
        "exception",
        "execution_id",
        "given",
        "has_rested",
        "holder",
        "is_limited",
        "ledger",
        "redriven_from",
        "reported",
        "started",
        "state",
        "stopping",
        "succeeding",
        "take_up",
    )

    def __init__(self, execution_id: str, epoch: int = 1, *, given: Payload | None = None) -> None:
        self.execution_id = execution_id
        self.given = given
        self.epoch = epoch
        self.state = RunState.QUEUED
        self.is_limited = False
        self.started: asyncio.Future[Execution] | None = None
        self.holder: Execution | None = None
        self.ledger: ExecutionWrites | None = None
        self._end: Execution | None = None
        self._fault: BaseException | None = None
        self._waiters: Sequence[Follower] = ()
        self.stopping: End | None = None
        self.succeeding: Callable[[], None] | None = None
        self.has_rested = False
        self.take_up: TakeUpExecution | None = None
        self.redriven_from: Execution | None = None
        self.exception: BaseException | None = None
        self.reported: Execution | None = None
        self.driver: Driver | None = None

    @property
    def is_over(self) -> bool:
        """Whether its waiters are resolved: it has ended here, or other workers know more."""
        return self.state in _OVER

    @property
    def is_lost(self) -> bool:
        """Whether another worker ended it or took it over."""
        return self.state is RunState.LOST

    @property
    def is_undecided(self) -> bool:
        """Whether nothing has been decided about it in this process: it may end as its states say."""
        return self.state in _UNDECIDED

    @property
    def is_held(self) -> bool:
        """Whether storage knows of its claim, and it goes on here."""
        return self.reported is not None and not (self.is_over or self.state is RunState.CLOSING)

    @property
    def is_interrupted(self) -> bool:
        """Whether it stays RUNNING in storage, for another worker."""
        return self.state in _INTERRUPTED

    @property
    def has_advanced(self) -> bool:
        """Whether it made progress since it was taken up, or only waits, of which no worker dies."""
        return self.has_rested or (self.ledger is not None and self.ledger.has_advanced)

    def take_input(self) -> Payload | None:
        """Hand over the input that the execution was started with; None where it is known by its row alone."""
        given, self.given = self.given, None
        return given

    def begin(self) -> None:
        """Note the first step of its task; what was decided before stays decided."""
        self.driver = asyncio.current_task()
        if self.state is RunState.QUEUED:
            self.state = RunState.RUNNING

    def close(self, status: ExecutionStatus) -> None:
        """Note that its end is being written: from now on it is neither stopped nor interrupted."""
        if not self.is_over:
            self.state = RunState.CLOSING
            if self.succeeding is not None and status is ExecutionStatus.SUCCEEDED:
                self.succeeding()

    def stop(self, end: End) -> None:
        """Cancel the execution, to end in this way; the first stop decides, and none once it is over or left."""
        if self.state in _UNDECIDED:
            self.stopping = end
            self._cut_short(RunState.STOPPING)

    def go_on(self) -> None:
        """Have its task, which this is, go on after a stop, to write the end."""
        # The cancellation has done its work: a timeout or TaskGroup that is entered next must not see it pending.
        cast("asyncio.Task[None]", asyncio.current_task()).uncancel()

    def interrupt(self) -> None:
        """Leave the execution as it is: RUNNING, for the worker that claims it."""
        if self.state in _UNDECIDED:
            self._cut_short(RunState.INTERRUPTED)

    def hand_over(self) -> None:
        """Interrupt the execution, to be released at once instead of when the engine is closed."""
        if self.state in _UNDECIDED:
            self._cut_short(RunState.HANDED_OVER)

    def _cut_short(self, state: RunState) -> None:
        # A task that is cancelled before its first step never runs, and would record nothing: it looks at the state as
        # it begins, and is not cancelled before.
        self.state = state
        if self.driver is not None:
            self.driver.cancel()

    @property
    def name(self) -> str:
        """The execution's name, or before it has begun its id."""
        return self.execution_id if self.reported is None else self.reported.name

    @property
    def is_awaited(self) -> bool:
        """Whether something in this process waits for its end."""
        return any(not waiter.done() for waiter in self._waiters)

    def abandon(self) -> None:
        """Cancel the execution that others have ended or taken over; its waiters poll storage."""
        # Waiters first: once the state is LOST, `resolve` takes them for resolved.
        self.resolve(None)
        self._cut_short(RunState.LOST)

    def open(self, holder: Execution) -> None:
        """Notify the starter that the start is durable, and which execution holds the name."""
        self.holder = holder
        if self.started is not None and not self.started.done():
            self.started.set_result(holder)

    def resolve(self, execution: Execution | None, fault: BaseException | None = None) -> None:
        """Notify the waiters how it ended here; None sends them to storage, an error is raised where they wait."""
        if execution is not None and self.holder is None:
            self.open(execution)
        elif fault is not None and self.started is not None and not self.started.done():
            self.started.set_exception(fault)
            self.started.exception()  # there may be no waiter
        if self.is_over:
            return
        self.state, self._end, self._fault = RunState.OVER, execution, fault
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    @property
    def end(self) -> Execution | None:
        """The execution as it ended here; None where it runs, storage knows more, or an error was raised."""
        return self._end

    async def ended(self) -> Execution | None:
        """Return the execution once it is over here, or None where storage knows more."""
        if not self.is_over:
            await self.waiter()
        return self.outcome()

    def outcome(self) -> Execution | None:
        """Return the execution, which is over here, as it ended, or None where storage knows more; raise its error."""
        if self._fault is not None:
            raise self._fault
        return self._end

    def waiter(self) -> asyncio.Future[None]:
        """Return a future that is done once it is over here."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.is_over:
            waiter.set_result(None)
        else:
            self.follow(waiter)
        return waiter

    def follow(self, follower: Follower) -> None:
        """Resolve a follower once the execution, which runs, is over here."""
        # Waiters that were cancelled are dropped, so that those of callers with a timeout do not pile up.
        waiting = [each for each in self._waiters if not each.done()] if self._waiters else None
        self._waiters = (*waiting, follower) if waiting else (follower,)


# Tuples: the members of an enumeration are hashed by a function in Python.
_UNDECIDED: Final = (RunState.QUEUED, RunState.RUNNING)
_INTERRUPTED: Final = (RunState.INTERRUPTED, RunState.HANDED_OVER)
_OVER: Final = (RunState.LOST, RunState.OVER)
