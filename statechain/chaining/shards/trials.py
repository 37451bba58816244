"""Which shards a worker tries again after workers died with them: what kills its workers takes no other shard along.

After one death a shard is claimed like any other. After more it is a suspect: a worker tries one at a time, and only
where it has lived for as long as a backoff that doubles, so that a death is not blamed on a shard where workers die of
something else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from statechain.storage.shards import MOST_CLAIMS

__all__ = ["ShardTrials"]

BACKOFF_SECONDS = 2.0
"""How long a worker must have lived before it tries a shard with two deaths; twice as long with each one more."""

TRIAL_SECONDS = 5.0
"""After that many seconds a suspect that still runs keeps no other one from being tried."""


class ShardTrials:
    """The suspects that one worker tries, from the moment on at which it begins to run shards."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = clock()
        self._trial: asyncio.Task[Any] | None = None
        self._until = float("-inf")

    def most_deaths(self) -> int:
        """Return how many deaths a shard may have that is claimed now."""
        now, deaths = self._clock(), 1
        if self._trial is not None and not self._trial.done() and now < self._until:
            return deaths
        while deaths < MOST_CLAIMS and now - self._began >= BACKOFF_SECONDS * 2 ** (deaths - 1):
            deaths += 1
        return deaths

    def begin(self, claims: int, task: asyncio.Task[Any]) -> None:
        """Note a shard that was claimed so often, and is run by a task from now on."""
        # The third claim is the first that follows two deaths.
        if claims > 2:
            self._trial, self._until = task, self._clock() + TRIAL_SECONDS
