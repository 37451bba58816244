"""Redrives of any number of executions: the same few statements for all of them, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import Select, func, insert, literal, null, select, type_coerce, update

from statechain.errors import ExecutionNotFound
from statechain.records.executions import ExecutionStatus
from statechain.storage.queues import MachineLimited
from statechain_backends.sql import filters
from statechain_backends.sql.compiler import param
from statechain_backends.sql.decoding import outcome
from statechain_backends.sql.queues import scripts as queue_scripts
from statechain_backends.sql.records import to_claim
from statechain_backends.sql.schema.tables import executions, runs, visits
from statechain_backends.sql.sized import MOST_IDS, Ids, Sized, asking
from statechain_backends.sql.text_escape import unescape_text

if TYPE_CHECKING:
    from sqlalchemy import Executable

    from statechain.storage.repository import RedriveExecution
    from statechain_backends.sql.decoding import Row
    from statechain_backends.sql.scripts.steps import Script, Steps

__all__ = ["redrive", "redrive_all"]


def _lock(ids: Ids) -> Select[Any]:
    columns = (executions.c.id, executions.c.status, executions.c.redrive_count, executions.c.state_machine_id)
    # In one order: two redrives of the same executions at once never deadlock.
    return select(*columns).where(executions.c.id.in_(ids)).order_by(executions.c.id).with_for_update()


def _add_runs(ids: Ids, *, is_queued: bool) -> Executable:
    """Add a run for each execution, at the epoch above that of its end."""
    length = select(func.coalesce(func.max(visits.c.seq), 0)).where(visits.c.execution_id == executions.c.id)
    place = (null(), null(), null())
    queued = (
        executions.c.state_machine_id,
        func.coalesce(executions.c.key, ""),
        -func.coalesce(executions.c.priority, 0),
    )
    return insert(runs).from_select(
        ["execution_id", "owner", "epoch", "seq", "claims", "current_state", "queue", "key", "rank"],
        select(
            executions.c.id,
            type_coerce(param("to_owner"), runs.c.owner.type),
            executions.c.epoch + 1,
            length.scalar_subquery(),
            literal(0),
            executions.c.current_state,
            *(queued if is_queued else place),
        ).where(executions.c.id.in_(ids)),
        include_defaults=False,
    )


def _revive(ids: Ids) -> Executable:
    return (
        update(executions)
        .where(executions.c.id.in_(ids))
        .values(
            status=ExecutionStatus.RUNNING.value,
            redrive_count=executions.c.redrive_count + 1,
            **dict.fromkeys(("output", "error", "cause", "end_time", "current_state"), null()),
        )
    )


def _claims(ids: Ids) -> Select[Any]:
    """Return the claims that redrives gave: one epoch above the last end, which is in `executions`, no later one."""
    return (
        select(runs.c.epoch, runs.c.seq, runs.c.claims, literal(0), *filters.EXECUTION)
        .select_from(filters.WITH_RUNS)
        .where(executions.c.id.in_(ids), runs.c.owner == param("to_owner"), runs.c.epoch == executions.c.epoch + 1)
    )


def _redriven(ids: Ids) -> Select[Any]:
    """Return what was redriven without an owner, which gives no right to run: claimed since, and even ended, or not."""
    return (
        select(
            func.coalesce(runs.c.epoch, executions.c.epoch),
            func.coalesce(runs.c.seq, 0),
            func.coalesce(runs.c.claims, 0),
            literal(0),
            *filters.EXECUTION,
        )
        .select_from(filters.WITH_RUNS)
        .where(executions.c.id.in_(ids))
    )


_LOCK = Sized(_lock)
_ADD_RUNS = {kind: Sized(partial(_add_runs, is_queued=kind)) for kind in (False, True)}
_REVIVE = Sized(_revive)
_CLAIMS = Sized(_claims)
_REDRIVEN = Sized(_redriven)


def redrive(write: RedriveExecution) -> Script:
    """Redrive one execution."""
    outcomes = yield from redrive_all([write])
    return cast("Sequence[object]", outcomes)[0]


def redrive_all(writes: Sequence[RedriveExecution]) -> Script:
    """Redrive executions; return the outcomes."""
    outcomes: dict[str, object] = {}
    for owner in {write.owner for write in writes}:
        for some in _portions([write for write in writes if write.owner == owner]):
            yield from _redrive_some(owner, {write.execution_id: write for write in some}, outcomes)
    return [outcomes[write.execution_id] for write in writes]


def _portions(writes: Sequence[RedriveExecution]) -> list[Sequence[RedriveExecution]]:
    return [writes[start : start + MOST_IDS] for start in range(0, len(writes), MOST_IDS)]


def _redrive_some(owner: str | None, writes: Mapping[str, RedriveExecution], outcomes: dict[str, object]) -> Steps:
    """Redrive executions for one owner, as many as a statement takes."""
    locked = yield asking(_LOCK, writes)
    found = {unescape_text(id_): (status, count, unescape_text(machine)) for id_, status, count, machine in locked}
    ended: dict[str, list[str]] = {}
    redriven: set[str] = set()
    for id_, write in writes.items():
        outcomes[id_] = None if id_ in found else ExecutionNotFound(f"there is no execution {id_!r}")
        if id_ in found:
            status, count, machine = found[id_]
            if status not in filters.UNFAILED and count == write.redrive_count:
                ended.setdefault(machine, []).append(id_)
            # This very write was committed before, or another one's redrive: the claim below shows whose.
            elif count == write.redrive_count + 1:
                redriven.add(id_)
    for machine, ids in ended.items():
        queue = yield from queue_scripts.queue_of(machine, owner)
        if isinstance(queue, MachineLimited):
            outcomes.update(dict.fromkeys(ids, queue))
            continue
        # The run first: it is read from what the revival then clears.
        yield asking(_ADD_RUNS[queue], ids, to_owner=owner)
        yield asking(_REVIVE, ids)
        redriven.update(ids)
    if redriven:
        asked = asking(_REDRIVEN, redriven) if owner is None else asking(_CLAIMS, redriven, to_owner=owner)
        for row in (yield asked):
            outcomes[_id(row)] = outcome(to_claim, row)


def _id(row: Row) -> str:
    """Return the execution's id in the row of a claim."""
    _, _, _, _, id_, *_ = row
    return unescape_text(cast("str", id_))
