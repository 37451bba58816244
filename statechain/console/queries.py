"""A page's URL → a filter, a window, a place in a list; and back."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import attrs

from statechain.clock import EPOCH, from_micros, to_micros
from statechain.errors import InvalidArgument
from statechain.records.executions import ExecutionStatus
from statechain.records.filters import Cursor, ExecutionFilter

if TYPE_CHECKING:
    from starlette.datastructures import ImmutableMultiDict

__all__ = [
    "WINDOWS",
    "ExecutionQuery",
    "Window",
    "command_line",
    "cursor_at",
    "moment_of",
    "number",
    "place_at",
    "statuses",
    "window_of",
]

AGO = re.compile(r"(\d{1,9})\s*([smhdw])", re.ASCII)
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
WINDOWS = {"1h": timedelta(hours=1), "24h": timedelta(days=1), "7d": timedelta(days=7), "30d": timedelta(days=30)}
INTERVALS = {"1h": 60, "24h": 48, "7d": 56, "30d": 60}
"""How many intervals a window has: a minute, half an hour, three hours, half a day each."""

PARTS = {"1h": 1, "24h": 4, "7d": 7, "30d": 15}
"""In how many parts a window is counted."""


@attrs.frozen
class Window:
    """A stretch of time until now, by its name. It begins and ends at full intervals; the last one is not over yet."""

    name: str
    begin: datetime
    end: datetime

    def intervals(self) -> list[Window]:
        """Return the intervals that it is shown in."""
        return self._split(INTERVALS[self.name])

    def parts(self) -> list[Window]:
        """Return the parts that it is counted in."""
        return self._split(PARTS[self.name])

    def _split(self, count: int) -> list[Window]:
        step = (self.end - self.begin) / count
        return [Window(self.name, self.begin + step * place, self.begin + step * (place + 1)) for place in range(count)]


def window_of(name: str | None) -> Window:
    """Return a window; the last day where the name is none of `WINDOWS`."""
    chosen = name if name in WINDOWS else "24h"
    interval = WINDOWS[chosen] / INTERVALS[chosen]
    # At full intervals, so that requests ask the same questions for a while, and find the counts that were kept.
    end = EPOCH + ((datetime.now(UTC) - EPOCH) // interval + 1) * interval
    return Window(chosen, end - WINDOWS[chosen], end)


def number(text: str | None, default: int) -> int:
    """Return a whole number of a query, or what represents one that is missing or wrong."""
    # 18 digits fit into a BIGINT.
    return int(text) if text is not None and re.fullmatch(r"-?\d{1,18}", text, re.ASCII) else default


@attrs.frozen(kw_only=True)
class ExecutionQuery:
    """A filter of executions as a URL has it: what was typed, checked when the filter is made."""

    status: tuple[str, ...] = ()
    machine: str = ""
    text: str = ""
    state: str = ""
    since: str = ""
    until: str = ""
    order: str = ""
    after: str = ""

    @classmethod
    def of(cls, given: ImmutableMultiDict[str, Any]) -> ExecutionQuery:
        """Return the query of a URL, or of a form that repeats it."""
        names = [field.name for field in attrs.fields(cls) if field.name != "status"]
        statuses = tuple(str(each) for each in given.getlist("status") if each)
        return cls(status=statuses, **{name: str(given.get(name, "")).strip() for name in names})

    @property
    def is_empty(self) -> bool:
        """Whether it leaves everything open."""
        return attrs.evolve(self, order="", after="") == ExecutionQuery()

    def pairs(self, **changes: object) -> list[tuple[str, object]]:
        """Return the query's names and values, some of them changed."""
        values = {**attrs.asdict(self), **changes}
        statuses = values.pop("status")
        return [("status", each) for each in statuses] + [(name, value) for name, value in values.items() if value]

    def filter(self) -> ExecutionFilter:
        """Return the filter. Raises ValueError with what is wrong."""
        return ExecutionFilter(
            status=self.status or None,
            state_machine_id=self.machine or None,
            text=self.text or None,
            current_state=self.state or None,
            start_after=moment_of("Started after", self.since),
            start_before=moment_of("Started before", self.until),
            order="oldest_first" if self.order == "oldest_first" else "newest_first",
        )

    def cursor(self) -> Cursor | None:
        """Return the place that the page begins after; None for the first page."""
        return cursor_at(self.after)

    def command(self, name: str | None) -> str:
        """Return the command line that lists the same."""
        options = [*(("--status", each) for each in self.status)]
        given = (
            ("--state-machine", name or self.machine),
            ("--text", self.text),
            ("--current-state", self.state),
            ("--start-after", self.since),
            ("--start-before", self.until),
            ("--order", self.order),
        )
        options += [(option, value) for option, value in given if value]
        return command_line("list", *(part for option in options for part in option))


def place_at(moment: datetime, id_: str) -> str:
    """Return the place of a record in a list by time, which the next page begins after."""
    return f"{to_micros(moment)}_{id_}"


def cursor_at(place: str) -> Cursor | None:
    """Return the place that `place_at` wrote; None without one. Raises ValueError where it wrote no such string."""
    if not place:
        return None
    micros, _, id_ = place.partition("_")
    if not id_ or not re.fullmatch(r"-?\d{1,17}", micros, re.ASCII):
        raise InvalidArgument("the page's place (after) is not one that this console made")
    return Cursor(from_micros(int(micros)), id_)


def command_line(*parts: str) -> str:
    """Return a command of statechain, quoted for a shell."""
    return " ".join(["statechain", *(_quoted(part) for part in parts)])


def _quoted(part: str) -> str:
    return part if re.fullmatch(r"[\w@%+=:,./-]+", part, re.ASCII) else "'" + part.replace("'", "'\"'\"'") + "'"


def statuses() -> Sequence[str]:
    """Return the statuses, for a form."""
    return [str(each) for each in ExecutionStatus]


def moment_of(field: str, text: str) -> datetime | None:
    """Return the moment that a field of a form means; None where it is empty. Raises ValueError with what is wrong."""
    if not text:
        return None
    ago = AGO.fullmatch(text)
    try:
        if ago is not None:
            return datetime.now(UTC) - timedelta(**{UNITS[ago[2]]: int(ago[1])})
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise InvalidArgument(
            f"{field}: {text!r} is neither a time (2026-01-31T12:00) nor how long ago (90m, 2h, 7d)"
        ) from None
    # Forms have no timezone: it is UTC, as in all that pages show.
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
