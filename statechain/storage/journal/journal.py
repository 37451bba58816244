"""Group commit: pending writes → one commit → each waiter's own outcome.

Every write of every execution in the process passes through one `Journal`. While one commit is in flight the next
one fills, so that idle writes meet no added latency. The flusher runs in a task that is cancelled only when the journal
is out of time; a caller that is cancelled waits for its commit, from outside the engine for `GRACE` seconds at most.

A commit that storage does not answer is left behind after `RELIEF` seconds: another flusher goes on with what waits. A
batch, which may have many sources, is committed beside the groups from the beginning. A group that is refused is
committed write by write, and what is refused even so is tried again beside the groups (`stragglers`). Two writes with
one key are never on their way together, so that they keep their order.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from statechain.errors import RepositoryUnavailable, StatechainError
from statechain.observers import JournalFlushed, Observer, emit
from statechain.storage.journal.committing import Committer, HeldUp
from statechain.storage.journal.keys import BusyKeys
from statechain.storage.journal.ledger import ExecutionWrites
from statechain.storage.journal.stragglers import Silence, Straggler, Stragglers
from statechain.storage.journal.waiters import NO_WAITER, CallersWaiter, Waiter, Waiting, both
from statechain.storage.repository import Advance, CreateBatch, End, Repository, Write

if TYPE_CHECKING:
    from statechain.clock import Clock

__all__ = ["NOT_OPEN", "Journal"]

T = TypeVar("T")

NOT_OPEN = "the engine is not open: use it as an async context manager"
# Bounds the memory that waiting payloads take, while storage is slow or away.
CAPACITY = 10_000
FLUSH_SIZE = 1_000
# Below it, halves would cost more in commits than they gain.
SPLIT_SIZE = 16

RELIEF = 1.0
"""Seconds after which a commit that is not answered is left behind."""

SEPARATION = 5.0
"""Seconds after which the writes of a group that is still refused are tried again one by one, beside other groups."""

MOST_LEFT_BEHIND = 3
"""How many commits may be left behind at once: each may hold a connection."""

TURNS = 4
"""How many turns of the event loop a commit waits for a write that is about to follow."""

LAST_WORD = 0.5
"""Seconds past its deadline after which a journal cuts off what storage does not answer."""

Entry: TypeAlias = "tuple[Write[object], Waiting]"


class _Flight:
    """One commit that is under way: its writes, the last of which are those of the ledgers, and their waiters."""

    __slots__ = ("began", "group", "keys", "ledgers", "size", "waiters")

    def __init__(self, group: list[Write[object]], waiters: list[Waiting], ledgers: list[ExecutionWrites]) -> None:
        self.group = group
        self.size = len(group)
        self.waiters = waiters
        self.ledgers = ledgers
        self.keys: set[str] = set()
        self.began = time.monotonic()


class Journal:
    """The one way to write. Its owner runs `run` in a task, and calls `close` when nothing will write any more.

    Arguments:
        repository: Where it commits.

        clock: Does not advance while a commit is under way, where it is a virtual one.

        observers: Notified of each flush.

        capacity: How many writes may wait before a writer waits for room.

        flush_size: How many writes one commit has at most.

        relief: The seconds after which a commit that is not answered is left behind.

        separation: The seconds after which the writes of a group that is still refused are tried again one by one.

        in_halves: Whether, where all executions wait, one half is committed and goes on while the other is.
    """

    def __init__(
        self,
        repository: Repository,
        clock: Clock,
        observers: Sequence[Observer] = (),
        *,
        capacity: int = CAPACITY,
        flush_size: int = FLUSH_SIZE,
        relief: float = RELIEF,
        separation: float = SEPARATION,
        in_halves: bool = True,
    ) -> None:
        self._capacity, self._flush_size, self._relief = capacity, flush_size, relief
        self._in_halves = in_halves
        self._repository = repository
        self._clock = clock
        self._observers = tuple(observers)
        self._writes: list[Entry] = []
        self._ledgers: list[ExecutionWrites] = []
        self._flight: _Flight | None = None
        self._left_behind: set[_Flight] = set()
        self._silence: Silence | None = None
        self._freezing: set[_Flight] = set()
        self._committer = Committer(repository, self._pause, self._is_hurried, separation)
        self._stragglers = Stragglers(self._committer.commit_alone, self._pause, self._is_hurried)
        self._apart: set[Straggler] = set()
        self._keys = BusyKeys[Any]()
        self._away = 0
        self._was_idle = True
        self._flusher = 0
        self._turns = 0
        self._wake: asyncio.Future[None] | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._room: asyncio.Future[None] | None = None
        self._deadline: float | None = None
        self._limit: asyncio.Timeout | None = None
        self._hurried = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None
        self._closing = False
        self._is_open = False
        self.why_closed = NOT_OPEN

    def open(self) -> None:
        """Take writes from now on: `run` is about to begin."""
        self._is_open = True

    async def write(self, write: Write[T]) -> T:
        """Commit one write; return its outcome, or raise the error it was refused with.

        A caller that is cancelled waits for its end: this is for the engine's own tasks.
        """
        return cast("T", await self._write(write, Waiter()))

    async def write_for_caller(self, write: Write[T]) -> T:
        """Commit one write as `write` does, for a task that is not the engine's own.

        Where that is cancelled it waits for `GRACE` seconds at most; the write is then made without it.
        """
        return cast("T", await self._write(write, CallersWaiter()))

    async def _write(self, write: Write[object], waiter: Waiter[object]) -> object:
        if self._is_full:
            await self._wait_for_room()
        self._check_open()
        # The sources of a batch may be many: they are frozen beside the groups, so that no other write waits for them.
        if isinstance(write, CreateBatch) and self._tasks is not None:
            flight = _Flight([write], [waiter], [])
            self._freezing.add(flight)
            self._detach(flight)
            self._tasks.create_task(self._commit(flight), name="statechain freezing")
        else:
            self.post_write(write, waiter)
        return await waiter

    async def record(self, ledger: ExecutionWrites, end: End | None = None) -> None:
        """Return once all that was added to the ledger (and the end) is durable; raise LeaseLost if it may not be."""
        if end is not None:
            ledger.end = end
        waiter = ledger.waiter
        # Branches of one execution await the same future: all of what they added travels as one transition.
        if not isinstance(waiter, Waiter):
            # Only a ledger that is not queued yet adds to the queue.
            if waiter is None and self._is_full:
                await self._wait_for_room()
            waiter = Waiter[None]()
            self.post(ledger, waiter)
        await waiter

    @property
    def has_room(self) -> bool:
        """Whether a write is taken at once."""
        return self._is_open and not self._is_full

    def post_write(self, write: Write[object], waiting: Waiting) -> None:
        """Have a write made soon, which has room, and resolve what waits for it."""
        self._writes.append((write, waiting))
        self._wake_flusher()

    def post(self, ledger: ExecutionWrites, waiting: Waiting = NO_WAITER) -> None:
        """Have what was added to the ledger written soon, and resolve what waits for it.

        Where nothing waits, a lost lease shows at the next write.
        """
        self._check_open()
        if ledger.waiter is None:
            ledger.waiter = waiting
            self._mark_idle(ledger)
            self._ledgers.append(ledger)
            if self._wake is not None:  # else the flusher is committing, and looks at the queue itself afterwards
                self._wake_flusher()
        elif waiting is not NO_WAITER:
            ledger.waiter = both(ledger.waiter, waiting)

    def expect(self) -> None:
        """Have the next commit wait a few turns of the event loop: another write is about to follow the last one."""
        self._turns = TURNS

    def close_execution(self, ledger: ExecutionWrites) -> None:
        """Take note that nothing more comes of an execution here."""
        ledger.is_closed = True
        self._mark_idle(ledger)

    def _mark_idle(self, ledger: ExecutionWrites) -> None:
        self._away -= ledger.is_running
        ledger.is_running = False

    # Its end

    def set_deadline(self, patience: float) -> None:
        """Give up what is not committed after ``patience`` seconds, whether storage refuses it or does not answer."""
        deadline = time.monotonic() + patience
        self._deadline = deadline if self._deadline is None else min(deadline, self._deadline)
        self._hurried.set()
        if self._limit is not None:  # a bit later, so that storage that refuses can say why
            left = self._deadline - time.monotonic()
            self._limit.reschedule(asyncio.get_running_loop().time() + left + LAST_WORD)

    def close(self, patience: float | None = None) -> None:
        """Let `run` return once all is written; where storage is away, give up after ``patience`` seconds."""
        self._closing = True
        if patience is not None:
            self.set_deadline(patience)
        self._wake_flusher()

    async def run(self) -> None:
        """Commit what is pending, group after group, until closed."""
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(None) as self._limit, asyncio.TaskGroup() as self._tasks:
                    if self._deadline is not None:
                        # It was set before there was a limit to reschedule.
                        self.set_deadline(self._deadline - time.monotonic())
                    self._tasks.create_task(self._flush_all(self._flusher), name="statechain flusher")
        finally:
            self._limit = self._tasks = None
            self._fail_pending()

    def _fail_pending(self) -> None:
        """Let nothing wait for a journal that has ended."""
        self._is_open = False
        if self._watch is not None:
            self._watch.cancel()
        if self._silence is not None:
            self._silence.cut()
        self._notify_space()
        cut = RepositoryUnavailable(
            "the engine was closed before the write was confirmed: it may or may not have been committed"
        )
        for straggler in tuple(self._apart):
            straggler.settle(cut)
        flights = [*self._left_behind, *self._freezing, *([] if self._flight is None else [self._flight])]
        for waiter in [waiter for flight in flights for waiter in flight.waiters]:
            waiter.resolve(cut)
        for each in [*self._writes, *self._ledgers, *self._keys.waiting]:
            (cast("Waiting", each.waiter) if isinstance(each, ExecutionWrites) else each[1]).resolve(cut)

    def _is_hurried(self) -> bool:
        return self._deadline is not None and time.monotonic() > self._deadline

    async def _pause(self, seconds: float) -> None:
        """Sleep, but not past the deadline."""
        if self._deadline is None:
            with suppress(TimeoutError):
                # A deadline that is set meanwhile ends the pause.
                await asyncio.wait_for(self._hurried.wait(), seconds)
        else:
            await asyncio.sleep(max(0.0, min(seconds, self._deadline - time.monotonic())))

    # The waiters

    def _wake_flusher(self) -> None:
        wake, self._wake = self._wake, None
        if wake is not None and not wake.done():
            wake.set_result(None)

    def _check_open(self) -> None:
        if not self._is_open:
            raise StatechainError(self.why_closed)

    @property
    def _is_full(self) -> bool:
        return len(self._writes) + len(self._ledgers) >= self._capacity

    async def _wait_for_room(self) -> None:
        self._check_open()
        while self._is_full:
            if self._room is None:
                self._room = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._room)  # shared by all that wait for room: one that is cancelled must not end it
            self._check_open()

    def _notify_space(self) -> None:
        if self._room is not None:
            self._room.set_result(None)
            self._room = None

    # Groups

    async def _flush_all(self, flusher: int) -> None:
        """Commit group after group, until another flusher takes over or the journal has been closed."""
        while self._flusher == flusher:
            if self._keys:  # a write whose key is on its way elsewhere waits for it, so that the two keep their order
                self._ledgers = self._keys.passed(self._ledgers, lambda each: each.execution_id)
                self._writes = self._keys.passed(self._writes, lambda each: each[0].key)
            if self._writes or self._ledgers:
                turns, self._turns = self._turns, 0
                for _ in range(turns):
                    await asyncio.sleep(0)
                await self._flush()
                self._was_idle = False
            elif self._closing and not self._keys:
                return
            else:
                self._wake = asyncio.get_running_loop().create_future()
                await self._wake
                self._was_idle = True

    async def _flush(self) -> None:
        flight = self._flight = self._take_group()
        if self._watch is None:
            self._watch = asyncio.get_running_loop().call_later(self._relief, self._look)
        await self._commit(flight)

    async def _commit(self, flight: _Flight) -> None:
        with self._clock.hold():
            try:
                outcomes = await self._repository.commit(flight.group)
            except Exception as error:  # noqa: BLE001 -- an error of the repository must not end the journal
                outcomes = self._set_aside(flight, await self._committer.persist(flight.group, error))
            self._settle(flight, outcomes)
        # The identity shows whether `_look` has put another flusher in this one's place.
        if self._flight is flight:
            self._flight = None
        else:  # beside the groups: it was a batch, or left behind while storage was silent, and its flusher ends
            self._freezing.discard(flight)
            self._left_behind.discard(flight)
            if self._silence is not None and not self._left_behind:
                self._silence.over()
                self._silence = None
            self._free(flight.keys)
        self._emit_flushed(flight.size, flight.began)

    def _emit_flushed(self, size: int, began: float) -> None:
        if self._observers:
            pending = len(self._writes) + len(self._ledgers)
            emit(self._observers, JournalFlushed(size, time.monotonic() - began, pending))

    def _take_group(self) -> _Flight:
        size = self._group_size()
        room = size - min(len(self._writes), size // 2)  # what is written but once does not wait for all that runs
        ledgers, self._ledgers = self._ledgers[:room], self._ledgers[room:]
        keys = {ledger.execution_id for ledger in ledgers} if self._writes else set()
        writes = self._take_writes(keys, size - len(ledgers))
        self._notify_space()
        waiters: list[Waiting] = [waiter for _, waiter in writes]
        group: list[Write[object]] = [write for write, _ in writes]
        for ledger in ledgers:
            waiters.append(ledger.waiter or NO_WAITER)
            ledger.waiter = None  # what is added while this commit is under way goes into the next one
            group.append(ledger.take())
        return _Flight(group, waiters, ledgers)

    def _group_size(self) -> int:
        """Return how many writes the next commit takes at most: half of what waits, where all executions wait."""
        waiting = len(self._ledgers) + len(self._writes)
        # Else handlers and commits alternate for ever: nothing is done while they are committed, and nothing is
        # committed meanwhile. Where one process does both, that is as well: large commits are cheaper.
        in_step = self._in_halves and self._was_idle and not self._away and waiting >= SPLIT_SIZE
        return min(self._flush_size, (waiting + 1) // 2 if in_step else waiting)

    def _take_writes(self, keys: set[str], room: int) -> list[Entry]:
        """Take the writes that may share a commit with each other and with these keys; the rest wait for the next."""
        taken: list[Entry] = []
        left: list[Entry] = []
        for entry in self._writes:
            key = entry[0].key
            if len(taken) < room and key not in keys:
                taken.append(entry)
            else:
                left.append(entry)
            if key is not None:
                keys.add(key)  # also of what is left: a later write of the same key must not overtake it
        self._writes = left
        return taken

    def _settle(self, flight: _Flight, outcomes: Sequence[object]) -> None:
        # Ledgers first: what a waiter does next may look at what its ledger still has to write.
        first = len(flight.group) - len(flight.ledgers)
        for ledger, write, outcome in zip(flight.ledgers, flight.group[first:], outcomes[first:], strict=True):
            self._settle_ledger(ledger, cast("Advance", write), outcome)
        for waiter, outcome in zip(flight.waiters, outcomes, strict=True):
            waiter.resolve(outcome)

    def _settle_ledger(self, ledger: ExecutionWrites, write: Advance, outcome: object) -> None:
        ledger.settle(write, outcome)
        # Counted as running until its next write is queued: a group is halved only when none runs.
        if ledger.is_going_on and ledger.waiter is None and not ledger.is_running:
            ledger.is_running = True
            self._away += 1

    # Beside the groups

    def _detach(self, flight: _Flight) -> None:
        """Let later writes with the keys of a flight wait for it: no flusher does."""
        flight.keys = _keys(flight.group)
        self._keys.occupy(flight.keys)

    def _look(self) -> None:
        """Leave a commit behind that has not been answered for too long: another flusher goes on."""
        self._watch = None
        if self._flight is None or self._tasks is None:
            return
        waited = time.monotonic() - self._flight.began
        # Left behind, not cancelled: storage may still commit it, and a lost reply would have to be found out about.
        if waited >= self._relief and len(self._left_behind) < MOST_LEFT_BEHIND:
            self._left_behind.add(self._flight)
            self._silence = self._silence or Silence(self._flight.group[0], self._flight.began)
            self._detach(self._flight)
            self._flight = None
            self._flusher += 1  # the flusher that awaits storage sees that it was replaced once it is answered
            self._tasks.create_task(self._flush_all(self._flusher), name="statechain flusher")
        else:
            self._watch = asyncio.get_running_loop().call_later(max(self._relief - waited, 0.1), self._look)

    def _set_aside(self, flight: _Flight, outcomes: Sequence[object]) -> Sequence[object]:
        """Have what is held up tried again by itself, and take it out of the flight; return the rest's outcomes."""
        if not any(isinstance(outcome, HeldUp) for outcome in outcomes):
            return outcomes
        ledgers: list[ExecutionWrites | None] = [*[None] * (len(flight.group) - len(flight.ledgers)), *flight.ledgers]
        entries = [*zip(flight.group, flight.waiters, ledgers, outcomes, strict=True)]
        rest = []
        for write, waiter, ledger, outcome in entries:
            if isinstance(outcome, HeldUp):
                straggler = self._keep_apart(write, waiter, ledger, flight.began)
                self._begin(self._stragglers.retry(straggler, outcome.error))
            else:
                rest.append((write, waiter, ledger, outcome))
        flight.group = [write for write, _, _, _ in rest]
        flight.waiters = [waiter for _, waiter, _, _ in rest]
        flight.ledgers = [ledger for _, _, ledger, _ in rest if ledger is not None]
        return [outcome for _, _, _, outcome in rest]

    def _keep_apart(
        self, write: Write[object], waiter: Waiting, ledger: ExecutionWrites | None, began: float
    ) -> Straggler:
        """Note that a write is on its way beside the groups."""

        def end(outcome: object) -> None:
            self._apart.discard(straggler)
            if ledger is not None:
                self._settle_ledger(ledger, cast("Advance", write), outcome)
            waiter.resolve(outcome)
            self._free(keys)
            self._emit_flushed(1, began)

        straggler, keys = Straggler(write, end, began), _keys([write])
        self._apart.add(straggler)
        self._keys.occupy(keys)
        return straggler

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        """Run what goes on beside the groups; time that is skipped does not advance meanwhile."""

        async def held() -> None:
            with self._clock.hold():
                await work

        cast("asyncio.TaskGroup", self._tasks).create_task(held(), name="statechain straggler")

    def _free(self, keys: set[str]) -> None:
        """Let what waited for these keys go on, but for the keys of what is still on its way."""
        held = _keys(straggler.write for straggler in self._apart)
        # In front of the queue, in their order: what came later with the same key is behind them there.
        for each in reversed(self._keys.free(keys - held)):
            if isinstance(each, ExecutionWrites):
                self._ledgers.insert(0, each)
            else:
                self._writes.insert(0, each)
        self._wake_flusher()


def _keys(group: Iterable[Write[object]]) -> set[str]:
    return {key for write in group if (key := write.key) is not None}
