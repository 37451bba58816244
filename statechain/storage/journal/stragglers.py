"""Writes that storage does not take although it takes others: each is tried again by itself, beside the journal.

A row that another session has locked, a statement that takes longer than the server allows: one such write must not
hold up the writes that happened to share its commit. The journal hands it over, and its groups go on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import Any, TypeAlias

import attrs

from statechain.errors import RepositoryUnavailable
from statechain.storage.repository import CreateBatch, Write
from statechain.storage.retrying import backoff_delays

__all__ = ["AT_ONCE", "RARELY", "Outage", "Silence", "Straggler", "Stragglers", "described"]

logger = logging.getLogger(__name__)

AT_ONCE = 2
"""How many stragglers are tried at once: each may wait for a lock, and holds a connection meanwhile."""

RARELY = 60.0
"""Seconds between two log lines about what still lasts."""

SILENT_SECONDS = 10.0
"""How long a commit goes unanswered before the log says so."""

NAMED = 10
"""How many stragglers have separate log lines; the rest are counted."""

Commit: TypeAlias = Callable[[Write[object]], Awaitable[object]]
"""Commits one write; returns its outcome, or raises RepositoryUnavailable."""


@attrs.define(eq=False)
class Straggler:
    """A write that is committed by itself.

    Attributes:
        write: What is to be committed.

        settle: Is called once with its outcome.

        began: When it was first tried, by the monotonic clock.

        is_logged: Whether the log says that it is not committed yet, so that it has to say, too, when it is.
    """

    write: Write[object]
    settle: Callable[[object], None]
    began: float = attrs.Factory(time.monotonic)
    is_logged: bool = False


def described(write: Write[Any]) -> str:
    """Return the kind of a write and the id of what it is about, never more of what it holds."""
    kind = type(write).__name__
    for owner in ("execution", "batch"):
        id_ = getattr(write, f"{owner}_id", None) or getattr(getattr(write, owner, None), "id", None)
        if isinstance(id_, str):
            return f"{kind} of {owner} {id_}"
    return kind


class Stragglers:
    """Tries each of its writes again, after delays that grow, until it is committed or refused.

    Arguments:
        commit: Commits one write.

        pause: Sleeps that many seconds, or less where there is no time left.

        is_hurried: Whether there is no time left: then the error is the outcome.
    """

    def __init__(
        self, commit: Commit, pause: Callable[[float], Awaitable[None]], is_hurried: Callable[[], bool]
    ) -> None:
        self._commit = commit
        self._pause = pause
        self._is_hurried = is_hurried
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._held: dict[Straggler, RepositoryUnavailable] = {}
        self._logged = time.monotonic()

    async def retry(self, straggler: Straggler, error: RepositoryUnavailable) -> None:
        """Commit a write that was refused just now; few of these are tried at once."""
        self._hold(straggler, error)
        # Without a turn: a batch that freezes its sources for minutes would keep other stragglers waiting.
        turn = nullcontext() if isinstance(straggler.write, CreateBatch) else self._turns
        for pause in backoff_delays():
            await self._pause(pause)
            try:
                # The turn is given back during a pause: another straggler is tried meanwhile.
                async with turn:
                    outcome = await self._commit(straggler.write)
                break
            except RepositoryUnavailable as again:
                self._hold(straggler, again)
                if self._is_hurried():
                    outcome = again
                    break
        self._drop(straggler)
        straggler.settle(outcome)

    def _hold(self, straggler: Straggler, error: RepositoryUnavailable) -> None:
        """Note, and log, that a write is not committed yet."""
        is_new = straggler not in self._held
        self._held[straggler] = error
        if is_new and len(self._held) <= NAMED:
            straggler.is_logged = True
            what = described(straggler.write)
            logger.warning("%s is not committed: %s; it is tried again by itself, beside other writes", what, error)
        elif time.monotonic() - self._logged > RARELY:
            self._log_all()
        if is_new and len(self._held) == 1:
            self._logged = time.monotonic()

    def _log_all(self) -> None:
        self._logged = time.monotonic()
        for straggler, error in [*self._held.items()][:NAMED]:
            seconds = time.monotonic() - straggler.began
            straggler.is_logged = True
            logger.warning("%s is not committed after %.0f s: %s", described(straggler.write), seconds, error)
        if len(self._held) > NAMED:
            logger.warning("%d more writes are not committed", len(self._held) - NAMED)

    def _drop(self, straggler: Straggler) -> None:
        if self._held.pop(straggler, None) is not None and straggler.is_logged and not self._is_hurried():
            seconds = time.monotonic() - straggler.began
            logger.warning("%s is settled after %.1f s", described(straggler.write), seconds)


class Outage:
    """What is logged about a storage that takes no writes: when it begins, now and then, and when it is over."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._logged = float("-inf")
        self._is_logged = False

    def goes_on(self, error: RepositoryUnavailable, waiting: int) -> None:
        """Note that this many writes wait because of an error."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
        if now - self._logged > RARELY:
            self._logged, self._is_logged = now, True
            logger.warning("storage takes no writes, and %d of them wait until it does: %s", waiting, error)

    def over(self) -> None:
        """Take note that storage takes writes."""
        if self._since is None:
            return
        seconds, self._since = time.monotonic() - self._since, None
        if self._is_logged:
            self._is_logged = False
            logger.warning("storage takes writes again after %.1f s", seconds)


class Silence:
    """What is logged of commits that storage does not answer: after some seconds, each minute, and when it does.

    A driver waits for minutes before it raises anything, in which no write of the engine may get through.

    Arguments:
        write: A write of the first such commit.

        began: When that commit began, by the monotonic clock.
    """

    def __init__(self, write: Write[object], began: float) -> None:
        self._write = write
        self._began = began
        self._is_logged = False
        self._wait(SILENT_SECONDS - (time.monotonic() - began))

    def _wait(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._log)

    def _log(self) -> None:
        self._is_logged = True
        seconds = time.monotonic() - self._began
        logger.warning("storage has not answered for %.0f s: %s waits", seconds, described(self._write))
        self._wait(RARELY)

    def over(self) -> None:
        """Take note that storage has answered."""
        self.cut()
        if self._is_logged:
            logger.warning("storage has answered after %.1f s", time.monotonic() - self._began)

    def cut(self) -> None:
        """Log nothing more."""
        self._timer.cancel()
