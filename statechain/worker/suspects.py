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
    from statechain.execution.running import RunningExecution
    from statechain.limits import Limits
    from statechain.records.executions import Claim

__all__ = ["Trials", "backoff", "deaths_alone", "group_size", "is_poisoned"]

GROUPS = (32, 8, 2)
"""How many suspects a worker tries at once after their first death, their second and third; from then on one."""

LONGEST_TRIAL = 600.0
"""After that many seconds a suspect that still runs keeps no other one from being tried."""


def group_size(deaths: int) -> int:
    """Return beside how many suspects, itself included, one with that many deaths may run."""
    return GROUPS[deaths - 1] if deaths <= len(GROUPS) else 1


def deaths_alone(deaths: int) -> int:
    """Return how many of the deaths came while it was the only suspect in its worker."""
    return max(0, deaths - len(GROUPS) - 1)


def backoff(deaths: int, limits: Limits) -> timedelta:
    """Return how long after that many deaths an execution is not taken up."""
    # Bounded before the power, so that many deaths do not make a number that is too large for a timedelta.
    doublings = min(deaths - 1, 32)
    return timedelta(seconds=min(limits.suspect_backoff_seconds * 2**doublings, limits.suspect_backoff_longest_seconds))


def is_poisoned(claim: Claim, limits: Limits) -> bool:
    """Return whether an execution has died alone so often, and been a suspect for so long, that it ends."""
    return deaths_alone(claim.claims) >= limits.claims and claim.suspected.total_seconds() >= limits.suspect_seconds


@attrs.frozen
class _Trial:
    live: RunningExecution
    size: int
    until: float

    @property
    def is_running(self) -> bool:
        return not (self.live.is_over or self.live.has_advanced)


class Trials:
    """The suspects that one worker tries at present.

    A suspect is cleared once it makes progress, or waits. One that has run for `LONGEST_TRIAL` makes room for others,
    so that a long handler does not keep them waiting; what is tried beside it is not blamed.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._trials: list[_Trial] = []

    @property
    def are_over(self) -> bool:
        """Whether no suspect runs that is not cleared."""
        return not any(trial.is_running for trial in self._trials)

    def room(self, deaths: int) -> int:
        """Return how many suspects with that many deaths may be tried beside those that are."""
        now = self._clock()
        self._trials = [trial for trial in self._trials if trial.is_running]
        sizes = [trial.size for trial in self._trials if now < trial.until]
        # The smallest group decides: one that is to die alone has no other suspect beside it.
        return max(0, min([group_size(deaths), *sizes]) - len(sizes))

    def begin(self, live: RunningExecution, deaths: int) -> None:
        """Note a suspect that is tried from now on."""
        self._trials.append(_Trial(live, group_size(deaths), self._clock() + LONGEST_TRIAL))
