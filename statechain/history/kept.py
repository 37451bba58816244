"""The indexes of ended histories that were read last: who pages through a long one does not have it read each time."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from datetime import datetime

    from statechain.history.index import Index
    from statechain.records.executions import Execution

__all__ = ["KeptIndexes"]

Key: TypeAlias = "tuple[str, int, datetime]"

LEAST_EVENTS = 1_000
"""From how many events on an index is worth keeping."""

MOST_EVENTS = 60_000
"""How many events the kept indexes have together: some megabytes of memory."""


class KeptIndexes:
    """Indexes by execution and redrive count; what has ended changes no more until it is redriven.

    Arguments:
        most_events: How many events they have together.
    """

    def __init__(self, *, most_events: int = MOST_EVENTS) -> None:
        self._most_events = most_events
        self._kept: OrderedDict[Key, Index] = OrderedDict()

    def find(self, execution: Execution) -> Index | None:
        """Return the index of an execution, where it was kept and nothing has happened since."""
        key = _key(execution)
        if key is None or key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key]

    def keep(self, execution: Execution, index: Index) -> None:
        """Keep an index, and as many of those before it as there is room for."""
        key = _key(execution)
        # A short one is read again as fast, and one that is too long would drop all others.
        if key is None or not LEAST_EVENTS <= len(index.ids) <= self._most_events:
            return
        self._kept[key] = index
        while sum(len(each.ids) for each in self._kept.values()) > self._most_events:
            self._kept.popitem(last=False)


def _key(execution: Execution) -> Key | None:
    end = execution.end_time
    # What runs grows with each event.
    return None if end is None else (execution.id, execution.redrive_count, end)
