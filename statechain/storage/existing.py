"""Whether what a caller names exists: a filter for a machine that does not exist would find nothing, silently."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import attrs

from statechain.errors import ExecutionNotFound, StateMachineNotFound
from statechain.records import ExecutionStatus
from statechain.storage.retrying import retry_while_unavailable

if TYPE_CHECKING:
    from statechain.filters import ExecutionFilter
    from statechain.storage.repository import Repository

__all__ = ["require_execution", "require_machine", "require_machines", "why_nothing_matches"]


async def require_machine(repository: Repository, argument: str, id_: str | None) -> None:
    """Raise StateMachineNotFound where an argument is not the id of a state machine."""
    if id_ is None:
        return
    record = await retry_while_unavailable(partial(repository.state_machine, id_))
    if record is None:
        raise StateMachineNotFound(f"{argument} is {id_!r}: there is no state machine with this id")
    if record.id != id_:
        raise StateMachineNotFound(
            f"{argument} is {id_!r}, the name of a state machine: give its id, {record.id!r}, or the machine itself"
        )


async def require_machines(repository: Repository, filter_: ExecutionFilter) -> None:
    """Raise StateMachineNotFound where a filter names a state machine that does not exist."""
    await require_machine(repository, "state_machine_id", filter_.state_machine_id)
    if filter_.unchained_to is not None:
        await require_machine(repository, "unchained_to", filter_.unchained_to.to)


async def require_execution(repository: Repository, argument: str, id_: str | None) -> None:
    """Raise ExecutionNotFound where an argument is not the id of an execution."""
    if id_ is not None and await repository.execution(id_) is None:
        raise ExecutionNotFound(f"{argument} is {id_!r}: there is no execution with this id")


async def why_nothing_matches(repository: Repository, filter_: ExecutionFilter) -> str:
    """Return why a filter matches no execution: what is left without its status, its chains, or its other fields."""
    if filter_.limit == 0:
        return "limit is 0"
    matching = await repository.count_executions(filter_)
    if matching:
        return f"offset {filter_.offset} skips all {matching} that match"
    if filter_.unchained_to is not None:
        chained = await repository.count_executions(attrs.evolve(filter_, unchained_to=None))
        if chained:
            return f"all {chained} that match are chained to {filter_.unchained_to.to!r} already"
    by_status = await _by_status(repository, filter_)
    if by_status and filter_.status is not None:
        wanted = " or ".join(sorted(filter_.status)) or "no status at all"
        return f"none is {wanted}: the filter's other fields leave {by_status}"
    fields = [name for name in _NARROWING if getattr(filter_, name) is not None]
    stored = await _by_status(repository, type(filter_)())
    if not stored:
        return "there are no executions in this storage"
    return f"the storage has {stored}, and none matches {' and '.join(fields)}"


_NARROWING = ("state_machine_id", "name", "text", "current_state", "start_after", "start_before", "unchained_to")


async def _by_status(repository: Repository, filter_: ExecutionFilter) -> str:
    """Return how many executions of which status a filter leaves whose status plays no part, as words."""
    counts = [
        (await repository.count_executions(attrs.evolve(filter_, status=status)), status) for status in ExecutionStatus
    ]
    return ", ".join(f"{count} {status}" for count, status in counts if count)
