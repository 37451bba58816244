"""A group of writes → its outcomes, however storage behaves.

Storage that is away is waited out. A group that is refused for good is split to find the write that is to blame. A
group that storage does not take although it answers is committed write by write: one write's trouble is its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import attrs

from statechain.errors import RepositoryError, RepositoryUnavailable
from statechain.storage.journal.stragglers import AT_ONCE, Outage
from statechain.storage.retrying import backoff_delays

if TYPE_CHECKING:
    from statechain.storage.repository import Repository, Write

__all__ = ["Committer", "HeldUp"]

TRIES = 3
"""How often a group is tried before its writes are committed one by one."""

PROBES = 3
"""How many writes are refused one by one before storage is taken to be away."""


@attrs.frozen
class HeldUp:
    """In the place of an outcome: the write is not committed yet."""

    error: RepositoryUnavailable


class Committer:
    """Commits what a journal hands it, until it is known how it went.

    Arguments:
        repository: Where to.

        pause: Sleeps that many seconds, or less where there is no time left.

        is_hurried: Whether there is no time left: then the error is the outcome.

        separation: The seconds after which the writes of a group that is still refused are tried again one by one,
            beside other groups.
    """

    def __init__(
        self,
        repository: Repository,
        pause: Callable[[float], Awaitable[None]],
        is_hurried: Callable[[], bool],
        separation: float,
    ) -> None:
        self._repository = repository
        self._pause = pause
        self._is_hurried = is_hurried
        self._separation = separation
        self._outage = Outage()

    async def commit(self, group: Sequence[Write[object]]) -> Sequence[object]:
        """Commit a group; return its outcomes, `HeldUp` for what storage does not take."""
        try:
            return await self._repository.commit(group)
        except Exception as error:  # noqa: BLE001 -- an error of the repository must not end the journal
            return await self.persist(group, error)

    async def persist(self, group: Sequence[Write[object]], error: Exception) -> Sequence[object]:
        """Commit a group that was refused just now.

        It is tried again as a whole while storage seems to be away, and write by write once it does not, or once
        storage says that it answers and something took too long.
        """
        pauses, began, tries = backoff_delays(), time.monotonic(), 1
        while isinstance(error, RepositoryUnavailable):
            if self._is_hurried():
                return [error] * len(group)
            if error.timed_out or tries >= TRIES:
                outcomes = await self._commit_each(group, tries)
                if outcomes is not None:
                    return outcomes
                if len(group) == 1 or time.monotonic() - began > self._separation:
                    # The journal tries these again one by one, as stragglers, and goes on with later groups.
                    return [HeldUp(error)] * len(group)
            # Storage seems to be away: the whole group waits, since nothing else would be taken either.
            self._outage.goes_on(error, len(group))
            await self._pause(next(pauses))
            try:
                outcomes = await self._repository.commit(group)
            except Exception as again:  # noqa: BLE001
                error, tries = again, tries + 1
            else:
                self._outage.over()
                return outcomes
        return await self._split(group, _as_refusal(error))

    async def commit_alone(self, write: Write[object]) -> object:
        """Commit one write; return its outcome, and raise RepositoryUnavailable where it may be tried again."""
        try:
            (outcome,) = await self._repository.commit([write])
        # Not an outcome: the same write may succeed later.
        except RepositoryUnavailable:
            raise
        except Exception as error:  # noqa: BLE001
            return _as_refusal(error)
        self._outage.over()
        return outcome

    async def _commit_each(self, group: Sequence[Write[object]], tries: int) -> Sequence[object] | None:
        """Commit each write by itself; None where the first ones are all refused, so that storage seems to be away."""
        if len(group) == 1:
            return None
        # Others come first at each try: else the same few writes would speak for storage.
        start = tries * PROBES % len(group)
        places = iter([*range(start, len(group)), *range(start)])
        outcomes: list[object] = [HeldUp(RepositoryUnavailable("it was not tried yet"))] * len(group)
        tried = refused = 0

        async def commit_some() -> None:
            nonlocal tried, refused
            for place in places:
                # All probes refused: storage is away, and to try the rest would take as many timeouts.
                if refused == tried >= PROBES or self._is_hurried():
                    return
                try:
                    outcomes[place] = await self.commit_alone(group[place])
                except RepositoryUnavailable as error:
                    outcomes[place] = HeldUp(error)
                    refused += 1
                tried += 1

        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(commit_some())
        return None if refused == tried else outcomes

    async def _split(self, group: Sequence[Write[object]], error: RepositoryError) -> Sequence[object]:
        """Commit the halves of a refused group, down to the one write that is to blame."""
        if len(group) == 1:
            return [error]
        # By halves: one bad write among a thousand is found in about twenty commits. Writes are idempotent.
        middle = len(group) // 2
        return [*await self.commit(group[:middle]), *await self.commit(group[middle:])]


def _as_refusal(error: Exception) -> RepositoryError:
    if isinstance(error, RepositoryError):
        return error
    refusal = RepositoryError(f"the repository raised {type(error).__name__}")
    refusal.__cause__ = error
    return refusal
