"""Which Retrier or Catcher answers an error, and how long to wait (ASL, "Errors"). Pure functions of values.

AWS reports a missed heartbeat as ``States.Timeout``, in events and as the execution's error, while Retry and Catch
match it as ``States.HeartbeatTimeout`` too: a `HeartbeatTimeout` has both names.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from statechain.errors import StateError

if TYPE_CHECKING:
    from random import Random

    from statechain.asl.model import Retrier

__all__ = ["RUNTIME", "TIMEOUT", "TIMEOUTS", "HeartbeatTimeout", "catcher_for", "matches", "retry_delay"]

RUNTIME = "States.Runtime"
"""The error that always ends the execution: no Retrier and no Catcher answers it, even by its name."""

TIMEOUT = "States.Timeout"
HEARTBEAT_TIMEOUT = "States.HeartbeatTimeout"
TIMEOUTS = frozenset({TIMEOUT, HEARTBEAT_TIMEOUT})
LONGEST_DELAY = 31_536_000.0
"""Seconds; AWS lets no execution live longer than a year."""


class HeartbeatTimeout(StateError):
    """No heartbeat came in time: reported as ``States.Timeout``, matched as ``States.HeartbeatTimeout`` too."""

    def __init__(self, cause: str | None = None) -> None:
        super().__init__(TIMEOUT, cause)


class HasErrorEquals(Protocol):
    """A Retrier or a Catcher."""

    @property
    def error_equals(self) -> Sequence[str]:
        """The error names that it answers."""


AnswerT = TypeVar("AnswerT", bound=HasErrorEquals)


def matches(error_equals: Collection[str], error: StateError) -> bool:
    """Return whether a list of error names, wildcards included, means this error."""
    if error.error == RUNTIME:
        return False
    if isinstance(error, HeartbeatTimeout) and HEARTBEAT_TIMEOUT in error_equals:
        return True
    return any(name == error.error or _is_wildcard_for(name, error.error) for name in error_equals)


def _is_wildcard_for(name: str, error: str | None) -> bool:
    if name == "States.ALL":
        return True
    # AWS: `States.TaskFailed` matches any error but `States.Timeout`.
    return error in TIMEOUTS if name == TIMEOUT else name == "States.TaskFailed" and error not in TIMEOUTS


def catcher_for(catchers: Iterable[AnswerT], error: StateError) -> AnswerT | None:
    """Return the first Catcher that means this error."""
    return next((catcher for catcher in catchers if matches(catcher.error_equals, error)), None)


def retry_delay(retriers: Sequence[Retrier], counts: list[int], error: StateError, random: Random) -> float | None:
    """Count one more retry of the first Retrier that means this error; return the seconds to wait before it.

    ``counts`` holds the retries used so far, one for each Retrier. Returns None where no Retrier means the error,
    or the one that does is used up.
    """
    for index, retrier in enumerate(retriers):
        if matches(retrier.error_equals, error):
            if counts[index] >= retrier.max_attempts:
                return None
            delay = _backoff(retrier, counts[index])
            counts[index] += 1
            # "Full jitter": anything up to the delay, so that attempts which failed together do not come back together.
            return random.uniform(0, delay) if retrier.jitter_strategy == "FULL" else delay
    return None


def _backoff(retrier: Retrier, retries: int) -> float:
    longest = LONGEST_DELAY if retrier.max_delay_seconds is None else float(retrier.max_delay_seconds)
    try:
        return min(retrier.interval_seconds * retrier.backoff_rate**retries, longest)
    # A float's power overflows after enough retries; the delay is long past its bound then.
    except OverflowError:
        return longest
