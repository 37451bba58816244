"""Visit rows without their payloads, and how they are read: an execution of any size, in pages of bounded memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Protocol

import attrs

from statechain.records.executions import retries_in
from statechain.storage.retrying import retry_while_unavailable

if TYPE_CHECKING:
    from statechain.records.executions import Visit

__all__ = ["SHORT_DETAIL", "VisitOutline", "outline", "read_outlines"]

PAGE = 500

SHORT_DETAIL = 2048
"""How many characters of JSON text a visit's detail may have to be part of its outline."""


class Outlines(Protocol):
    """The part of `Repository` that reads outlines."""

    async def visit_outlines(self, execution_id: str, *, after: int = 0, page: int) -> Sequence[VisitOutline]:
        """Return the outlines of an execution's rows after a place, in order, at most a page."""


@attrs.frozen(kw_only=True)
class VisitOutline:
    """A visit row without its payloads, so that an execution of any size can be looked through in little memory.

    Attributes:
        place: Counts the execution's rows from 1, in the order in which they were written.

        frame: As in `Visit`, like all fields that are not named here.

        has_output: Whether the row has an output.

        has_detail: Whether the row has a detail.

        detail: The detail where it has at most `SHORT_DETAIL` characters; a longer one is in the whole row.
    """

    place: int
    frame: str
    number: int
    state: str
    type: str
    entered: datetime
    exited: datetime | None
    entered_event: int
    exited_event: int
    has_output: bool
    error: str | None
    next: str | None
    has_detail: bool
    detail: str | None = attrs.field(repr=False)

    @property
    def retries(self) -> int:
        """How often the state was tried again within this visit; 0 where the detail is long."""
        return retries_in(self.detail)


def outline(visit: Visit, place: int) -> VisitOutline:
    """Return a visit row, the ``place``-th of its execution, without its payloads."""
    return VisitOutline(
        place=place,
        frame=visit.frame,
        number=visit.number,
        state=visit.state,
        type=visit.type,
        entered=visit.entered,
        exited=visit.exited,
        entered_event=visit.entered_event,
        exited_event=visit.exited_event,
        has_output=visit.has_output,
        error=visit.error,
        next=visit.next,
        has_detail=visit.detail is not None,
        # As in SQL: a long detail is not loaded.
        detail=visit.detail if visit.detail is not None and len(visit.detail) <= SHORT_DETAIL else None,
    )


async def read_outlines(repository: Outlines, execution_id: str) -> AsyncIterator[VisitOutline]:
    """Yield the outlines of an execution's visit rows in order, a page in memory at a time; wait out an outage."""
    after = 0
    while page := await retry_while_unavailable(
        partial(repository.visit_outlines, execution_id, after=after, page=PAGE)
    ):
        for row in page:
            yield row
        after = page[-1].place
        if len(page) < PAGE:
            return
