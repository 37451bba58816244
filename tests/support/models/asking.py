"""Part of the model of the protocol: how a worker in doubt finds out what it owns and does not run.

It asks storage, which answers; what it then takes for orphaned it releases. Between any two of these, executions may be
started or redriven in the same worker, so that storage lists them as its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from support.models.states import Asking, Broken, Rules, Run, State, Worker, with_row, with_run, with_worker

__all__ = ["start", "steps"]


def steps(state: State, slot: int, worker: Worker, rules: Rules) -> Iterator[tuple[str, State]]:
    """Yield each start that is possible, and the next step of a worker that asks what it owns."""
    for number, row in enumerate(state.storage.rows):
        if row.status == "ABSENT" and all(each is None or number not in _runs(each) for each in state.workers):
            run = Run(number, 1, 0, 0, "starting", claimed_after=state.failovers)
            begun = with_worker(state, slot, attrs.evolve(worker, runs=(*worker.runs, run)))
            yield f"worker {worker.id}: begins to start execution {number}", begun
        if row.status == "RUNNING" and row.owner == worker.id and number not in _runs(worker) and not row.visits:
            yield f"execution {number} is stopped, and worker {worker.id} redrives it", _redrive(state, slot, number)
    yield from _ask(state, slot, worker, rules)


def _ask(state: State, slot: int, worker: Worker, rules: Rules) -> Iterator[tuple[str, State]]:
    asking = worker.asking
    if asking is None:
        if worker.is_in_doubt:
            begun = attrs.evolve(worker, asking=Asking(_runs(worker)))
            yield f"worker {worker.id}: asks what it owns", with_worker(state, slot, begun)
    elif asking.owned is None:
        rows = enumerate(state.storage.rows)
        owned = frozenset((number, row.epoch) for number, row in rows if row.owner == worker.id)
        answered = attrs.evolve(worker, asking=attrs.evolve(asking, owned=owned))
        yield f"worker {worker.id}: storage answers", with_worker(state, slot, answered)
    elif asking.orphaned is None:
        running = _runs(worker) if rules.looks_after_answer else asking.former
        orphaned = frozenset(each for each in asking.owned if each[0] not in running)
        learnt = attrs.evolve(worker, asking=attrs.evolve(asking, orphaned=orphaned))
        yield f"worker {worker.id}: learns what it owns", with_worker(state, slot, learnt)
    else:
        yield (
            f"worker {worker.id}: releases what it does not run",
            _release(state, slot, worker, asking.orphaned, rules),
        )


def start(state: State, slot: int, worker: Worker, run: Run) -> State:
    """Record the start of an execution, which its worker runs directly."""
    row = attrs.evolve(state.storage.rows[run.row], status="RUNNING", owner=worker.id)
    state = with_row(state, run.row, row)
    return with_worker(state, slot, with_run(worker, run, attrs.evolve(run, phase="running")))


def _redrive(state: State, slot: int, number: int) -> State:
    worker = state.workers[slot]
    assert worker is not None
    row = state.storage.rows[number]
    state = with_row(state, number, attrs.evolve(row, epoch=row.epoch + 1, claims=0))
    run = Run(number, row.epoch + 1, 0, 0, "running", claimed_after=state.failovers)
    return with_worker(state, slot, attrs.evolve(worker, runs=(*worker.runs, run)))


def _release(state: State, slot: int, worker: Worker, orphaned: frozenset[tuple[int, int]], rules: Rules) -> State:
    for number, epoch in orphaned:
        row = state.storage.rows[number]
        if row.owner != worker.id or (rules.releases_by_epoch and row.epoch != epoch):
            continue
        for run in worker.runs:
            is_its_own = (run.row, run.epoch) == (number, row.epoch) and run.phase != "starting"
            if is_its_own and not run.has_lapsed and run.claimed_after == state.failovers:
                raise Broken(f"worker {worker.id} takes execution {number} for orphaned, which it runs")
        state = with_row(state, number, attrs.evolve(row, owner=None))
    return with_worker(state, slot, attrs.evolve(worker, asking=None, is_in_doubt=False))


def _runs(worker: Worker) -> frozenset[int]:
    return frozenset(run.row for run in worker.runs)
