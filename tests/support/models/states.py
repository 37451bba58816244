"""What the model of the protocol consists of: its rules, and the parts of a state, all of them immutable."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

__all__ = [
    "NEW",
    "OLD",
    "Asking",
    "Broken",
    "Row",
    "Rules",
    "Run",
    "Setting",
    "State",
    "Storage",
    "Worker",
    "with_row",
    "with_run",
    "with_worker",
]


class Broken(AssertionError):
    """A state breaks an invariant."""


@attrs.frozen
class Rules:
    """What the protocol does.

    Attributes:
        counts_at_claim: ``claims`` grows with each claim, and too many end an execution; else it grows when an
            execution is taken up again, and only deaths alone, over a length of time, end it.

        trusts_database_clock: A lease is over when the database's clock says so, one's own included; else when it was
            seen unchanged for its length by the observer's own clock.

        doubts_after_loss: A worker that lost an execution to a storage that is behind asks for what it owns there.

        doubts_after_outage: So does a worker whose connection to storage was lost: it may have failed over.

        waits_for_missing: What belongs to a worker without a lease is released once that was so for a lease; else at
            once.

        forgets_after_outage: What was seen of leases before the connection was lost plays no part.

        looks_after_answer: What a worker runs is looked up once storage has answered what it owns; else before it is
            asked, so that what is started meanwhile is taken for orphaned.

        releases_by_epoch: What is orphaned is released at the epoch that storage had answered; else at any, with
            what the worker redrives meanwhile.

        compares_writes: A write that is refused counts as committed before only where what is stored at its place is
            its own; else epoch and place are enough. After a failover two workers may have the same epoch.

        limit: How many claims (or deaths alone) an execution may have.
    """

    counts_at_claim: bool = False
    trusts_database_clock: bool = False
    doubts_after_loss: bool = True
    doubts_after_outage: bool = True
    waits_for_missing: bool = True
    forgets_after_outage: bool = True
    looks_after_answer: bool = True
    releases_by_epoch: bool = True
    compares_writes: bool = True
    limit: int = 3


NEW = Rules()
OLD = Rules(
    counts_at_claim=True,
    trusts_database_clock=True,
    doubts_after_loss=False,
    doubts_after_outage=False,
    compares_writes=False,
    limit=2,
)


@attrs.frozen
class Row:
    """An execution in storage, or ABSENT before its start; ``visits`` names the write that recorded each step."""

    status: str = "RUNNING"
    owner: int | None = None
    epoch: int = 1
    visits: tuple[tuple[int, int], ...] = ()
    claims: int = 0
    due: int = 0
    suspect_since: int = 0


@attrs.frozen
class Storage:
    """What is committed: executions, leases (worker, end by the database's clock, renewals), and uptime."""

    rows: tuple[Row, ...]
    leases: tuple[tuple[int, int, int], ...] = ()
    uptime: int = 0
    renewed: int = 0


@attrs.frozen
class Run:
    """An execution in a worker: ``starting``, ``claimed``, ``running`` a handler, or ``writing`` what may be committed.

    ``has_lapsed``: the worker's lease lapsed meanwhile, so that others may run it, too, until a write is refused.
    ``claimed_after``: how many failovers came before the claim; the next one may take the claim back.
    """

    row: int
    epoch: int
    seq: int
    claims: int
    phase: str
    has_lapsed: bool = False
    claimed_after: int = 0


@attrs.frozen
class Asking:
    """How far a worker in doubt is: what it ran, what storage answered (rows, epochs), what of that it does not run."""

    former: frozenset[int]
    owned: frozenset[tuple[int, int]] | None = None
    orphaned: frozenset[tuple[int, int]] | None = None


@attrs.frozen
class Worker:
    """A process, under an identity that no other one has; ``asking`` while it finds out what it owns."""

    id: int
    opened: int
    holds_until: int
    is_stalled: bool = False
    is_in_doubt: bool = False
    connected_to: int = 0
    runs: tuple[Run, ...] = ()
    seen: tuple[tuple[tuple[int, int, int], int], ...] = ()
    asking: Asking | None = None


@attrs.frozen
class State:
    """Everything there is. ``workers`` has None where a process died and is not restarted yet."""

    storage: Storage
    standby: Storage
    workers: tuple[Worker | None, ...]
    budget: tuple[tuple[str, int], ...]
    now: int = 0
    clock: int = 0
    identities: int = 0
    failovers: int = 0


@attrs.frozen
class Setting:
    """What is explored: which executions there are, how many workers, and how often each failure may come.

    The last ``later`` executions are started by any worker at any time; the others run from the beginning. Only where
    there are such does it matter that a worker asks storage and is answered later. ``in_doubt``: the first worker owns
    the first execution and does not run it, as after a lost reply.
    """

    steps: tuple[int, ...] = (2, 2)
    poison: frozenset[int] = frozenset()
    workers: int = 2
    later: int = 0
    in_doubt: bool = False
    faults: Mapping[str, int] = attrs.Factory(dict)


def with_worker(state: State, slot: int, worker: Worker | None) -> State:
    """Return the state with another worker in a slot."""
    workers = (*state.workers[:slot], worker, *state.workers[slot + 1 :])
    return attrs.evolve(state, workers=workers)


def with_row(state: State, number: int, row: Row) -> State:
    """Return the state with another row."""
    rows = state.storage.rows
    return attrs.evolve(state, storage=attrs.evolve(state.storage, rows=(*rows[:number], row, *rows[number + 1 :])))


def with_run(worker: Worker, run: Run, after: Run | None) -> Worker:
    """Return the worker with another run in the place of one, or without it."""
    runs = (after if each is run or each == run else each for each in worker.runs)
    return attrs.evolve(worker, runs=tuple(each for each in runs if each is not None))
