"""What is resolved by the outcome of a commit: futures for tasks, and what goes on without one.

A cancellation does not reach a future's task at once, for the commit goes on.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, TypeVar

from statechain.cancellation import GRACE
from statechain.errors import StatechainError

__all__ = ["NO_WAITER", "CallersWaiter", "Waiter", "Waiting", "both"]

T = TypeVar("T")


class Waiting(Protocol):
    """What waits for a commit."""

    def resolve(self, outcome: object) -> None:
        """Take the outcome of the write: an error where it is a StatechainError. Called once, and does not raise."""


class Waiter(asyncio.Future[T]):
    """A future that cannot be cancelled: a cancelled task goes on waiting for it, and is cancelled then."""

    def cancel(self, msg: object = None) -> bool:  # noqa: ARG002
        """Refuse."""
        # asyncio then marks the task, and cancels it at its next step: once this future is done.
        return False

    def resolve(self, outcome: object) -> None:
        """Set the outcome of the write; an error is raised where the future is awaited."""
        if self.done():
            return
        if isinstance(outcome, StatechainError):
            self.set_exception(outcome)
            self.exception()  # its task may be gone: that is no "exception was never retrieved"
        else:
            self.set_result(outcome)  # type: ignore[arg-type]  # a write's outcome is what its waiter is for


class CallersWaiter(Waiter[T]):
    """A waiter that gives up `GRACE` seconds after it is cancelled, for a task that is not the engine's own."""

    _is_cancelled = False

    def cancel(self, msg: object = None) -> bool:  # noqa: ARG002
        """Refuse for a while."""
        if not (self._is_cancelled or self.done()):
            self._is_cancelled = True
            # The cancel of the base class, past this refusal.
            self.get_loop().call_later(GRACE, asyncio.Future.cancel, self)
        return False


class _NoWaiter:
    """Represents a write that nothing waits for."""

    def resolve(self, outcome: object) -> None:
        """Drop the outcome: an error shows at the execution's next write."""


NO_WAITER = _NoWaiter()


class _Several:
    """All that wait for the same write, in the order in which they came: as many as an execution has branches."""

    __slots__ = ("_waiting",)

    def __init__(self, first: Waiting) -> None:
        self._waiting = [first]

    def add(self, waiting: Waiting) -> None:
        self._waiting.append(waiting)

    def resolve(self, outcome: object) -> None:
        """Resolve all."""
        for each in self._waiting:
            each.resolve(outcome)


def both(first: Waiting, second: Waiting) -> Waiting:
    """Return what resolves both."""
    if first is NO_WAITER:
        return second
    several = first if isinstance(first, _Several) else _Several(first)
    several.add(second)
    return several
