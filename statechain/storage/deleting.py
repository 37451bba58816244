"""What a filter means → deletions that may be repeated: its keys are read, and each page of them is named in a write.

Nothing is deleted but what was read, so that a lost reply changes neither what goes nor how it is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

import attrs

from statechain.records.executions import TERMINAL
from statechain.records.filters import Cursor, ExecutionFilter, ExecutionKey
from statechain.storage.paging import pages
from statechain.storage.retrying import retry_while_unavailable

if TYPE_CHECKING:
    from statechain.storage.journal.journal import Journal
    from statechain.storage.repository import Repository

__all__ = ["delete_ended"]

PAGE = 500
"""How many executions go in one transaction, for which all other writes wait."""


async def delete_ended(repository: Repository, journal: Journal, filter_: ExecutionFilter) -> int:
    """Delete the ended executions that a filter means, to which its limit and offset apply; return how many are gone.

    An outage between two pages is waited out, as the journal does it: what was deleted before is not to go uncounted.
    """

    async def read(filter_: ExecutionFilter, *, after: Cursor | None, page: int) -> Sequence[ExecutionKey]:
        return await retry_while_unavailable(lambda: repository.execution_keys(filter_, after=after, page=page))

    ended = attrs.evolve(filter_, status=TERMINAL if filter_.status is None else filter_.status & TERMINAL)
    async with aclosing(pages(read, ended, PAGE)) as found:
        if filter_.unchained_to is None:
            return sum([await _delete(journal, page) async for page in found])
        # To delete a chain makes its source unchained, which would appear on a later page: all is read before.
        return sum([await _delete(journal, page) for page in [page async for page in found]])


async def _delete(journal: Journal, page: Sequence[ExecutionKey]) -> int:
    from statechain.storage.writes import DeleteExecutions  # noqa: PLC0415 -- loaded by the first engine

    # The redrive count that was read: one that is redriven before the write comes is not deleted.
    return await journal.write_for_caller(DeleteExecutions(redrive_counts={key.id: key.redrive_count for key in page}))
