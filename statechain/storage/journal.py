"""Group commit: pending writes → one commit → each waiter's own outcome.

Every write of every execution in the process passes through one `Journal`. While one commit is in flight the next
one fills, so there is no timer and no added latency when idle. The flusher runs in a task that nobody cancels;
a caller that is cancelled waits for its commit all the same, and is cancelled then.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar, cast

from statechain.errors import LeaseLost, RepositoryError, RepositoryUnavailable, StatechainError
from statechain.observers import JournalFlushed, Observer, tell
from statechain.records import Callback, Claim, Visit
from statechain.storage.patience import delays
from statechain.storage.repository import Advance, End, Repository, Write

if TYPE_CHECKING:
    from statechain.clock import Clock

__all__ = ["Journal", "Ledger"]

T = TypeVar("T")

CAPACITY = 10_000
FLUSH_SIZE = 1_000
SPLIT_SIZE = 16


class Waiter(asyncio.Future[T]):
    """A future that cannot be cancelled: a cancelled task goes on waiting for it, and is cancelled then."""

    def cancel(self, msg: object = None) -> bool:  # noqa: ARG002
        """Refuse."""
        return False


class Ledger:
    """What one execution has yet to write, and the claim under which it may.

    The journal alone moves ``seq``: it commits the transitions of an execution strictly one after the other.
    ``current_state`` is where the root line of control stands; the interpreter moves it. ``is_lost`` tells that the
    claim is no longer good, ``is_away`` that the execution goes on since its last write was durable, ``is_left`` that
    nothing more comes of it here.
    """

    __slots__ = (
        "_closed",
        "_end",
        "_epoch",
        "_opened",
        "_pending",
        "_waiter",
        "current_state",
        "execution_id",
        "is_away",
        "is_left",
        "is_lost",
        "seq",
    )

    def __init__(self, claim: Claim) -> None:
        self.execution_id = claim.execution.id
        self._epoch = claim.epoch
        self.seq = claim.seq
        self.current_state = claim.execution.current_state
        self._pending: list[Visit] = []
        self._opened: Sequence[Callback] = ()
        self._closed: Sequence[str] = ()
        self._end: End | None = None
        self.is_lost = False
        self.is_away = False
        self.is_left = False
        self._waiter: Waiter[None] | None = None

    def settle(self, write: Advance, outcome: object) -> None:
        """Take note of how a transition went: done, or to be tried again with the next one, or lost with the lease."""
        if outcome is None:
            self.seq += len(write.visits)
        elif isinstance(outcome, LeaseLost):
            self.is_lost = True
        else:
            self._pending[:0] = write.visits
            self._opened = (*write.opened, *self._opened)
            self._closed = (*write.closed, *self._closed)

    @property
    def is_going_on(self) -> bool:
        """Whether the execution runs on once its last write is durable."""
        return self._end is None and not (self.is_lost or self.is_left)

    @property
    def backlog(self) -> int:
        """How many visits wait to be written."""
        return len(self._pending)

    def add(self, visit: Visit) -> None:
        """Remember a visit; it becomes durable with the next write of the execution."""
        self._pending.append(visit)

    def open_callback(self, callback: Callback) -> None:
        """Have a callback begin to wait with the next write of the execution."""
        self._opened = (*self._opened, callback)

    def close_callback(self, callback_id: str) -> None:
        """Have a callback closed with the next write of the execution: nobody waits for it any more."""
        self._closed = (*self._closed, callback_id)

    def take(self) -> Advance:
        """Hand out all that is pending as one transition."""
        visits, self._pending = self._pending, []
        opened, self._opened = self._opened, ()
        closed, self._closed = self._closed, ()
        return Advance(
            execution_id=self.execution_id,
            epoch=self._epoch,
            seq=self.seq,
            visits=visits,
            current_state=self.current_state,
            end=self._end,
            opened=opened,
            closed=closed,
        )


class Journal:
    """The one way to write. Its owner runs `run` in a task, and calls `close` when nobody will write any more."""

    def __init__(self, repository: Repository, clock: Clock, observers: Sequence[Observer] = ()) -> None:
        self._repository = repository
        self._clock = clock
        self._observers = tuple(observers)
        self._writes: list[tuple[Write[object], Waiter[object]]] = []
        self._ledgers: list[Ledger] = []
        self._in_flight: list[Waiter[object]] = []
        self._away = 0
        self._was_idle = True
        self._wake: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._patience: float | None = None
        self._closing = False
        self._is_open = False

    def open(self) -> None:
        """Take writes from now on: `run` is about to begin."""
        self._is_open = True

    async def write(self, write: Write[T]) -> T:
        """Commit one write; return its outcome, or raise the error it was refused with."""
        if self._is_full:
            await self._wait_for_room()
        self._check_open()
        waiter: Waiter[object] = Waiter()
        self._writes.append((write, waiter))
        self._rouse()
        return cast("T", await waiter)

    async def record(self, ledger: Ledger, end: End | None = None) -> None:
        """Return once all that was added to the ledger (and the end) is durable; raise LeaseLost if it may not be."""
        if end is not None:
            ledger._end = end  # noqa: SLF001 -- a ledger and its journal are one mechanism in two classes
        waiter = ledger._waiter  # noqa: SLF001
        if waiter is None:
            if self._is_full:
                await self._wait_for_room()
            self.post(ledger)
            waiter = cast("Waiter[None]", ledger._waiter)  # noqa: SLF001
        await waiter

    def post(self, ledger: Ledger) -> None:
        """Have what was added to the ledger written soon; nobody waits, and a lost lease shows at the next record."""
        self._check_open()
        if ledger._waiter is None:  # noqa: SLF001
            ledger._waiter = Waiter()  # noqa: SLF001
            self._come_back(ledger)
            self._ledgers.append(ledger)
            self._rouse()

    def leave(self, ledger: Ledger) -> None:
        """Take note that nothing more comes of an execution here."""
        ledger.is_left = True
        self._come_back(ledger)

    def _come_back(self, ledger: Ledger) -> None:
        self._away -= ledger.is_away
        ledger.is_away = False

    def hurry(self, patience: float) -> None:
        """Where storage is away, give up what is written from now on after ``patience`` seconds."""
        self._patience = time.monotonic() + patience

    def close(self, patience: float | None = None) -> None:
        """Let `run` return once all is written; where storage is away, give up after ``patience`` seconds."""
        self._closing = True
        if patience is not None:
            self.hurry(patience)
        self._rouse()

    async def run(self) -> None:
        """Commit what is pending, group after group, until closed."""
        try:
            while True:
                if self._writes or self._ledgers:
                    await self._flush()
                    self._was_idle = False
                elif self._closing:
                    return
                else:
                    self._wake = asyncio.get_running_loop().create_future()
                    await self._wake
                    self._was_idle = True
        finally:
            self._give_up()

    def _give_up(self) -> None:
        """Let nobody wait for a journal that has ended."""
        self._is_open = False
        self._tell_of_room()
        cut = RepositoryUnavailable("the journal was cut off: the write may or may not have been committed")
        waiters = [*self._in_flight, *(waiter for _, waiter in self._writes)]
        for waiter in [*waiters, *(cast("Waiter[object]", ledger._waiter) for ledger in self._ledgers)]:  # noqa: SLF001
            _settle(waiter, cut)

    def _rouse(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _check_open(self) -> None:
        if not self._is_open:
            raise StatechainError("the engine is not open: use it as an async context manager")

    @property
    def _is_full(self) -> bool:
        return len(self._writes) + len(self._ledgers) >= CAPACITY

    async def _wait_for_room(self) -> None:
        self._check_open()
        while self._is_full:
            if self._room is None:
                self._room = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._room)
            self._check_open()

    def _tell_of_room(self) -> None:
        if self._room is not None:
            self._room.set_result(None)
            self._room = None

    async def _flush(self) -> None:
        size = self._group_size()
        room = size - min(len(self._writes), size // 2)  # what is written but once does not wait for all that runs
        ledgers, self._ledgers = self._ledgers[:room], self._ledgers[room:]
        keys = {ledger.execution_id for ledger in ledgers} if self._writes else set()
        writes = self._take_writes(keys, size - len(ledgers))
        self._tell_of_room()
        waiters = self._in_flight = [waiter for _, waiter in writes]
        group: list[Write[object]] = [write for write, _ in writes]
        for ledger in ledgers:
            waiters.append(cast("Waiter[object]", ledger._waiter))  # noqa: SLF001
            ledger._waiter = None  # noqa: SLF001
            group.append(ledger.take())
        began = time.monotonic()
        with self._clock.hold():
            outcomes = await self._commit(group)
        for ledger, write, outcome in zip(ledgers, group[len(writes) :], outcomes[len(writes) :], strict=True):
            ledger.settle(cast("Advance", write), outcome)
            if ledger.is_going_on and ledger._waiter is None and not ledger.is_away:  # noqa: SLF001
                ledger.is_away = True
                self._away += 1
        for waiter, outcome in zip(waiters, outcomes, strict=True):
            _settle(waiter, outcome)
        self._in_flight = []
        if self._observers:
            pending = len(self._writes) + len(self._ledgers)
            tell(self._observers, JournalFlushed(len(group), time.monotonic() - began, pending))

    def _group_size(self) -> int:
        """Return how many writes the next commit takes at most: half of what waits, where everybody has come to wait.

        Else they would go on in step for ever: nothing done while they are committed, nothing committed meanwhile.
        """
        waiting = len(self._ledgers) + len(self._writes)
        in_step = self._was_idle and not self._away and waiting >= SPLIT_SIZE
        return min(FLUSH_SIZE, (waiting + 1) // 2 if in_step else waiting)

    def _take_writes(self, keys: set[str], room: int) -> list[tuple[Write[object], Waiter[object]]]:
        """Take the writes that may share a commit with each other and with these keys; the rest wait for the next."""
        taken: list[tuple[Write[object], Waiter[object]]] = []
        left: list[tuple[Write[object], Waiter[object]]] = []
        for entry in self._writes:
            key = entry[0].key
            if len(taken) < room and key not in keys:
                taken.append(entry)
            else:
                left.append(entry)
            if key is not None:
                keys.add(key)
        self._writes = left
        return taken

    async def _commit(self, group: Sequence[Write[object]]) -> Sequence[object]:
        """Commit until it is known: wait out an outage, and split a refused group to find the culprit."""
        pauses = delays()
        while True:
            try:
                return await self._repository.commit(group)
            except RepositoryUnavailable as fault:
                if self._patience is not None and time.monotonic() > self._patience:
                    return [fault] * len(group)
                await asyncio.sleep(next(pauses))
            except RepositoryError as fault:
                return await self._split(group, fault)
            except Exception as fault:  # noqa: BLE001 -- a fault of the repository must not end everybody's journal
                refusal = RepositoryError(f"the repository raised {type(fault).__name__}")
                refusal.__cause__ = fault
                return await self._split(group, refusal)

    async def _split(self, group: Sequence[Write[object]], fault: RepositoryError) -> Sequence[object]:
        """Commit the halves of a refused group, down to the one write that is the culprit."""
        if len(group) == 1:
            return [fault]
        middle = len(group) // 2
        return [*await self._commit(group[:middle]), *await self._commit(group[middle:])]


def _settle(waiter: Waiter[object], outcome: object) -> None:
    if waiter.done():
        return
    if isinstance(outcome, StatechainError):
        waiter.set_exception(outcome)
        waiter.exception()  # whoever waited may be gone: that is no "exception was never retrieved"
    else:
        waiter.set_result(outcome)
