"""Lookups of what a caller names: a filter for a state machine that does not exist is an error, not an empty result."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import attrs

from statechain.errors import ExecutionNotFound, StateMachineNotFound
from statechain.records.executions import ExecutionStatus
from statechain.records.filters import ExecutionFilter, as_id
from statechain.storage.retrying import retry_while_unavailable

if TYPE_CHECKING:
    from statechain.records.filters import HasId
    from statechain.storage.repository import Repository

__all__ = ["machine_id", "optional_machine_id", "require_execution", "why_nothing_matches", "with_machine_ids"]


async def machine_id(repository: Repository, argument: str, machine: HasId | str) -> str:
    """Return the id of a state machine that is given as itself, by its id or by its name; an id wins over a name.

    Raises:
        StateMachineNotFound: There is none; the message names the argument.
    """
    id_or_name = as_id(machine)
    record = await retry_while_unavailable(partial(repository.state_machine, id_or_name))
    if record is None:
        raise StateMachineNotFound(f"{argument} is {id_or_name!r}: there is no state machine with this name or id")
    return record.id


async def optional_machine_id(repository: Repository, argument: str, machine: HasId | str | None) -> str | None:
    """Return the id of a state machine that is given as in `machine_id`, and None where none is given."""
    return None if machine is None else await machine_id(repository, argument, machine)


async def with_machine_ids(repository: Repository, filter_: ExecutionFilter) -> ExecutionFilter:
    """Return a filter whose state machines are named by their ids. Raises StateMachineNotFound."""
    if filter_.state_machine_id is not None:
        id_ = await machine_id(repository, "state_machine_id", filter_.state_machine_id)
        filter_ = attrs.evolve(filter_, state_machine_id=id_)
    if filter_.unchained_to is not None:
        to = await machine_id(repository, "unchained_to", filter_.unchained_to.to)
        filter_ = attrs.evolve(filter_, unchained_to=attrs.evolve(filter_.unchained_to, to=to))
    return filter_


async def require_execution(repository: Repository, argument: str, id_: str | None) -> None:
    """Raise ExecutionNotFound unless an argument is the id of an execution."""
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


# Fields of which the message speaks separately, or that narrow nothing.
_ANYWAY = frozenset({"status", "limit", "offset", "order"})
_NARROWING = tuple(field.name for field in attrs.fields(ExecutionFilter) if field.name not in _ANYWAY)


async def _by_status(repository: Repository, filter_: ExecutionFilter) -> str:
    """Return how many executions of which status a filter leaves whose status plays no part, as words."""
    counts = [
        (await repository.count_executions(attrs.evolve(filter_, status=status)), status) for status in ExecutionStatus
    ]
    return ", ".join(f"{count} {status}" for count, status in counts if count)
