"""Counts for a page, within a budget of time: what costs much is kept a while, and what is missing comes with a poll.

To count a million executions takes a database some hundred milliseconds. So a window is counted in parts. A request
counts parts until its budget is spent; the page then says that it is not complete, and asks again. A count is kept for
some times as long as it took: polls of a large storage use a small share of the database's time.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias, cast

import attrs

from statechain.clock import MICROSECOND
from statechain.records.executions import DurationStatistics, ExecutionStatus
from statechain.reports import Activity, durations_of

if TYPE_CHECKING:
    from starlette.requests import Request

    from statechain.console.queries import Window
    from statechain.storage.repository import Repository

__all__ = ["COUNTS", "Counts", "activity_in_intervals", "activity_of_machines"]

COUNTS = "statechain_counts"
"""Where a console's state has its `Counts`."""

BUDGET = 0.12
"""How many seconds a request spends on counting before it leaves the rest to the next one."""

# One that is quicker is not worth its place.
WORTH_KEEPING = 0.005
KEPT_FOR, MOST_KEPT_FOR = 100, 60.0
"""For how many times as long as it took a count is kept, and for how many seconds at most."""

MOST_KEPT = 10_000
AT_ONCE = 4
FEW, MANY = 100, 500
"""Of how many executions durations are read: in one interval of many, and in a whole window."""

Found: TypeAlias = "Mapping[ExecutionStatus, int] | DurationStatistics"


@attrs.frozen
class Count:
    """What is asked of the executions that were started in a stretch of time.

    Attributes:
        machine: Only those of this state machine.

        begin: Where the stretch begins.

        end: Where it ends (exclusive).

        most: Of how many of the newest that have ended the durations are asked; None: how many have each status.
    """

    machine: str | None
    begin: datetime
    end: datetime
    most: int | None = None

    async def read(self, repository: Repository) -> Found:
        """Return the answer."""
        after, machine = self.begin - MICROSECOND, self.machine  # a repository's bounds are exclusive
        if self.most is None:
            return await repository.count_by_status(state_machine_id=machine, start_after=after, start_before=self.end)
        return durations_of(
            await repository.durations(
                state_machine_id=machine, start_after=after, start_before=self.end, most=self.most
            )
        )


class Counts:
    """The answers that were worth keeping; a console has one for all of its requests."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Count, tuple[Found, float]] = OrderedDict()

    async def read(self, repository: Repository, wanted: Sequence[Count]) -> dict[Count, Found]:
        """Return as many answers as the budget allows, in the order of the questions, and what was kept."""
        now = time.monotonic()
        # A count that is out of date is shown as well, until the budget has room for it.
        found = {each: self._kept[each][0] for each in wanted if each in self._kept}
        # One iterator for all tasks: each question is asked once.
        missing = iter([each for each in wanted if each not in found or self._kept[each][1] < now])

        async def answer() -> None:
            for each in missing:
                began = time.monotonic()
                if began > now + BUDGET:
                    return
                found[each] = await each.read(repository)
                self._keep(each, found[each], time.monotonic() - began)

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(answer())
        return found

    def _keep(self, count: Count, found: Found, took: float) -> None:
        self._kept.pop(count, None)
        if took < WORTH_KEEPING:
            return
        self._kept[count] = found, time.monotonic() + min(MOST_KEPT_FOR, KEPT_FOR * took)
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)


async def activity_of_machines(
    request: Request, repository: Repository, window: Window, machines: Sequence[str]
) -> list[Activity | None]:
    """Return the activity of each of some machines in a window; None for those that are not counted yet."""
    parts = window.parts()

    def questions(machine: str) -> Iterator[Count]:
        yield from (Count(machine, part.begin, part.end) for part in parts)
        yield Count(machine, window.begin, window.end, MANY)

    wanted = [list(questions(machine)) for machine in machines]
    found = await _counts(request).read(repository, [each for one in wanted for each in one])
    return [_joined(window, [found.get(each) for each in one]) for one in wanted]


async def activity_in_intervals(
    request: Request, repository: Repository, window: Window, machine: str | None
) -> list[Activity | None]:
    """Return the activity in each interval of a window; None for what is not counted yet, the newest comes first."""
    intervals = window.intervals()
    wanted = [[Count(machine, each.begin, each.end), Count(machine, each.begin, each.end, FEW)] for each in intervals]
    found = await _counts(request).read(repository, [each for one in reversed(wanted) for each in one])
    return [_joined(each, [found.get(count) for count in one]) for each, one in zip(intervals, wanted, strict=True)]


def _counts(request: Request) -> Counts:
    return cast("Counts", getattr(request.app.state, COUNTS))


def _joined(window: Window, found: Sequence[Found | None]) -> Activity | None:
    """Return the activity that the counts of parts, and last the durations, amount to; None where one is missing."""
    if None in found:
        return None
    *parts, durations = found
    counts = {status: sum(cast("Mapping[ExecutionStatus, int]", part)[status] for part in parts)
              for status in ExecutionStatus}  # fmt: skip
    return Activity(begin=window.begin, end=window.end, counts=counts, durations=cast("DurationStatistics", durations))
