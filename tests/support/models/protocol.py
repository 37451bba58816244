"""A model of how workers share executions: leases, epochs, claims and suspects, with all that can go wrong as actions.

A `State` is immutable: storage, its standby, the workers, two clocks. `Protocol.steps` yields each action that is
possible in a state, with the state that it leads to; faults are bounded by a budget, so that a search ends. Time is in
ticks: every worker that is not stalled renews its lease with each tick. What is checked is in `Protocol.check`.

The rules are those of `statechain.worker.recovery`, or with ``OLD`` those before them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import attrs

from support.models import asking
from support.models.states import (
    Broken,
    Row,
    Rules,
    Run,
    Setting,
    State,
    Storage,
    Worker,
    with_row,
    with_run,
    with_worker,
)

__all__ = ["Protocol"]

LEASE = 2
"""How many ticks a lease holds."""

LONG_STEP = 1_000
"""How many ticks the database's clock may step forward or back."""

LONGEST_GAP = 2
"""How much uptime passes at most between two renewals."""


GROUPS = (2,)
"""How many suspects one worker tries at once, by their deaths; from then on one."""

SUSPECT_SPAN = 4
"""How much uptime must pass from the first suspicion to the end of a poisoned execution."""


def group_size(deaths: int) -> int:
    return GROUPS[deaths - 1] if deaths <= len(GROUPS) else 1


def deaths_alone(deaths: int) -> int:
    return max(0, deaths - len(GROUPS) - 1)


def backoff(deaths: int) -> int:
    return min(2 ** max(0, deaths - 1), 4)


Step = tuple[str, State]


