"""A state machine's limits over all processes, and what waits for them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from enum import Enum
from typing import Any, Final, Literal, TypeAlias

import attrs

from statechain.arguments import DURATION, Argument, count_from
from statechain.clock import as_duration

__all__ = [
    "CONCURRENCY",
    "KEY",
    "MOST_PRIORITY",
    "PER_KEY",
    "PRIORITY",
    "RATE",
    "UNCHANGED",
    "LimitName",
    "LimitWait",
    "MachineLimits",
    "Queue",
    "Unchanged",
]

LimitName: TypeAlias = Literal["max_concurrency", "rate", "max_concurrency_per_key"]


class Unchanged(Enum):
    """The type of `UNCHANGED`."""

    UNCHANGED = "unchanged"

    def __repr__(self) -> str:
        return "UNCHANGED"


UNCHANGED: Final = Unchanged.UNCHANGED
"""The default of a limit: it stays as it is. None would remove it."""

MOST_KEY = 80
MOST_PRIORITY = 9999

CONCURRENCY = count_from(0).or_none()
PER_KEY = count_from(1).or_none()
KEY = Argument(
    "a string of 1 to 80 printable characters",
    lambda value: isinstance(value, str) and 1 <= len(value) <= MOST_KEY and value.isprintable(),
    is_setting=True,
)
PRIORITY = Argument(
    f"a whole number from -{MOST_PRIORITY} to {MOST_PRIORITY}",
    # True is a whole number to Python, and no priority.
    lambda value: isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MOST_PRIORITY,
)


def _is_rate(value: object) -> bool:
    # A string or bytes of two characters are a sequence of two, too.
    if not isinstance(value, Sequence) or isinstance(value, str | bytes | bytearray) or len(value) != 2:
        return False
    count, period = value
    return count_from(1).accepts(count) and DURATION.accepts(period) and as_duration(period) > timedelta(0)


RATE = Argument("(n, seconds): n of at least 1, seconds or a timedelta above 0", _is_rate, is_setting=True).or_none()


def _to_rate(value: Any) -> Any:  # noqa: ANN401 -- what is no rate is left to the validator
    return (value[0], as_duration(value[1]).total_seconds()) if value is not None and _is_rate(value) else value


@attrs.frozen(kw_only=True)
class MachineLimits:
    """How many executions of a state machine run at once, and how many are taken up in a time, over all processes.

    Attributes:
        max_concurrency: How many run at once; 0 pauses the machine, None is any number.

        rate: ``(n, seconds)``: in no stretch of that many seconds more than n are taken up; None is any number.

        max_concurrency_per_key: How many with the same ``key`` run at once; None is any number.
    """

    max_concurrency: int | None = attrs.field(default=None, validator=CONCURRENCY)
    rate: tuple[int, float] | None = attrs.field(default=None, converter=_to_rate, validator=RATE)
    max_concurrency_per_key: int | None = attrs.field(default=None, validator=PER_KEY)

    def __bool__(self) -> bool:
        """Return whether there is any limit."""
        # A max_concurrency of 0 is a limit, too: it pauses the machine.
        return self != _UNLIMITED

    def __str__(self) -> str:
        parts = [] if self.max_concurrency is None else [f"{self.max_concurrency} at once"]
        if self.max_concurrency_per_key is not None:
            parts.append(f"{self.max_concurrency_per_key} at once for each key")
        if self.rate is not None:
            count, seconds = self.rate
            parts.append(f"{count} in {seconds:g} s")
        return ", ".join(parts) or "no limits"


_UNLIMITED = MachineLimits()


@attrs.frozen(kw_only=True)
class Queue:
    """The executions of a state machine with limits, or of one that had limits and has executions left that waited.

    Attributes:
        state_machine_id: The machine.

        limits: Its limits as they are now.

        waiting: How many RUNNING executions no worker runs yet, because of the limits or for want of a free worker.

        running: How many executions workers run; one that rests in a Wait state, or waits for an answer, is among them.
    """

    state_machine_id: str
    limits: MachineLimits
    waiting: int
    running: int


@attrs.frozen(kw_only=True)
class LimitWait:
    """Why an execution of a state machine with limits has not been taken up by a worker.

    Attributes:
        limit: The limit that it waits for; None where it waits for its turn, or for a worker with a free slot.

        queue: The machine's limits, and how many executions wait and run.
    """

    limit: LimitName | None
    queue: Queue

    def __str__(self) -> str:
        queue = self.queue
        behind = f"{queue.running} run, {queue.waiting} wait"
        if self.limit is None:
            return f"waits for its turn or a free worker ({queue.limits}; {behind})"
        return f"waits for {self.limit} ({queue.limits}; {behind})"
