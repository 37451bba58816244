"""A model of limits: claims of many workers from one queue, step by step, so that no more runs than is allowed.

A claim is a transaction: it locks the queue or passes over it, counts what is owned, chooses what waits, and commits.
What it takes others see once it has committed. A worker that dies in between leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from support.models.states import Broken

__all__ = ["Limits", "LimitsSetting"]

WINDOW = 3
"""In so many ticks no more executions are claimed than the rate allows."""


@attrs.frozen
class Claimer:
    """A worker, and how far its claim is: what it counted, and what it chose."""

    is_alive: bool = True
    has_lock: bool = False
    room: int | None = None
    chosen: tuple[int, ...] | None = None


@attrs.frozen
class LimitsState:
    """``owners``: for each execution its worker, None while it waits, -1 once it has ended."""

    owners: tuple[int | None, ...]
    workers: tuple[Claimer, ...]
    taken: tuple[int, ...] = ()
    now: int = 0
    crashes: int = 0


@attrs.frozen
class LimitsSetting:
    """How many executions, workers and crashes, what is allowed, and which rules hold.

    Attributes:
        locks: A claim locks the queue until it commits.

        counts_after_lock: It counts once it has the lock; else before.
    """

    executions: int = 4
    workers: int = 2
    most: int | None = 1
    rate: int | None = None
    crashes: int = 1
    locks: bool = True
    counts_after_lock: bool = True


@attrs.frozen
class Limits:
    """The actions of a setting."""

    setting: LimitsSetting

    def start(self) -> LimitsState:
        """Return the state in which everything waits."""
        workers = (Claimer(),) * self.setting.workers
        return LimitsState((None,) * self.setting.executions, workers, crashes=self.setting.crashes)

    def check(self, state: LimitsState) -> None:
        """Raise Broken where more runs than may, or was claimed too fast."""
        running = sum(owner is not None and owner >= 0 for owner in state.owners)
        if self.setting.most is not None and running > self.setting.most:
            raise Broken(f"{running} executions run, of {self.setting.most}")
        if self.setting.rate is not None and len(self._recent(state)) > self.setting.rate:
            raise Broken(f"{len(self._recent(state))} executions were claimed in {WINDOW} ticks")

    def settle(self, state: LimitsState) -> LimitsState:
        """Return where a state leads while everything gets its turn; Broken where something waits for ever."""
        for _ in range(20 * self.setting.executions):
            if all(owner == -1 for owner in state.owners):
                return state
            for number in range(len(state.workers)):
                for what, after in self._steps_of(state, number):
                    if "dies" not in what:
                        state = after
                        break
                self.check(state)
            state = self._tick(state)
        raise Broken(f"executions wait for ever: {state.owners}")

    def steps(self, state: LimitsState) -> Iterator[tuple[str, LimitsState]]:
        """Yield every action that is possible, with the state after it."""
        yield "time passes", self._tick(state)
        for number in range(len(state.workers)):
            yield from self._steps_of(state, number)

    def _steps_of(self, state: LimitsState, number: int) -> Iterator[tuple[str, LimitsState]]:
        worker = state.workers[number]
        if not worker.is_alive:  # its lease is over: what it ran waits again, and another process takes its place
            owners = tuple(None if owner == number else owner for owner in state.owners)
            yield f"worker {number}: is replaced", _put(attrs.evolve(state, owners=owners), number, Claimer())
            return
        for place, owner in enumerate(state.owners):
            if owner == number:
                yield f"worker {number}: ends execution {place}", _with_owner(state, place, -1)
        for what, after in self._claim_of(state, worker):
            yield f"worker {number}: {what}", _put(state, number, after)
        if worker.chosen is not None:
            yield f"worker {number}: commits its claim", self._commit(state, number, worker.chosen)
        if state.crashes:
            dead = attrs.evolve(state, crashes=state.crashes - 1)
            yield f"worker {number}: dies", _put(dead, number, Claimer(is_alive=False))

    def _claim_of(self, state: LimitsState, worker: Claimer) -> Iterator[tuple[str, Claimer]]:
        """Yield the next step of a claim, up to its commit."""
        must_lock = self.setting.locks and not worker.has_lock
        may_count = worker.has_lock or not self.setting.locks or not self.setting.counts_after_lock
        if worker.room is None and may_count:
            yield "counts", attrs.evolve(worker, room=self._room(state))
        elif must_lock and not any(each.has_lock for each in state.workers):
            yield "locks the queue", attrs.evolve(worker, has_lock=True)
        elif worker.room is not None and worker.chosen is None and not must_lock:
            reserved = {place for each in state.workers for place in each.chosen or ()}
            waiting = [place for place, owner in enumerate(state.owners) if owner is None and place not in reserved]
            yield "chooses", attrs.evolve(worker, chosen=tuple(waiting[: max(0, worker.room)]))

    def _commit(self, state: LimitsState, number: int, chosen: tuple[int, ...]) -> LimitsState:
        for place in chosen:
            state = _with_owner(state, place, number)
        taken = (*self._recent(state), *(state.now for _ in chosen)) if self.setting.rate is not None else ()
        return _put(attrs.evolve(state, taken=taken), number, Claimer())

    def _room(self, state: LimitsState) -> int:
        rooms = [self.setting.executions]
        if self.setting.most is not None:
            rooms.append(self.setting.most - sum(owner is not None and owner >= 0 for owner in state.owners))
        if self.setting.rate is not None:
            rooms.append(self.setting.rate - len(self._recent(state)))
        return min(rooms)

    def _recent(self, state: LimitsState) -> tuple[int, ...]:
        return tuple(moment for moment in state.taken if state.now - moment < WINDOW)

    def _tick(self, state: LimitsState) -> LimitsState:
        after = attrs.evolve(state, now=state.now + 1)
        return attrs.evolve(after, taken=self._recent(after))


def _put(state: LimitsState, number: int, worker: Claimer) -> LimitsState:
    return attrs.evolve(state, workers=(*state.workers[:number], worker, *state.workers[number + 1 :]))


def _with_owner(state: LimitsState, place: int, owner: int) -> LimitsState:
    return attrs.evolve(state, owners=(*state.owners[:place], owner, *state.owners[place + 1 :]))
