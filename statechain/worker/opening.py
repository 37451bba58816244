"""Opening an engine while its storage is away: it waits with backoff, up to a time limit, and says so in the log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar

from statechain.cancellation import wait_ignoring_cancellation
from statechain.errors import RepositoryUnavailable
from statechain.storage.retrying import backoff_delays

__all__ = ["Opening"]

T = TypeVar("T")

logger = logging.getLogger(__name__)

LOG_SECONDS = 10.0
"""Seconds between two log lines about storage that is still away."""


class Opening:
    """What an engine waits for before it is open.

    Arguments:
        timeout: For how long storage may be away, from the first call on.

        closing: Is set where the engine is left meanwhile.
    """

    def __init__(self, timeout: timedelta, closing: asyncio.Event) -> None:
        self._seconds = timeout.total_seconds()
        self._closing = closing
        self._until: float | None = None

    async def reach(self, call: Callable[[], Awaitable[T]]) -> T:
        """Return what a call to storage answers; while storage is away, call again.

        Raises RepositoryUnavailable once the time is over, and at once any other error of storage.
        """
        loop, pauses, logged = asyncio.get_running_loop(), backoff_delays(), float("-inf")
        began = loop.time()
        self._until = began + self._seconds if self._until is None else self._until
        error: Exception = TimeoutError("it does not answer")
        while True:
            try:
                async with asyncio.timeout_at(self._until):
                    answer = await call()
            except RepositoryUnavailable as away:
                error = away
            except TimeoutError:
                pass  # there is no time left
            else:
                if logged >= began:
                    logger.warning("storage can be reached after %.1f s", loop.time() - began)
                return answer
            left = self._until - loop.time()
            if left <= 0:
                raise RepositoryUnavailable(f"storage was away for {self._seconds:g} s: {error}") from error
            if loop.time() - logged > LOG_SECONDS:
                logged = loop.time()
                logger.warning("storage cannot be reached, trying for %.0f s more: %s", left, error)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), min(next(pauses), left))

    async def unless_left(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Return what work for the opening returns; where the engine is left meanwhile, cancel it and return None."""
        task = asyncio.ensure_future(work)
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait([task, closing], return_when=asyncio.FIRST_COMPLETED)
        finally:
            closing.cancel()
            if not task.done():
                task.cancel()
                await wait_ignoring_cancellation(task)
        return None if task.cancelled() else task.result()
