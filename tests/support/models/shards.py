"""A model of a batch that is run in shards by many workers: tickets that get lost, claims under epochs, a sweep.

Storage decides, tickets only say where to look: a shard is claimed under (owner, epoch), its items are started each at
most once, and it is ended under the same epoch, alone or together with the claim of the next in its place. A sweep
claims what no live worker has.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from support.models.states import Broken

__all__ = ["Shards", "ShardsSetting"]

LEASE = 2
MOST_CLAIMS = 2
"""How many claims without an item started a shard may have."""


@attrs.frozen
class Shard:
    status: str = "PENDING"
    owner: int | None = None
    epoch: int = 0
    claims: int = 0
    begun: int = 0
    started: tuple[int, ...] = ()


@attrs.frozen
class ShardWorker:
    id: int
    holds_until: int
    is_stalled: bool = False
    runs: tuple[tuple[int, int], ...] = ()


@attrs.frozen
class ShardsState:
    shards: tuple[Shard, ...]
    tickets: tuple[tuple[int, int], ...]
    workers: tuple[ShardWorker | None, ...]
    budget: tuple[tuple[str, int], ...]
    leases: tuple[tuple[int, int], ...] = ()
    now: int = 0
    identities: int = 0


@attrs.frozen
class ShardsSetting:
    """How many shards and items each, how many at once, which items end their worker, and how often what goes wrong."""

    shards: int = 2
    items: int = 2
    width: int = 2
    workers: int = 2
    poison: frozenset[int] = frozenset()
    claims_dropped: bool = True
    faults: tuple[tuple[str, int], ...] = ()


@attrs.frozen
class Shards:
    """The actions of a setting; a shard in ``poison`` ends each worker that starts an item of it."""

    setting: ShardsSetting

    def start(self) -> ShardsState:
        count = self.setting.workers
        workers = tuple(ShardWorker(each, LEASE) for each in range(1, count + 1))
        leases = tuple((worker.id, LEASE) for worker in workers)
        tickets = tuple((number, 0) for number in range(min(self.setting.width, self.setting.shards)))
        shards = (Shard(),) * self.setting.shards
        return ShardsState(shards, tickets, workers, self.setting.faults, leases, identities=count)

    def check(self, state: ShardsState) -> None:
        for number, shard in enumerate(state.shards):
            if len(set(shard.started)) != len(shard.started):
                raise Broken(f"an item of shard {number} was started twice")
            if shard.status == "DONE" and len(shard.started) != self.setting.items:
                raise Broken(f"shard {number} is DONE, and items of it were not started")
            if shard.status == "FAILED" and number not in self.setting.poison:
                raise Broken(f"shard {number} is innocent, and FAILED")
        held = [
            number
            for worker in state.workers
            if worker is not None and state.now < worker.holds_until
            for number, epoch in worker.runs
            if state.shards[number].epoch == epoch and state.shards[number].status == "RUNNING"
        ]
        if len(held) > self.setting.width or len(set(held)) != len(held):
            raise Broken(f"shards {held} are run at once: more than the batch allows, or one of them twice")

    def settle(self, state: ShardsState, rounds: int = 60) -> ShardsState:
        for _ in range(rounds):
            if all(shard.status in {"DONE", "FAILED"} for shard in state.shards):
                return state
            for slot in range(len(state.workers)):
                worker = state.workers[slot]
                if worker is None:
                    state = self._restart(state, slot)
                elif worker.is_stalled:
                    state = _put(state, slot, attrs.evolve(worker, is_stalled=False))
                else:
                    state = self._sweep(state, slot, worker)
                    state = self._work(state, slot)
            state = self._tick(state)
            self.check(state)
        raise Broken(f"shards are left for ever: {state.shards}")

    def steps(self, state: ShardsState) -> Iterator[tuple[str, ShardsState]]:
        yield "time passes", self._tick(state)
        for slot, worker in enumerate(state.workers):
            if worker is None:
                yield f"slot {slot}: restart", self._restart(state, slot)
            elif worker.is_stalled:
                yield f"worker {worker.id}: wakes", _put(state, slot, attrs.evolve(worker, is_stalled=False))
            else:
                for ticket in sorted(set(state.tickets)):
                    yield f"worker {worker.id}: takes {ticket}", self._take(state, slot, worker, ticket)
                yield f"worker {worker.id}: sweeps", self._sweep(state, slot, worker)
                if worker.runs:
                    yield f"worker {worker.id}: works", self._work(state, slot)
                    yield f"worker {worker.id}: passes on", self._work(state, slot, passes_on=True)
        yield from self._faults(state)

    def _faults(self, state: ShardsState) -> Iterator[tuple[str, ShardsState]]:
        for ticket in sorted(set(state.tickets)):
            if (spent := _spend(state, "tickets")) is not None:
                yield f"ticket {ticket} is lost", _without(spent, ticket)
                yield f"ticket {ticket} comes twice", attrs.evolve(spent, tickets=(*spent.tickets, ticket))
        for slot, worker in enumerate(state.workers):
            if worker is not None and (spent := _spend(state, "crashes")) is not None:
                yield f"worker {worker.id}: is killed", _put(spent, slot, None)
            if worker is not None and not worker.is_stalled and (spent := _spend(state, "stalls")) is not None:
                yield f"worker {worker.id}: is stopped", _put(spent, slot, attrs.evolve(worker, is_stalled=True))

    def _tick(self, state: ShardsState) -> ShardsState:
        now, leases = state.now + 1, dict(state.leases)
        workers = []
        for worker in state.workers:
            if worker is not None and not worker.is_stalled:
                runs = worker.runs if now <= worker.holds_until else ()  # lapsed: others may have them
                worker = attrs.evolve(worker, holds_until=now + LEASE, runs=runs)  # noqa: PLW2901
                leases[worker.id] = now + LEASE
            workers.append(worker)
        return attrs.evolve(state, now=now, workers=tuple(workers), leases=tuple(sorted(leases.items())))

    def _restart(self, state: ShardsState, slot: int) -> ShardsState:
        id_ = state.identities + 1
        leases = (*state.leases, (id_, state.now + LEASE))
        state = attrs.evolve(state, identities=id_, leases=leases)
        return _put(state, slot, ShardWorker(id_, state.now + LEASE))

    def _is_open(self, state: ShardsState, shard: Shard, worker: ShardWorker) -> bool:
        """Return whether a worker may claim a shard: no live worker has it, or it does itself, and does not run it.

        So it is after a lapse of its lease, when it dropped what others might have.
        """
        is_dropped = self.setting.claims_dropped and shard.owner == worker.id and not worker.runs
        return shard.status in {"PENDING", "RUNNING"} and (is_dropped or not self._is_held(state, shard))

    def _is_held(self, state: ShardsState, shard: Shard) -> bool:
        return shard.status == "RUNNING" and dict(state.leases).get(shard.owner or 0, 0) > state.now

    def _take(self, state: ShardsState, slot: int, worker: ShardWorker, ticket: tuple[int, int]) -> ShardsState:
        state = _without(state, ticket)
        number, epoch = ticket
        return self._claim(state, slot, worker, number) if state.shards[number].epoch == epoch else state

    def _sweep(self, state: ShardsState, slot: int, worker: ShardWorker) -> ShardsState:
        for number, shard in enumerate(state.shards):
            if self._is_open(state, shard, worker):
                return self._claim(state, slot, worker, number)
        return state

    def _claim(self, state: ShardsState, slot: int, worker: ShardWorker, number: int) -> ShardsState:
        """Claim a shard where the batch has room for one more.

        Claims are counted that follow each other without an item that was started in between.
        """
        shard = state.shards[number]
        others = (*state.shards[:number], *state.shards[number + 1 :])
        is_full = sum(self._is_held(state, each) for each in others) >= self.setting.width
        is_free = not worker.runs and state.now < worker.holds_until
        if is_full or not is_free or not self._is_open(state, shard, worker):
            return state
        has_advanced = len(shard.started) > shard.begun
        if shard.claims > MOST_CLAIMS and not has_advanced:
            return _with(state, number, attrs.evolve(shard, status="FAILED", owner=None))
        return self._taken(state, slot, worker, number, 1 if has_advanced else shard.claims + 1)

    @staticmethod
    def _taken(state: ShardsState, slot: int, worker: ShardWorker, number: int, claims: int) -> ShardsState:
        shard = state.shards[number]
        epoch, begun = shard.epoch + 1, len(shard.started)
        taken = attrs.evolve(shard, status="RUNNING", owner=worker.id, epoch=epoch, claims=claims, begun=begun)
        return _put(_with(state, number, taken), slot, attrs.evolve(worker, runs=((number, epoch),)))

    def _work(self, state: ShardsState, slot: int, *, passes_on: bool = False) -> ShardsState:
        """Start the next item of a shard, or end it: each under the epoch of its claim.

        What ends may be followed, in one transaction, by the lowest that is PENDING: there is room for it then.
        """
        worker = state.workers[slot]
        if worker is None or not worker.runs:
            return state
        ((number, epoch),) = worker.runs
        shard = state.shards[number]
        if number in self.setting.poison:
            return _put(state, slot, None)
        if shard.epoch != epoch or shard.status != "RUNNING":
            return _put(state, slot, attrs.evolve(worker, runs=()))
        missing = [item for item in range(self.setting.items) if item not in shard.started]
        if missing:
            return _with(state, number, attrs.evolve(shard, started=(*shard.started, missing[0])))
        state = _with(state, number, attrs.evolve(shard, status="DONE", owner=None))
        pending = [at for at, each in enumerate(state.shards) if each.status == "PENDING"]
        if passes_on and pending:
            return self._taken(state, slot, worker, pending[0], 1)
        return _put(state, slot, attrs.evolve(worker, runs=()))


def _put(state: ShardsState, slot: int, worker: ShardWorker | None) -> ShardsState:
    return attrs.evolve(state, workers=(*state.workers[:slot], worker, *state.workers[slot + 1 :]))


def _with(state: ShardsState, number: int, shard: Shard) -> ShardsState:
    return attrs.evolve(state, shards=(*state.shards[:number], shard, *state.shards[number + 1 :]))


def _without(state: ShardsState, ticket: tuple[int, int]) -> ShardsState:
    place = state.tickets.index(ticket)
    return attrs.evolve(state, tickets=state.tickets[:place] + state.tickets[place + 1 :])


def _spend(state: ShardsState, fault: str) -> ShardsState | None:
    budget = dict(state.budget)
    if not budget.get(fault):
        return None
    budget[fault] -= 1
    return attrs.evolve(state, budget=tuple(sorted(budget.items())))
