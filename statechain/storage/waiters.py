"""Futures for whoever waits for a commit: a cancellation does not reach them at once, for the commit goes on."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from statechain.cancellation import GRACE
from statechain.errors import StatechainError

__all__ = ["CallersWaiter", "Waiter", "settle"]

T = TypeVar("T")


class Waiter(asyncio.Future[T]):
    """A future that cannot be cancelled: a cancelled task goes on waiting for it, and is cancelled then."""

    def cancel(self, msg: object = None) -> bool:  # noqa: ARG002
        """Refuse."""
        return False


class CallersWaiter(Waiter[T]):
    """A waiter that gives up `GRACE` seconds after it is cancelled, for a task that is not the engine's own."""

    _is_cancelled = False

    def cancel(self, msg: object = None) -> bool:  # noqa: ARG002
        """Refuse for a while."""
        if not (self._is_cancelled or self.done()):
            self._is_cancelled = True
            self.get_loop().call_later(GRACE, asyncio.Future.cancel, self)
        return False


def settle(waiter: Waiter[object], outcome: object) -> None:
    """Give a waiter the outcome of its write; an error is raised where it waits."""
    if waiter.done():
        return
    if isinstance(outcome, StatechainError):
        waiter.set_exception(outcome)
        waiter.exception()  # its task may be gone: that is no "exception was never retrieved"
    else:
        waiter.set_result(outcome)
