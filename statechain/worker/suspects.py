"""Group testing of executions after whose take-up a worker died: the poison among them is found, the rest go on.

Any execution that was under way is suspected with the one that killed the worker. So suspects are tried again in groups
that shrink with each death: a group without the poison ends well and is cleared, and what remains in the end dies
alone. Between two trials of a suspect there is a backoff that doubles.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from statechain.execution.running import Live
    from statechain.limits import Limits
    from statechain.records import Claim

__all__ = ["Trials", "backoff", "deaths_alone", "group_size", "is_poisoned"]

GROUPS = (32, 8, 2)
"""How many suspects a worker tries at once after their first death, their second and third; from then on one."""


def group_size(deaths: int) -> int:
    """Return beside how many suspects, itself included, one with so many deaths may run."""
    return GROUPS[deaths - 1] if deaths <= len(GROUPS) else 1


def deaths_alone(deaths: int) -> int:
    """Return how many of the deaths came while it was the only suspect in its worker."""
    return max(0, deaths - len(GROUPS) - 1)


def backoff(deaths: int, limits: Limits) -> timedelta:
    """Return how long after so many deaths an execution is not taken up."""
    doublings = min(deaths - 1, 32)
    return timedelta(seconds=min(limits.suspect_backoff_seconds * 2**doublings, limits.suspect_backoff_longest_seconds))


def is_poisoned(claim: Claim, limits: Limits) -> bool:
    """Return whether an execution has died alone so often, and been a suspect for so long, that it ends."""
    return deaths_alone(claim.claims) >= limits.claims and claim.suspected.total_seconds() >= limits.suspect_seconds


@attrs.frozen
class _Trial:
    live: Live
    size: int
    until: float

    def is_on(self, now: float) -> bool:
        return not (self.live.is_over or self.live.has_advanced) and now < self.until


class Trials:
    """The suspects that one worker tries at present.

    A suspect is cleared once it makes progress, or waits. One that has run for ``suspect_seconds`` makes room for
    others, so that a long handler does not keep them waiting.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._trials: list[_Trial] = []

    def room(self, deaths: int) -> int:
        """Return how many suspects with so many deaths may be tried beside those that are."""
        now = self._clock()
        self._trials = [trial for trial in self._trials if trial.is_on(now)]
        smallest = min([group_size(deaths), *(trial.size for trial in self._trials)])
        return max(0, smallest - len(self._trials))

    def begin(self, live: Live, deaths: int) -> None:
        """Take note of a suspect that is tried from now on."""
        self._trials.append(_Trial(live, group_size(deaths), self._clock() + self._limits.suspect_seconds))
