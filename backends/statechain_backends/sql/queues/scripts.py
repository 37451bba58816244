"""How a claim chooses within the limits of state machines, step by step: scripts as in `sql.scripts`."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
from sqlalchemy import and_

from statechain.storage.queues import MachineLimited
from statechain.storage.rates import RateWindow
from statechain_backends.sql.leases.queries import wanted
from statechain_backends.sql.queues import queries
from statechain_backends.sql.schema.tables import runs
from statechain_backends.sql.text_escape import unescape_text

if TYPE_CHECKING:
    from collections.abc import Collection, Generator

    from sqlalchemy import Executable

    from statechain.storage.repository import LimitStateMachine
    from statechain_backends.sql.compiler import Parameters
    from statechain_backends.sql.decoding import Row
    from statechain_backends.sql.scripts.steps import Script, Steps

__all__ = ["Admission", "admit", "limit_state_machine", "note_taken", "queue_of"]

_LOCK_OPEN = queries.lock_open()
_USUAL = wanted(None, ())
_HEADS = queries.heads(_USUAL)
_FOLLOWING = queries.following(_USUAL)

Place: TypeAlias = tuple[int, int, str, str]
"""Turn, rank, id and key of a run: the least is the next one."""


@attrs.frozen
class Admission:
    """What may be claimed of one queue."""

    queue: str
    ids: Sequence[str]
    window: RateWindow | None
    now: int


def limit_state_machine(write: LimitStateMachine) -> Script:
    """Set a machine's limits, and put what runs of it into its queue."""
    limits, machine = write.limits, write.state_machine_id
    count, seconds = limits.rate or (None, None)
    given = {
        "max_concurrency": limits.max_concurrency,
        "max_concurrency_per_key": limits.max_concurrency_per_key,
        "rate_count": count,
        "rate_period": None if seconds is None else round(seconds * 1_000_000),
    }
    # Where nothing is stored, there is no limit to keep.
    new = {name: None if limit in write.unchanged else given[name] for name, limit in queries.KEPT.items()}
    keeps = {f"keeps_{limit}": int(limit in write.unchanged) for limit in queries.KEPT.values()}
    yield queries.SET_LIMITS, {"machine": machine, **new, **keeps}
    ((is_limited,),) = yield queries.IS_LIMITED, {"machine": machine}
    if is_limited:
        yield queries.QUEUE_RUNS, {"machine": machine}
    return None


def queue_of(state_machine_id: str, owner: str | None) -> Generator[tuple[Executable, Parameters], Sequence[Row], Any]:
    """Return whether a machine has a queue; `MachineLimited` where an owner may not run its executions directly."""
    rows = yield queries.IS_LIMITED, {"machine": state_machine_id}
    is_limited = any(limited for (limited,) in rows)
    return MachineLimited(state_machine_id) if is_limited and owner is not None else bool(rows)


def admit(
    page: int,
    excluded_revisions: Collection[tuple[str, int]],
    suspects: range | None,
    only: Collection[str] | None = None,
) -> Generator[tuple[Executable, Parameters], Sequence[Row], list[Admission]]:
    """Lock the queues that have room, and return what may be claimed of each, at most ``page`` runs; ``only`` of these.

    The locks hold until the transaction ends. Each count comes from a statement after its lock, so that it sees what
    the claims before have committed.
    """
    rows = yield _LOCK_OPEN, {}
    admissions: list[Admission] = []
    usual = suspects is None and only is None and not excluded_revisions
    condition = _USUAL if usual else wanted(suspects, excluded_revisions)
    if only is not None:
        condition = and_(condition, runs.c.execution_id.in_(sorted(only)))
    ask = (_HEADS, _FOLLOWING) if usual else (queries.heads(condition), queries.following(condition))
    for queue, most, most_per_key, rate_count, rate_period, taken, now in rows:
        room, window, owned = page, None, {}
        if rate_count is not None:
            window = RateWindow(rate_count, rate_period, taken)
            room = min(room, window.room(now))
            if not room:
                # It was open since its limits were set: what its rate has taken keeps it shut from here on.
                yield _note(queue, window, now)
                continue
        if most is not None or most_per_key is not None:
            # Behind the lock, by a separate statement (READ COMMITTED): it sees what earlier claims have committed.
            counts = yield queries.OWNED, {"queue": queue}
            owned = dict(map(tuple, counts))
            room = room if most is None else min(room, most - sum(owned.values()))
        if room > 0:
            ids = yield from _choose(queue, room, owned, most_per_key, ask)
            if ids:
                admissions.append(Admission(queue, ids, window, now))
    return admissions


def _choose(
    queue: str, room: int, owned: Mapping[str, int], most_per_key: int | None, ask: tuple[Executable, Executable]
) -> Generator[tuple[Executable, Parameters], Sequence[Row], list[str]]:
    """Choose runs by turn, rank and id. It reads the first run of each key, and more of those that come again."""
    first, more = ask
    rows = yield first, {"queue": queue}
    places: list[Place] = [(owned.get(key, 0) + 1, rank, id_, key) for key, rank, id_ in rows]
    heapify(places)
    following: dict[str, deque[tuple[int, str]]] = {}
    chosen: list[str] = []
    while places:
        turn, rank, id_, key = heappop(places)
        if most_per_key is not None and key and turn > most_per_key:
            continue
        chosen.append(id_)
        if len(chosen) == room:
            break
        # Asked for when a key's turn comes again, and for no more than there is room.
        if key not in following:
            after = {"queue": queue, "key": key, "rank": rank, "after": id_, "most": room - len(chosen)}
            # Stored strings are escaped, and each argument of a statement is escaped again.
            rows = yield more, {name: _unescaped(value) for name, value in after.items()}
            following[key] = deque((rank, id_) for rank, id_ in rows)
        if following[key]:
            rank, id_ = following[key].popleft()
            heappush(places, (turn + 1, rank, id_, key))
    return [unescape_text(id_) for id_ in chosen]


def _unescaped(value: object) -> object:
    return unescape_text(value) if isinstance(value, str) else value


def note_taken(admissions: Sequence[Admission], taken: Collection[str]) -> Steps:
    """Note in the windows of rates what was taken of what was admitted."""
    for each in admissions:
        count = sum(id_ in taken for id_ in each.ids)
        if each.window is not None and count:
            each.window.take(each.now, count)
            yield _note(each.queue, each.window, each.now)


def _note(queue: str, window: RateWindow, now: int) -> tuple[Executable, Parameters]:
    """Return what stores a queue's window, and when it is free again."""
    new = {"queue": _unescaped(queue), "now_taken": window.stored(), "now_free_at": window.free_at(now)}
    return queries.NOTE_TAKEN, new
