"""Part of the model of the protocol: how a worker in doubt finds out what it owns and does not run.

It asks storage, which answers; what it then takes for orphaned it releases. Between any two of these, executions may be
started in the same worker, so that storage lists them as its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from support.models.states import Broken, Rules, Run, State, Worker, with_row, with_run, with_worker

__all__ = ["start", "steps"]


def steps(state: State, slot: int, worker: Worker, rules: Rules) -> Iterator[tuple[str, State]]:
    """Yield each start that is possible, and the next step of a worker that asks what it owns."""
    for number, row in enumerate(state.storage.rows):
        if row.status == "ABSENT" and all(each is None or number not in _runs(each) for each in state.workers):
            run = Run(number, 1, 0, 0, "starting", claimed_after=state.failovers)
            begun = with_worker(state, slot, attrs.evolve(worker, runs=(*worker.runs, run)))
            yield f"worker {worker.id}: begins to start execution {number}", begun
    if worker.asking is None:
        if worker.is_in_doubt:
            asking = attrs.evolve(worker, asking=(_runs(worker), None))
            yield f"worker {worker.id}: asks what it owns", with_worker(state, slot, asking)
        return
    former, owned = worker.asking
    if owned is None:
        listed = frozenset(number for number, row in enumerate(state.storage.rows) if row.owner == worker.id)
        answered = attrs.evolve(worker, asking=(former, listed))
        yield f"worker {worker.id}: storage answers", with_worker(state, slot, answered)
        return
    running = _runs(worker) if rules.looks_after_answer else former
    yield f"worker {worker.id}: releases what it does not run", _release(state, slot, worker, owned - running)


def start(state: State, slot: int, worker: Worker, run: Run) -> State:
    """Record the start of an execution, which its worker runs directly."""
    row = attrs.evolve(state.storage.rows[run.row], status="RUNNING", owner=worker.id)
    state = with_row(state, run.row, row)
    return with_worker(state, slot, with_run(worker, run, attrs.evolve(run, phase="running")))


def _release(state: State, slot: int, worker: Worker, orphaned: frozenset[int]) -> State:
    for run in worker.runs:
        row = state.storage.rows[run.row]
        is_its_own = row.owner == worker.id and row.epoch == run.epoch and run.phase != "starting"
        if run.row in orphaned and is_its_own and not run.has_lapsed and run.claimed_after == state.failovers:
            raise Broken(f"worker {worker.id} takes execution {run.row} for orphaned, which it runs")
    for number in orphaned:
        row = state.storage.rows[number]
        if row.owner == worker.id:
            state = with_row(state, number, attrs.evolve(row, owner=None))
    return with_worker(state, slot, attrs.evolve(worker, asking=None, is_in_doubt=False))


def _runs(worker: Worker) -> frozenset[int]:
    return frozenset(run.row for run in worker.runs)
