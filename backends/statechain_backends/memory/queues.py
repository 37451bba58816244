"""Limits of state machines in a memory repository: the reference of that part of the contract.

Nothing runs beside a claim, so that no queue needs a lock.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from statechain.records.executions import Execution, ExecutionStatus
from statechain.records.queues import LimitWait, MachineLimits, Queue
from statechain.reports import Backlog
from statechain.storage.queues import MachineLimited, limit_reached
from statechain.storage.rates import RateWindow
from statechain.storage.repository import LimitStateMachine
from statechain_backends.memory.reads import Run
from statechain_backends.memory.shards import MemoryShards

__all__ = ["MemoryQueues"]

MICROS = 1_000_000
NO_LIMITS: Final = MachineLimits()


@attrs.define
class _Limited:
    """A machine's limits, and what its rate has taken."""

    limits: MachineLimits
    taken: str | None = None

    def window(self) -> RateWindow | None:
        if self.limits.rate is None:
            return None
        count, seconds = self.limits.rate
        return RateWindow(count, round(seconds * MICROS), self.taken)


class MemoryQueues(MemoryShards):
    """The limits of a `Repository`."""

    def __init__(self) -> None:
        super().__init__()
        self._limited: dict[str, _Limited] = {}

    async def machine_limits(self, state_machine_id: str) -> MachineLimits:
        """Return the limits of a state machine."""
        return self._limits_of(state_machine_id)

    async def queues(self) -> Sequence[Queue]:
        """Return the queues that have limits, or in which something waits."""
        found = [self._queue(machine) for machine in sorted(self._limited, key=str.encode)]
        return [queue for queue in found if queue.limits or queue.waiting]

    async def backlog(self) -> Backlog:
        """Return what waits for a worker, and for no limit."""
        free = sum(run.owner is None and run.queue is None for run in self._runs.values())
        return attrs.evolve(await super().backlog(), executions=free + sum(map(_claimable, await self.queues())))

    async def limit_wait(self, execution_id: str) -> LimitWait | None:
        """Return why an execution has not been claimed."""
        run = self._runs.get(execution_id)
        if run is None or run.owner is not None or run.queue is None:
            return None
        key = self._executions[execution_id].key
        running_of_key = None if key is None else self._owned(run.queue)[key]
        window = self._limited[run.queue].window()
        has_token = window is None or window.room(_now()) > 0
        queue = self._queue(run.queue)
        limit = limit_reached(queue, running_of_key=running_of_key, has_token=has_token)
        return LimitWait(limit=limit, queue=queue)

    def _limits_of(self, state_machine_id: str) -> MachineLimits:
        limited = self._limited.get(state_machine_id)
        return NO_LIMITS if limited is None else limited.limits

    def _queue(self, machine: str) -> Queue:
        runs = [run for _, run in self._runs_in(machine)]
        waiting = sum(run.owner is None for run in runs)
        limits = self._limits_of(machine)
        return Queue(state_machine_id=machine, limits=limits, waiting=waiting, running=len(runs) - waiting)

    def _runs_in(self, machine: str) -> Iterator[tuple[Execution, Run]]:
        return ((self._executions[id_], run) for id_, run in self._runs.items() if run.queue == machine)

    def _owned(self, machine: str) -> Counter[str]:
        return Counter(one.key or "" for one, run in self._runs_in(machine) if run.owner is not None)

    # Writes

    def _limit(self, write: LimitStateMachine) -> object:
        former = self._limited.get(write.state_machine_id)
        kept = self._limits_of(write.state_machine_id)
        limits = attrs.evolve(write.limits, **{name: getattr(kept, name) for name in write.unchanged})
        # What the rate has taken is kept: to set limits again gives no new tokens.
        self._limited[write.state_machine_id] = _Limited(limits, None if former is None else former.taken)
        # Without limits nothing has to wait: what runs, or waits for a worker, is put into no queue.
        for execution in self._executions.values() if limits else ():
            if execution.state_machine_id == write.state_machine_id and execution.status is ExecutionStatus.RUNNING:
                self._runs[execution.id].queue = write.state_machine_id
        return None

    def _queue_for(self, state_machine_id: str, owner: str | None) -> str | MachineLimited | None:
        """Return the queue of a run that begins, if any; or the refusal to run it directly."""
        # Limits are kept by claims alone: a run that begins with an owner would pass them by.
        if owner is not None and self._limits_of(state_machine_id):
            return MachineLimited(state_machine_id)
        return state_machine_id if state_machine_id in self._limited else None

    # A claim

    def _admitted(self, candidates: Sequence[Execution], page: int) -> list[Execution]:
        """Return those of some executions that their queues let be claimed, for each queue by turn, priority and id."""
        queued = defaultdict(list)
        for execution in candidates:
            queued[execution.state_machine_id].append(execution)
        return [each for machine, waiting in queued.items() for each in self._choose(machine, waiting, page)]

    def _choose(self, machine: str, waiting: list[Execution], page: int) -> list[Execution]:
        limits, window = self._limits_of(machine), self._limited[machine].window()
        owned, room = self._owned(machine), page
        if window is not None:
            room = min(room, window.room(_now()))
        if limits.max_concurrency is not None:
            room = min(room, limits.max_concurrency - owned.total())
        # What a key owns counts as its first turns, so that a key with much under way comes after the others.
        turns = Counter(owned)
        places: list[tuple[int, int, bytes, Execution]] = []
        for one in sorted(waiting, key=lambda each: (-each.priority, each.id.encode())):
            turns[one.key or ""] += 1
            turn = turns[one.key or ""]
            # Executions without a key share the turns of the empty key, but no limit.
            most = None if one.key is None else limits.max_concurrency_per_key
            if most is None or turn <= most:
                places.append((turn, -one.priority, one.id.encode(), one))
        return [one for *_, one in sorted(places, key=lambda place: place[:3])[: max(0, room)]]

    def _note_taken(self, claimed: Sequence[Execution]) -> None:
        for machine, count in Counter(each.state_machine_id for each in claimed).items():
            limited = self._limited[machine]
            if (window := limited.window()) is not None:
                window.take(_now(), count)
                limited.taken = window.stored()


def _claimable(queue: Queue) -> int:
    """Return how many executions may be claimed of a queue, as far as its concurrency allows."""
    most = queue.limits.max_concurrency
    return queue.waiting if most is None else max(0, min(queue.waiting, most - queue.running))


def _now() -> int:
    return time.monotonic_ns() // 1000
