"""Pages of executions for a query; one that looks for text goes through a part of them at a time.

No index finds text in the middle of a name, so that a search reads names one after the other. Each request reads a
bounded number, however few are found, and says where the next one goes on: it takes no longer in a storage of
any size.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import attrs

from statechain.console.queries import place_at
from statechain.storage.existing import with_machine_ids

if TYPE_CHECKING:
    from statechain.engine.engine import Engine
    from statechain.records.executions import Execution
    from statechain.records.filters import Cursor, ExecutionFilter, ExecutionKey

__all__ = ["Found", "find"]

BY_NAME = 200_000
"""How many executions a request looks through where the index of starts, which has the names, is read."""

BY_ROW = 10_000
"""How many where another index is read, and each name in its row."""

TICK = timedelta(microseconds=1)
LAST_ID = "~"
"""What no id is behind."""


@attrs.frozen
class Found:
    """A page of executions.

    Attributes:
        executions: Those that match.

        next: Where the next page begins; None where there is none.

        end: The key of the last execution that was looked at, where the search may find more behind it; else None.
    """

    executions: Sequence[Execution]
    next: str | None
    end: ExecutionKey | None = None


async def find(engine: Engine, wanted: ExecutionFilter, after: Cursor | None, size: int) -> Found:
    """Return a page of the executions that match a filter, behind a cursor."""
    if wanted.text is None:
        return _page(await engine.page_executions(wanted, after=after, size=size + 1), size)
    wanted = await with_machine_ids(engine.repository, wanted)
    end = await _end_of_part(engine, wanted, after)
    part = wanted if end is None else _narrowed(wanted, end.start_time, is_end=True)
    found = [] if part is None else list(await engine.repository.executions(part, after=after, page=size + 1))
    if end is None or len(found) > size:
        return _page(found, size)
    # On the first page alone: it is found in any part of the order.
    if after is None:
        named = await _by_id(engine, wanted)
        found = [*named, *(each for each in found if each not in named)]
    # The part has all executions of its last microsecond: the next one begins behind them.
    behind = end.start_time - TICK if wanted.order == "newest_first" else end.start_time
    return Found(found, place_at(behind, LAST_ID), end)


def _page(found: Sequence[Execution], size: int) -> Found:
    """Return a page of what was found; one execution more than a page has says that there is another page."""
    shown = found[:size]
    return Found(shown, place_at(shown[-1].start_time, shown[-1].id) if len(found) > size else None)


async def _end_of_part(engine: Engine, wanted: ExecutionFilter, after: Cursor | None) -> ExecutionKey | None:
    """Return the last execution that this request looks at; None where it looks at all that are left."""
    is_by_name = wanted.state_machine_id is None and wanted.current_state is None
    # The names of executions of any status are read, so that all of them count.
    all_of_them = attrs.evolve(wanted, text=None, status=None, offset=BY_NAME if is_by_name else BY_ROW)
    rest = all_of_them if after is None else _narrowed(all_of_them, after.start_time)
    # One key behind the offset: where this part ends, read from the index alone.
    keys = [] if rest is None else await engine.repository.execution_keys(rest, after=None, page=1)
    return keys[0] if keys else None


def _narrowed(wanted: ExecutionFilter, moment: datetime, *, is_end: bool = False) -> ExecutionFilter | None:
    """Return a filter of what begins at a moment, in its order, or ends there; None where that is nothing."""
    begin, end = wanted.start_after, wanted.start_before
    if (wanted.order == "newest_first") is is_end:
        # Bounds are exclusive: a tick further, the moment is inside.
        begin = max(moment - TICK, begin or moment - TICK)
    else:
        end = min(moment + TICK, end or moment + TICK)
    if begin is not None and end is not None and begin >= end:
        return None
    return attrs.evolve(wanted, start_after=begin, start_before=end)


async def _by_id(engine: Engine, wanted: ExecutionFilter) -> list[Execution]:
    """Return the execution whose id is the text, which needs no search."""
    execution = await engine.repository.execution(wanted.text or "")
    if execution is None or (wanted.status is not None and execution.status not in wanted.status):
        return []
    return [execution] if wanted.state_machine_id in {None, execution.state_machine_id} else []