@attrs.frozen
class Protocol:
    """The actions of a setting under some rules."""

    rules: Rules
    setting: Setting

    def start(self) -> State:
        """Return the state in which the first worker runs all executions."""
        count = self.setting.workers
        begun = len(self.setting.steps) - self.setting.later
        rows = (*(Row(owner=1) for _ in range(begun)), *(Row(status="ABSENT") for _ in range(self.setting.later)))
        runs = tuple(Run(number, 1, 0, 0, "running") for number in range(self.setting.in_doubt, begun))
        leases = tuple((each, LEASE, 1) for each in range(1, count + 1))
        storage = Storage(rows, leases)
        first = Worker(1, 0, LEASE, runs=runs, is_in_doubt=self.setting.in_doubt)
        workers = (first, *(Worker(each, 0, LEASE) for each in range(2, count + 1)))
        budget = tuple(sorted(self.setting.faults.items()))
        return State(storage, storage, workers, budget, identities=count)

    # What must hold

    def check(self, state: State) -> None:
        """Raise Broken where a state breaks what must hold at every moment."""
        for number, row in enumerate(state.storage.rows):
            if [step for step, _ in row.visits] != list(range(len(row.visits))):
                raise Broken(f"execution {number} has a result recorded twice: {row.visits}")
            if row.status == "FAILED" and number not in self.setting.poison:
                raise Broken(f"execution {number} is innocent, and FAILED")
        busy = Counter(
            run.row
            for worker in state.workers
            if worker is not None and not worker.is_stalled and state.now < worker.holds_until
            for run in worker.runs
            if run.phase == "running" and not run.has_lapsed and run.claimed_after == state.failovers
        )
        twice = [number for number, count in busy.items() if count > 1]
        if twice:
            raise Broken(f"two workers whose leases hold run a handler of execution {twice[0]}")

    def settle(self, state: State, rounds: int = 80) -> State:
        """Return where a state leads without further faults, everything getting its turn; Broken where work is left."""
        for _ in range(rounds):
            if all(row.status != "RUNNING" for row in state.storage.rows):
                return state
            for slot in range(len(state.workers)):
                state = self._settle_worker(state, slot)
            state = self._tick(state)
            self.check(state)
        left = [number for number, row in enumerate(state.storage.rows) if row.status == "RUNNING"]
        raise Broken(f"executions {left} stay RUNNING for ever: {[state.storage.rows[number] for number in left]}")

    def _settle_worker(self, state: State, slot: int) -> State:
        worker = state.workers[slot]
        if worker is None:
            return self._restart(state, slot)
        if worker.is_stalled:
            return with_worker(state, slot, attrs.evolve(worker, is_stalled=False))
        state = self._look(with_worker(state, slot, attrs.evolve(worker, asking=None)), slot)
        worker = state.workers[slot]
        for run in worker.runs if worker is not None else ():
            state = self._go_on(state, slot, run)
            if state.workers[slot] is None:
                break
        return state

    # What may happen

    def steps(self, state: State) -> Iterator[Step]:
        """Yield every action that is possible, with the state after it."""
        yield "time passes", self._tick(state)
        if state.standby != state.storage:
            yield "the standby catches up", attrs.evolve(state, standby=state.storage)
        for slot, worker in enumerate(state.workers):
            if worker is None:
                yield f"slot {slot}: restart", self._restart(state, slot)
            elif worker.is_stalled:
                yield f"worker {worker.id}: wakes", with_worker(state, slot, attrs.evolve(worker, is_stalled=False))
            else:
                yield from self._steps_of(state, slot, worker)
        yield from self._faults(state)

    def _steps_of(self, state: State, slot: int, worker: Worker) -> Iterator[Step]:
        holds = state.now < worker.holds_until
        if holds and self.setting.later:
            yield from asking.steps(state, slot, worker, self.rules)
        if holds and worker.asking is None:
            yield f"worker {worker.id}: looks", self._look(state, slot)
            if (spent := _spend(state, "lost replies")) is not None:
                yield f"worker {worker.id}: looks, and the reply is lost", self._look(spent, slot, is_lost=True)
        for run in worker.runs:
            what = f"worker {worker.id}: execution {run.row} goes on ({run.phase})"
            yield what, self._go_on(state, slot, run)
            spent = _spend(state, "lost replies")
            if spent is not None and run.phase == "running" and run.row not in self.setting.poison:
                yield f"{what}, and the reply is lost", self._go_on(spent, slot, run, is_lost=True)

    def _faults(self, state: State) -> Iterator[Step]:
        for slot, worker in enumerate(state.workers):
            if worker is not None and (spent := _spend(state, "crashes")) is not None:
                yield f"worker {worker.id}: is killed", with_worker(spent, slot, None)
            if worker is not None and not worker.is_stalled and (spent := _spend(state, "stalls")) is not None:
                yield f"worker {worker.id}: is stopped", with_worker(spent, slot, attrs.evolve(worker, is_stalled=True))
        if (spent := _spend(state, "clock steps")) is not None:
            yield "the database's clock steps forward", attrs.evolve(spent, clock=state.clock + LONG_STEP)
            yield "the database's clock steps back", attrs.evolve(spent, clock=state.clock - LONG_STEP)
        if state.standby != state.storage and (spent := _spend(state, "failovers")) is not None:
            yield (
                "the standby takes over",
                attrs.evolve(spent, storage=state.standby, failovers=state.failovers + 1),
            )

    # Leases

    def _tick(self, state: State) -> State:
        state = attrs.evolve(state, now=state.now + 1)
        for slot, worker in enumerate(state.workers):
            if worker is not None and not worker.is_stalled:
                state = self._renew(state, slot, worker)
        return state

    def _renew(self, state: State, slot: int, worker: Worker) -> State:
        storage, now = state.storage, state.now + state.clock
        leases = {lease[0]: lease for lease in storage.leases}
        was_there = worker.id in leases
        renewals = leases[worker.id][2] + 1 if was_there else 1
        leases[worker.id] = (worker.id, now + LEASE, renewals)
        passed = min(max(0, now - storage.renewed), LONGEST_GAP)
        rows = storage.rows
        if not was_there and not self.rules.trusts_database_clock:  # own again what no worker claimed since
            held = {run.row: run.epoch for run in worker.runs}
            rows = tuple(
                attrs.evolve(row, owner=worker.id)
                if row.owner is None and row.status == "RUNNING" and held.get(number) == row.epoch
                else row
                for number, row in enumerate(rows)
            )
        storage = attrs.evolve(
            storage, rows=rows, leases=tuple(sorted(leases.values())), uptime=storage.uptime + passed, renewed=now
        )
        is_same = was_there and worker.connected_to == state.failovers
        runs, seen = worker.runs, worker.seen
        is_lapsed = state.now > worker.holds_until
        if is_lapsed:
            runs = tuple(attrs.evolve(run, has_lapsed=True) for run in runs)
        if (is_lapsed or not is_same) and self.rules.forgets_after_outage:
            seen = ()  # every doubt: storage may be one on which a lease that was renewed is as it had been seen
        worker = attrs.evolve(
            worker,
            holds_until=state.now + LEASE,
            is_in_doubt=worker.is_in_doubt or (not is_same and self.rules.doubts_after_outage),
            connected_to=state.failovers,
            runs=runs,
            seen=seen,
        )
        return with_worker(attrs.evolve(state, storage=storage), slot, worker)

    def _restart(self, state: State, slot: int) -> State:
        id_ = state.identities + 1
        state = attrs.evolve(state, identities=id_)
        return self._renew(state, slot, Worker(id_, state.now, state.now, connected_to=state.failovers))

    # Recovery

    def _look(self, state: State, slot: int, *, is_lost: bool = False) -> State:
        """Let a worker drop what it lost and claim what is free; with a lost reply it does not know what it claimed."""
        worker = state.workers[slot]
        if worker is None or state.now >= worker.holds_until:
            return state
        state, worker = self._let_go(state, slot, worker)
        if self.rules.trusts_database_clock:
            return self._look_by_database_clock(state, slot, worker, is_lost=is_lost)
        state, worker = self._release_dead(state, slot, worker)
        if worker.is_in_doubt:
            state = self._disown(state, worker)
        for number, row in enumerate(state.storage.rows):
            if row.status == "RUNNING" and row.owner is None and self._may_try(state, worker, row):
                state, worker = self._claim(state, worker, number, is_lost=is_lost)
        return with_worker(state, slot, attrs.evolve(worker, is_in_doubt=is_lost))

    def _let_go(self, state: State, slot: int, worker: Worker) -> tuple[State, Worker]:
        kept, is_behind = [], False
        for run in worker.runs:
            row = state.storage.rows[run.row]
            is_same = row.status == "RUNNING" and row.epoch == run.epoch and len(row.visits) >= run.seq
            if run.phase == "starting" or is_same:
                kept.append(run)
            elif row.status == "RUNNING" and (row.epoch < run.epoch or len(row.visits) < run.seq):
                is_behind = True
        doubts = worker.is_in_doubt or (is_behind and self.rules.doubts_after_loss)
        worker = attrs.evolve(worker, runs=tuple(kept), is_in_doubt=doubts)
        return with_worker(state, slot, worker), worker

    def _release_dead(self, state: State, slot: int, worker: Worker) -> tuple[State, Worker]:
        """Release what belongs to leases that were seen unchanged for their length.

        A lease that is missing, as after a failover, is seen as one that never changes: its worker may be about to
        renew it.
        """
        is_same = worker.connected_to == state.failovers or not self.rules.forgets_after_outage
        former = dict(worker.seen) if is_same else {}
        leases = {lease[0]: lease for lease in state.storage.leases}
        owners = {row.owner: (row.owner, 0, 0) for row in state.storage.rows if row.owner is not None}
        others = {id_: lease for id_, lease in {**owners, **leases}.items() if id_ != worker.id}
        seen = {lease: former.get(lease, state.now) for lease in others.values()}
        if not self.rules.waits_for_missing:
            seen.update((lease, -LEASE) for id_, lease in others.items() if id_ not in leases)
        dead = {lease[0] for lease, since in seen.items() if state.now - since >= LEASE}
        uptime = state.storage.uptime
        rows = tuple(
            attrs.evolve(row, owner=None, due=uptime + (backoff(row.claims) if row.claims else 0))
            if row.owner in dead
            else row
            for row in state.storage.rows
        )
        kept = tuple(lease for lease in state.storage.leases if lease[0] not in dead)
        doubts = worker.is_in_doubt or (worker.connected_to != state.failovers and self.rules.doubts_after_outage)
        worker = attrs.evolve(
            worker, seen=tuple(sorted(seen.items())), connected_to=state.failovers, is_in_doubt=doubts
        )
        state = attrs.evolve(state, storage=attrs.evolve(state.storage, rows=rows, leases=kept))
        return with_worker(state, slot, worker), worker

    def _disown(self, state: State, worker: Worker) -> State:
        running = {run.row for run in worker.runs}
        rows = tuple(
            attrs.evolve(row, owner=None) if row.owner == worker.id and number not in running else row
            for number, row in enumerate(state.storage.rows)
        )
        return attrs.evolve(state, storage=attrs.evolve(state.storage, rows=rows))

    def _may_try(self, state: State, worker: Worker, row: Row) -> bool:
        """Return whether a worker may take a row up beside the suspects that it tries already."""
        if not row.claims:
            return True
        tried = [run.claims for run in worker.runs if run.claims]
        smallest = min([group_size(row.claims), *(group_size(each) for each in tried)])
        return len(tried) < smallest and state.storage.uptime >= row.due

    def _claim(self, state: State, worker: Worker, number: int, *, is_lost: bool) -> tuple[State, Worker]:
        row = state.storage.rows[number]
        epoch = row.epoch + 1
        claims = row.claims + self.rules.counts_at_claim
        row = attrs.evolve(row, owner=worker.id, epoch=epoch, claims=claims)
        run = Run(number, epoch, len(row.visits), claims, "claimed", claimed_after=state.failovers)
        runs = tuple(each for each in worker.runs if each.row != number)
        if self._is_poisoned(state, row) and not is_lost:
            row = attrs.evolve(row, status="FAILED", owner=None)
        elif not is_lost:
            runs = (*runs, run)
        state = with_row(state, number, row)
        return state, attrs.evolve(worker, runs=runs)

    def _is_poisoned(self, state: State, row: Row) -> bool:
        if self.rules.counts_at_claim:
            return row.claims > self.rules.limit
        has_lasted = state.storage.uptime - row.suspect_since >= SUSPECT_SPAN
        return deaths_alone(row.claims) >= self.rules.limit and has_lasted

    def _look_by_database_clock(self, state: State, slot: int, worker: Worker, *, is_lost: bool) -> State:
        """Claim what has no owner by the database's clock, again until there is nothing, as the former rules did."""
        running = {run.row for run in worker.runs}
        for _ in range(self.rules.limit + 2):
            alive = {id_ for id_, until, _ in state.storage.leases if until > state.now + state.clock}
            free = [
                number
                for number, row in enumerate(state.storage.rows)
                if row.status == "RUNNING"
                and (
                    row.owner not in alive or (worker.is_in_doubt and row.owner == worker.id and number not in running)
                )
            ]
            for number in free:
                state, worker = self._claim(state, worker, number, is_lost=is_lost)
            if not free or is_lost:
                break
            running |= set(free)
        return with_worker(state, slot, attrs.evolve(worker, is_in_doubt=is_lost))

    # Running

    def _go_on(self, state: State, slot: int, run: Run, *, is_lost: bool = False) -> State:
        """Take up a claimed execution, or end its handler and record the result."""
        worker = state.workers[slot]
        if worker is None or run not in worker.runs:
            return state
        if run.phase == "starting":
            return asking.start(state, slot, worker, run)
        if run.phase == "claimed":
            return self._take_up(state, slot, worker, run)
        if run.phase == "running" and run.row in self.setting.poison:
            return with_worker(state, slot, None)
        return self._record(state, slot, worker, run, is_lost=is_lost)

    def _take_up(self, state: State, slot: int, worker: Worker, run: Run) -> State:
        """Record that an execution is taken up, before its handler is called; nothing begins without a lease."""
        row = state.storage.rows[run.row]
        if state.now >= worker.holds_until:
            return state
        if row.status != "RUNNING" or row.epoch != run.epoch:
            return self._lose(state, slot, worker, run)
        begun = attrs.evolve(run, phase="running")
        if not self.rules.counts_at_claim:
            deaths = run.claims
            counts = group_size(deaths or 1) > 1 or state.now - worker.opened >= backoff(deaths)
            claims = deaths + counts
            since = row.suspect_since if deaths else state.storage.uptime
            row = attrs.evolve(row, claims=claims, suspect_since=since)
            begun = attrs.evolve(begun, claims=deaths)
            state = with_row(state, run.row, row)
        return with_worker(state, slot, with_run(worker, run, begun))

    def _record(self, state: State, slot: int, worker: Worker, run: Run, *, is_lost: bool) -> State:
        """Record the result of a handler: it takes effect where epoch and place are as they were."""
        row = state.storage.rows[run.row]
        write = (run.seq, run.epoch * 100 + worker.id)
        if row.epoch == run.epoch and len(row.visits) == run.seq and row.status == "RUNNING":
            visits = (*row.visits, write)
            is_over = len(visits) == self.setting.steps[run.row]
            row = attrs.evolve(
                row,
                visits=visits,
                claims=0,
                status="SUCCEEDED" if is_over else "RUNNING",
                owner=None if is_over else row.owner,
            )
            state = with_row(state, run.row, row)
        elif row.epoch != run.epoch or len(row.visits) != run.seq + 1:
            return self._lose(state, slot, worker, run)
        elif row.visits[run.seq] != write:
            if self.rules.compares_writes:
                return self._lose(state, slot, worker, run)
            raise Broken(f"worker {worker.id} takes {write} of execution {run.row} for recorded: it is {row.visits}")
        if is_lost:
            return with_worker(state, slot, with_run(worker, run, attrs.evolve(run, phase="writing")))
        if row.status != "RUNNING":
            return with_worker(state, slot, with_run(worker, run, None))
        begun = attrs.evolve(run, seq=run.seq + 1, claims=0, phase="running", has_lapsed=False)
        if state.now >= worker.holds_until:
            begun = attrs.evolve(begun, phase="claimed")  # the next handler waits for the lease
        return with_worker(state, slot, with_run(worker, run, begun))

    def _lose(self, state: State, slot: int, worker: Worker, run: Run) -> State:
        row = state.storage.rows[run.row]
        is_behind = row.status == "RUNNING" and (row.epoch < run.epoch or row.owner == worker.id)
        doubts = worker.is_in_doubt or (is_behind and self.rules.doubts_after_loss)
        return with_worker(state, slot, attrs.evolve(with_run(worker, run, None), is_in_doubt=doubts))


def _spend(state: State, fault: str) -> State | None:
    """Return the state with one failure less to come; None where none is left."""
    budget = dict(state.budget)
    if not budget.get(fault):
        return None
    budget[fault] -= 1
    return attrs.evolve(state, budget=tuple(sorted(budget.items())))
