"""An execution that runs in this process: how it is cancelled, and how those that wait for its end are resolved."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from statechain.codec import JSONValue
    from statechain.records.executions import Execution
    from statechain.storage.ledger import ExecutionWrites
    from statechain.storage.repository import End, TakeUpExecution

__all__ = ["UNREAD", "RunningExecution"]

UNREAD: Final[Any] = object()
"""Represents a value of which only the JSON text is at hand: it is decoded when it is needed."""


class RunningExecution:
    """An execution that this process runs, or is about to, under the epoch of one claim."""

    __slots__ = (
        "_end",
        "_fault",
        "_input",
        "_waiters",
        "epoch",
        "exception",
        "execution_id",
        "has_rested",
        "is_begun",
        "is_closing",
        "is_handed_over",
        "is_interrupted",
        "is_lost",
        "is_over",
        "ledger",
        "redriven_from",
        "reported",
        "started",
        "stopping",
        "take_up",
        "task",
    )

    def __init__(self, execution_id: str, epoch: int = 1, *, value: JSONValue = UNREAD) -> None:
        self.execution_id = execution_id
        self._input = value
        self.epoch = epoch
        self.started: asyncio.Future[Execution] | None = None
        self.is_over = False
        self.ledger: ExecutionWrites | None = None
        self._end: Execution | None = None
        self._fault: BaseException | None = None
        self._waiters: Sequence[asyncio.Future[None]] = ()
        self.stopping: End | None = None
        self.is_begun = False
        self.is_closing = False
        self.is_handed_over = False
        self.is_interrupted = False
        self.is_lost = False
        self.has_rested = False
        self.take_up: TakeUpExecution | None = None
        self.redriven_from: Execution | None = None
        self.exception: BaseException | None = None
        self.reported: Execution | None = None
        self.task: asyncio.Task[None] | None = None

    @property
    def has_advanced(self) -> bool:
        """Whether it made progress since it was taken up, or only waits, of which no worker dies."""
        return self.has_rested or (self.ledger is not None and self.ledger.has_advanced)

    def take_input(self) -> JSONValue:
        """Hand over the input that the execution was started with; `UNREAD` where it is known by its text alone."""
        value, self._input = self._input, UNREAD
        return value

    def stop(self, end: End) -> None:
        """Cut the execution short, to end in this way; the first stop decides, and none once it is over or left."""
        if self.stopping is None and not (self.is_closing or self.is_interrupted) and self.task is not None:
            self.stopping = end
            if self.is_begun:  # a task that is cancelled before its first step would never learn why
                self.task.cancel()

    def interrupt(self) -> None:
        """Leave the execution as it is: RUNNING, for the worker that claims it."""
        self.is_interrupted = True
        if self.task is not None and self.is_begun and not self.is_closing:
            self.task.cancel()

    @property
    def name(self) -> str:
        """The execution's name, or before it has begun its id."""
        return self.execution_id if self.reported is None else self.reported.name

    @property
    def is_awaited(self) -> bool:
        """Whether something in this process waits for its end."""
        return any(not waiter.done() for waiter in self._waiters)

    def hand_over(self) -> None:
        """Interrupt the execution, to be released at once instead of when the engine is closed."""
        self.is_handed_over = True
        self.interrupt()

    def abandon(self) -> None:
        """Cut the execution short that others have ended or taken over; its waiters poll storage."""
        self.resolve(None)
        self.is_lost = True
        if self.task is not None:
            self.task.cancel()

    def open(self, holder: Execution) -> None:
        """Notify the starter that the start is durable, and which execution holds the name."""
        if self.started is not None and not self.started.done():
            self.started.set_result(holder)

    def resolve(self, execution: Execution | None, fault: BaseException | None = None) -> None:
        """Notify the waiters how it ended here; None sends them to storage, an error is raised where they wait."""
        if execution is not None:
            self.open(execution)
        elif fault is not None and self.started is not None and not self.started.done():
            self.started.set_exception(fault)
            self.started.exception()  # there may be no waiter
        if self.is_over:
            return
        self.is_over, self._end, self._fault = True, execution, fault
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def ended(self) -> Execution | None:
        """Return the execution once it is over here, or None where storage knows more."""
        if not self.is_over:
            await self.waiter()
        if self._fault is not None:
            raise self._fault
        return self._end

    def waiter(self) -> asyncio.Future[None]:
        """Return a future that is done once it is over here."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.is_over:
            waiter.set_result(None)
        else:
            self._waiters = (*(each for each in self._waiters if not each.done()), waiter)
        return waiter
