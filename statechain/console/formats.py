"""Values → what pages show: times, durations, counts, and the sentences after an action."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from statechain.drawing.picture import printable, shortened, spoken
from statechain.records.batches import Batch
from statechain.records.executions import Execution
from statechain.records.json_shapes import instant

__all__ = ["DONE", "FILTERS", "counted", "pretty"]

DONE = {
    "stopped": "Stopped.",
    "redriven": "Redriven: it runs again.",
    "deleted": "Deleted.",
    "started": "Started.",
    "answered": "Answered: the task goes on.",
    "failed": "Answered: the task has failed.",
    "batch_stopped": "The batch is stopped.",
    "batch_started": "The batch has started.",
    "batch_resumed": "The batch goes on.",
    "batch_redriven": "What failed of the batch runs again.",
}
"""The sentences that an action's page may show: a URL names one, and can show no other text."""


def moment(at: datetime | None) -> str:
    """Return a time in UTC, to the second."""
    return "" if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def clock(at: datetime, since: datetime | None = None) -> str:
    """Return a time of the day in UTC, to the millisecond; with its date where that is not the day of ``since``."""
    at = at.astimezone(UTC)
    is_same_day = since is None or since.astimezone(UTC).date() == at.date()
    return at.strftime("%H:%M:%S.%f" if is_same_day else "%Y-%m-%d %H:%M:%S.%f")[:-3]


def took(record: Execution | Batch) -> str:
    """Return how long something took, or has taken by now, to the second."""
    if record.end_time is not None:
        return spoken((record.end_time - record.start_time).total_seconds())
    return ago(record.start_time)


def ago(at: datetime | None) -> str:
    """Return how long ago a moment was, to the second."""
    if at is None:
        return "unknown"
    seconds = max(0, int((datetime.now(UTC) - at).total_seconds()))
    return spoken(float(seconds)) if seconds else "0 s"


def seconds(value: float | None) -> str:
    """Return a duration."""
    return "-" if value is None else spoken(value)


def count(value: int) -> str:
    """Return a number with its thousands apart."""
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def counted(number: int, what: str) -> str:
    """Return a number with what it counts: one execution, 1,000 executions."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def pretty(text: str) -> str:
    """Return a JSON text indented; one that is no JSON as it is."""
    try:
        return printable(json.dumps(json.loads(text), indent=2, ensure_ascii=False))
    except (ValueError, RecursionError):
        return printable(text)


FILTERS: dict[str, Any] = {
    "moment": moment,
    "clock": clock,
    "instant": instant,
    "took": took,
    "ago": ago,
    "seconds": seconds,
    "count": count,
    "pretty": pretty,
    "printable": printable,
    "shortened": shortened,
}
