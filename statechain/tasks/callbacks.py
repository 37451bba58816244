"""Tasks that wait for an answer from outside: under a task token, or from an activity's worker.

An answer through this process wakes the waiter at once; one through another process is found by asking storage: at once
for all that have come since the last query, and for all that wait after pauses that grow. Storage decides between an
answer and a timeout.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import hashlib
import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import attrs

from statechain.cancellation import GRACE, await_shielded
from statechain.codec import JSONValue, decode
from statechain.errors import RepositoryError
from statechain.records.callbacks import Callback, CallbackStatus
from statechain.storage.repository import AnswerCallback, CloseCallback, HeartbeatCallback, TakeActivity
from statechain.storage.retrying import backoff_delays, retry_while_unavailable

if TYPE_CHECKING:
    from statechain.clock import Clock
    from statechain.storage.journal.journal import Journal
    from statechain.storage.repository import Repository

__all__ = ["ActivityTask", "Callbacks", "token_hash"]

logger = logging.getLogger(__name__)

FIRST_POLL = 0.05
LONGEST_POLL = 1.0
PAGE = 500
ANSWERED = frozenset({CallbackStatus.SUCCEEDED, CallbackStatus.FAILED})


def token_hash(token: str) -> str:
    """Return what is stored of a task token."""
    # A token comes from outside: one with a lone surrogate is unknown, and must not raise UnicodeEncodeError.
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


@attrs.frozen
class ActivityTask:
    """A task that an activity's worker took: answer under its token.

    Attributes:
        token: What `Engine.send_task_success`, `send_task_failure` and `send_task_heartbeat` take.

        input: What the state gives its worker, as JSON.
    """

    token: str = attrs.field(repr=False)
    input: JSONValue


class _Waiter:
    """One attempt that waits, under one id or more."""

    __slots__ = ("answer", "ids", "last_heartbeat", "news")

    def __init__(self, ids: Sequence[str], since: datetime | None) -> None:
        self.ids = tuple(ids)
        self.answer: Callback | None = None
        self.last_heartbeat = since
        self.news = asyncio.Event()

    def notify(self, callback: Callback) -> None:
        """Note the state of a callback, and wake up where that is news."""
        # Storage and this process report in any order: the first answer stays, and a heartbeat only moves forward.
        if callback.status in ANSWERED and self.answer is None:
            self.answer = callback
            self.news.set()
        if callback.last_heartbeat is not None and (
            self.last_heartbeat is None or callback.last_heartbeat > self.last_heartbeat
        ):
            self.last_heartbeat = callback.last_heartbeat
            self.news.set()


class Callbacks:
    """Hands answers to the tasks that wait for them. ``group`` gives the TaskGroup in which storage is asked."""

    def __init__(
        self, repository: Repository, journal: Journal, clock: Clock, group: Callable[[], asyncio.TaskGroup]
    ) -> None:
        self._repository = repository
        self._journal = journal
        self._clock = clock
        self._group = group
        self._waiters: dict[str, _Waiter] = {}
        self._poller: asyncio.Task[None] | None = None
        self._pauses = backoff_delays(FIRST_POLL, LONGEST_POLL)
        self._newcomers: list[_Waiter] = []
        self._arrival = asyncio.Event()
        self._takers: dict[str, list[asyncio.Event]] = {}
        self._given_back: dict[str, list[str]] = {}

    # Waiting

    async def wait(
        self,
        ids: Sequence[str],
        *,
        deadline: datetime | None,
        heartbeat: float | None = None,
        since: datetime | None = None,
        begun: Callable[[], None] = lambda: None,
    ) -> Callback | None:
        """Return the answer to one of some callbacks; None where the deadline or a heartbeat's came first.

        Arguments:
            ids: Under which an answer may come; all are closed when this returns.

            deadline: Until when it may come.

            heartbeat: How many seconds may pass between two heartbeats.

            since: From when the first heartbeat counts; None counts from the first heartbeat.

            begun: Called at the first heartbeat, such as that an activity's worker took the task.
        """
        waiter = _Waiter(ids, since)
        with self._registered(waiter):
            while waiter.answer is None:
                # By identity: a first heartbeat may have the same time as the beginning.
                if waiter.last_heartbeat is not since:
                    begun()
                if await self._news_before(waiter, _due(deadline, waiter.last_heartbeat, heartbeat)):
                    continue
                await self._ask([waiter])  # a heartbeat may have come through another process
                due = _due(deadline, waiter.last_heartbeat, heartbeat)
                if waiter.answer is None and due is not None and due <= self._clock.now():
                    # Storage decides: an answer that was stored before this is returned, and one after it is refused.
                    return await self.close(ids)
            # The callbacks of tokens that were handed out before a crash.
            if len(waiter.ids) > 1:
                await self.close(ids)
            if waiter.last_heartbeat is not since:
                begun()
            return waiter.answer

    async def close(self, ids: Sequence[str]) -> Callback | None:
        """Wait no more; return the answer where one had come before."""
        closed = [await self._journal.write(CloseCallback(id=each)) for each in ids]
        return next((each for each in closed if each is not None and each.status in ANSWERED), None)

    async def close_answered(self, ids: Sequence[str]) -> Callback | None:
        """Return the answer to one of some callbacks, and wait no more; None where none has come, and all stay open."""
        with self._clock.hold():
            found = await retry_while_unavailable(lambda: self._repository.callbacks(ids))
        return await self.close(ids) if any(each.status in ANSWERED for each in found) else None

    async def _news_before(self, waiter: _Waiter, due: datetime | None) -> bool:
        timeout = self._clock.timeout_at(due)
        try:
            async with timeout:
                await waiter.news.wait()
        except TimeoutError:
            if timeout.expired():
                return False
            raise
        waiter.news.clear()
        return True

    @contextlib.contextmanager
    def _registered(self, waiter: _Waiter) -> Iterator[None]:
        """Notify a waiter of its callbacks for the body; once nothing waits, storage is not asked."""
        self._waiters |= dict.fromkeys(waiter.ids, waiter)
        try:
            self._newcomers.append(waiter)
            # Short pauses again: most answers come soon.
            self._pauses = backoff_delays(FIRST_POLL, LONGEST_POLL)
            self._arrival.set()
            if self._poller is None:
                self._poller = self._group().create_task(
                    self._poll(),
                    name="statechain callbacks",
                    context=contextvars.Context(),  # it serves all that wait, not the one that waited first
                )
            yield
        finally:
            for each in waiter.ids:
                self._waiters.pop(each, None)
            if not self._waiters and self._poller is not None:
                # The last waiter ends it; it must not keep the engine's group from ending.
                self._poller.cancel()
                self._poller = None
                self._newcomers.clear()

    async def _poll(self) -> None:
        """Ask storage until nothing waits. An exception must not end this task: all that runs would end with it."""
        while self._waiters:
            try:
                await self._ask_in_rounds()
            except Exception:
                logger.exception("answers to waiting tasks could not be read, trying again")
                await asyncio.sleep(LONGEST_POLL)

    async def _ask_in_rounds(self) -> None:
        """Ask storage at once for what begins to wait, and for all that waits after each pause."""
        loop = asyncio.get_running_loop()
        again = loop.time() + next(self._pauses)
        while self._waiters:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(again):
                    await self._arrival.wait()
            is_for_all = loop.time() >= again
            # An answer may have come before they waited: they do not wait for the next round.
            asked = list(dict.fromkeys(self._waiters.values())) if is_for_all else self._newcomers
            self._newcomers = []
            self._arrival.clear()
            for start in range(0, len(asked), PAGE):
                try:
                    await self._ask(asked[start : start + PAGE])
                except Exception as error:  # noqa: BLE001 -- an error of the repository must not end all waits
                    reason = error if isinstance(error, RepositoryError) else type(error).__name__
                    logger.warning("answers to waiting tasks could not be read, trying again: %s", reason)
            if is_for_all:
                again = loop.time() + next(self._pauses)

    async def _ask(self, waiters: Sequence[_Waiter]) -> None:
        """Notify waiters of the state of their callbacks in storage."""
        ids = [each for waiter in waiters for each in waiter.ids]
        with self._clock.hold():
            callbacks = await retry_while_unavailable(lambda: self._repository.callbacks(ids))
        for callback in callbacks:
            self._notify(callback)

    def _notify(self, callback: Callback) -> None:
        waiter = self._waiters.get(callback.id)
        if waiter is not None:
            waiter.notify(callback)

    # Answering

    async def succeed(self, token: str, output_text: str) -> None:
        """Answer with an output. Raises InvalidToken, TaskTimedOut."""
        await self.answer(token_hash(token), output_text)

    async def fail(self, token: str, error: str | None, cause: str | None) -> None:
        """Answer that the task failed. Raises InvalidToken, TaskTimedOut."""
        await self.refuse(token_hash(token), error, cause)

    async def answer(self, hashed: str, output_text: str) -> None:
        """Answer with an output what waits under the token that has a hash. Raises InvalidToken, TaskTimedOut."""
        write = AnswerCallback(token_hash=hashed, output_text=output_text)
        self._notify(await self._journal.write_for_caller(write))

    async def refuse(self, hashed: str, error: str | None, cause: str | None) -> None:
        """Answer that it failed to what waits under the token that has a hash. Raises InvalidToken, TaskTimedOut."""
        write = AnswerCallback(token_hash=hashed, error=error, cause=cause)
        self._notify(await self._journal.write_for_caller(write))

    async def heartbeat(self, token: str) -> None:
        """Report that the work goes on. Raises InvalidToken, TaskTimedOut."""
        write = HeartbeatCallback(token_hash=token_hash(token), heartbeat=self._clock.now())
        self._notify(await self._journal.write_for_caller(write))

    # Activities

    def offer(self, activity: str) -> None:
        """Wake the waiters of this process for a task of an activity."""
        for taker in self._takers.get(activity, ()):
            taker.set()

    async def take(self, activity: str, patience: float) -> ActivityTask | None:
        """Take the oldest task of an activity for a worker; None where none came in that many seconds of real time."""
        offered = asyncio.Event()
        self._takers.setdefault(activity, []).append(offered)
        loop = asyncio.get_running_loop()
        until = loop.time() + patience
        pauses = backoff_delays(FIRST_POLL, LONGEST_POLL)
        try:
            while True:
                # Tasks that were taken for a caller that is gone come first: their tokens have them already.
                while given_back := self._given_back.get(activity):
                    if (task := await self._take(activity, given_back.pop())) is not None:
                        return task
                if (task := await self._take(activity, secrets.token_urlsafe(32))) is not None:
                    return task
                left = until - loop.time()
                if left <= 0:
                    return None
                offered.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(offered.wait(), min(next(pauses), left))
        finally:
            self._takers[activity].remove(offered)
            if not self._takers[activity]:
                del self._takers[activity]
            if not self._given_back.get(activity, True):
                del self._given_back[activity]

    async def _take(self, activity: str, token: str) -> ActivityTask | None:
        """Take a task under a token, or the one that has it already, unless that waits no more.

        A caller that is cancelled meanwhile gives it back, once it is known: its token is the next one's.
        """
        write = TakeActivity(activity=activity, token_hash=token_hash(token), heartbeat=self._clock.now())
        taking = asyncio.ensure_future(self._journal.write(write))
        try:
            taken = await await_shielded(taking, GRACE)
        except asyncio.CancelledError:
            if taking.done():
                self._give_back(activity, token, taking)
            else:
                taking.add_done_callback(partial(self._give_back, activity, token))
            raise
        # Given back, and closed since: its attempt timed out, say.
        if taken is None or taken.status is not CallbackStatus.WAITING:
            return None
        self._notify(taken)
        return ActivityTask(token, decode(taken.input_text or "null"))

    def _give_back(self, activity: str, token: str, taking: asyncio.Future[Callback | None]) -> None:
        """Let the next one have what was taken for a caller that is gone."""
        if not taking.cancelled() and taking.exception() is None and taking.result() is not None:
            self._given_back.setdefault(activity, []).append(token)
            self.offer(activity)


def _due(deadline: datetime | None, last: datetime | None, heartbeat: float | None) -> datetime | None:
    """Return when a wait ends: at its deadline, or when a heartbeat is overdue."""
    if last is None or heartbeat is None:
        return deadline
    overdue = last + timedelta(seconds=heartbeat)
    return overdue if deadline is None else min(deadline, overdue)
