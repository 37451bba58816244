"""The contract of limits: how many executions of a state machine are claimed, and which first."""

# ruff: noqa: D102, S101 -- a test's name says what it shows

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import timedelta

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from statechain.records.executions import Execution, ExecutionStatus
from statechain.records.queues import MachineLimits, Queue
from statechain.storage.queues import MachineLimited
from statechain.storage.repository import (
    LimitStateMachine,
    ReleaseExecution,
    Repository,
    StartExecution,
    StopExecution,
    TakeUpExecution,
)
from statechain.testing.contract.claims.leases import claimed
from statechain.testing.contract.samples import (
    advance,
    bury,
    chained,
    commit,
    deleting,
    ending,
    execution,
    finish,
    ids,
    redriving,
    start,
)

__all__ = ["LimitContract"]

MACHINE = "machine-a"
LONG = timedelta(hours=1)

quick = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[
        HealthCheck.differing_executors,
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
    ],
)


async def limit(repository: Repository, machine: str = MACHINE, **limits: object) -> MachineLimits:
    """Set a machine's limits."""
    made = MachineLimits(**limits)  # type: ignore[arg-type]
    await commit(repository, LimitStateMachine(state_machine_id=machine, limits=made))
    return made


async def submit(repository: Repository, *keys: str | None, **fields: object) -> list[Execution]:
    """Start executions without an owner, one for each key."""
    return [await start(repository, owner=None, key=key, **fields) for key in keys]


async def end(repository: Repository, *ended: Execution, epoch: int = 1) -> None:
    """End executions under a claim."""
    for each in ended:
        await commit(repository, advance(each, epoch=epoch, end=ending()))


class LimitContract:
    """Limits of a state machine, kept by claims."""

    # Limits

    async def test_a_machine_has_no_limits_until_it_is_given_some(self, repository: Repository) -> None:
        assert await repository.machine_limits(MACHINE) == MachineLimits()
        assert list(await repository.queues()) == []
        made = await limit(repository, max_concurrency=3, rate=(5, 0.25), max_concurrency_per_key=2)
        assert await repository.machine_limits(MACHINE) == made
        assert await repository.machine_limits("machine-b") == MachineLimits()
        assert list(await repository.queues()) == [Queue(state_machine_id=MACHINE, limits=made, waiting=0, running=0)]
        await limit(repository)
        assert await repository.machine_limits(MACHINE) == MachineLimits()
        assert list(await repository.queues()) == []

    async def test_limits_are_those_of_the_last_write(self, repository: Repository) -> None:
        for most in (3, 3, 1):
            made = await limit(repository, max_concurrency=most)
            assert await repository.machine_limits(MACHINE) == made

    # Starts

    async def test_limits_that_are_not_to_be_changed_stay_as_they_are(self, repository: Repository) -> None:
        async def change(*unchanged: str, **limits: object) -> MachineLimits:
            made = MachineLimits(**limits)  # type: ignore[arg-type]
            await commit(repository, LimitStateMachine(state_machine_id=MACHINE, limits=made, unchanged=unchanged))
            return await repository.machine_limits(MACHINE)

        (waiting,) = await submit(repository, None)
        assert not await change("max_concurrency", "rate", "max_concurrency_per_key", max_concurrency=5)
        assert claimed(await repository.claim("one", page=9)) == [waiting.id]
        assert await change("rate", max_concurrency=0, rate=(9, 9)) == MachineLimits(max_concurrency=0)
        held = MachineLimits(max_concurrency=0, rate=(2, 60.0))
        assert await change("max_concurrency", rate=(2, 60)) == held
        assert await change("max_concurrency", "rate", max_concurrency_per_key=1) == attrs.evolve(
            held, max_concurrency_per_key=1
        )
        assert await change("max_concurrency", "max_concurrency_per_key") == MachineLimits(
            max_concurrency=0, max_concurrency_per_key=1
        )
        assert (await repository.queues())[0].running == 1

    async def test_an_execution_is_not_started_with_an_owner(self, repository: Repository) -> None:
        await limit(repository, max_concurrency=1)
        made, other = execution(key="a", priority=7), execution(state_machine_id="machine-b")
        writes = [StartExecution(execution=made, owner="one"), StartExecution(execution=other, owner="one")]
        refused, started = await repository.commit(writes)
        assert isinstance(refused, MachineLimited)
        assert refused.state_machine_id == MACHINE
        assert started == other
        assert await repository.execution(made.id) is None
        assert await commit(repository, StartExecution(execution=made, owner=None)) == made
        assert await repository.execution(made.id) == made
        again = StartExecution(execution=attrs.evolve(execution(), name=made.name), owner="one")
        assert await commit(repository, again) == made  # its name is held

    async def test_an_exclusive_start_has_no_owner_either(self, repository: Repository) -> None:
        await limit(repository, "machine-b", max_concurrency=1)
        source = await finish(repository)
        made = chained(source, key="a")
        with pytest.raises(MachineLimited):
            await commit(repository, StartExecution(execution=made, owner="one", exclusive=True))
        assert await commit(repository, StartExecution(execution=made, owner=None, exclusive=True)) == made
        again = StartExecution(execution=chained(source), owner="one", exclusive=True)
        assert await commit(repository, again) == made

    async def test_a_redrive_has_no_owner_either(self, repository: Repository) -> None:
        (made,) = await submit(repository, "a", priority=3)
        await repository.claim("one", page=1)
        await commit(repository, advance(made, end=ending(ExecutionStatus.FAILED)))
        await limit(repository, max_concurrency=1)
        with pytest.raises(MachineLimited):
            await commit(repository, redriving(made))
        redriven = await commit(repository, redriving(made, owner=None))
        assert redriven is not None
        assert (redriven.execution.key, redriven.execution.priority) == ("a", 3)
        (claim,) = await repository.claim("one", page=9)
        assert claim.execution == redriven.execution
        assert claim.is_limited
        assert (await repository.queues())[0].running == 1

    async def test_key_and_priority_are_kept(self, repository: Repository) -> None:
        for key, priority in ((None, 0), ("tenant-ü", -4), (None, 9999)):
            made = await start(repository, key=key, priority=priority)
            assert await repository.execution(made.id) == made
            ended = await finish(repository, of=made)
            assert (ended.key, ended.priority) == (key, priority)

    # Concurrency

    async def test_no_more_are_owned_than_the_limit_allows(self, repository: Repository, other: Repository) -> None:
        await limit(repository, max_concurrency=2)
        made = await submit(repository, *[None] * 5)
        (free,) = await submit(repository, None, state_machine_id="machine-b")
        first = await repository.claim("one", page=9)
        assert claimed(first) == ids([*made[:2], free])
        assert [claim.is_limited for claim in first] == [True, True, False]
        assert [claim.epoch for claim in first] == [1, 1, 1]
        assert claimed(await other.claim("two", page=9)) == []
        await end(repository, made[1])
        assert claimed(await other.claim("two", page=9)) == ids(made[2:3])
        await commit(repository, StopExecution(execution_id=made[0].id, end=ending(ExecutionStatus.ABORTED)))
        assert claimed(await other.claim("two", page=9)) == ids(made[3:4])

    async def test_what_a_dead_worker_ran_does_not_count_until_it_is_claimed_again(
        self, repository: Repository
    ) -> None:
        await limit(repository, max_concurrency=1)
        for worker in ("one", "two"):
            await repository.renew_lease(worker, LONG)
        made = await submit(repository, None, None)
        assert claimed(await repository.claim("one", page=9)) == ids(made[:1])
        await bury(repository, "one")
        (claim,) = await repository.claim("two", page=9)
        assert (claim.execution.id, claim.epoch) == (made[0].id, 2)
        assert claimed(await repository.claim("two", page=9)) == []
        await repository.release("two")
        assert claimed(await repository.claim("three", page=9)) == ids(made[:1])

    async def test_suspects_wait_for_the_limits_too(self, repository: Repository) -> None:
        await limit(repository, max_concurrency=1)
        made = await submit(repository, None, None)
        for each in made:
            assert claimed(await repository.claim("one", page=9)) == [each.id]
            await commit(repository, TakeUpExecution(execution_id=each.id, epoch=1, claims=1, backoff=timedelta(0)))
            await commit(repository, ReleaseExecution(execution_id=each.id, epoch=1, claims=1))
        assert claimed(await repository.claim("two", page=9)) == []
        assert claimed(await repository.claim("two", page=9, suspects=range(1, 2))) == ids(made[:1])
        assert claimed(await repository.claim("two", page=9, suspects=range(1, 2))) == []
        await end(repository, made[0], epoch=2)
        assert claimed(await repository.claim("two", page=9, suspects=range(1, 2))) == ids(made[1:])

    async def test_a_limit_of_none_pauses_the_machine(self, repository: Repository) -> None:
        await limit(repository, max_concurrency=0)
        made = await submit(repository, None)
        assert claimed(await repository.claim("one", page=9)) == []
        await limit(repository, max_concurrency=1)
        assert claimed(await repository.claim("one", page=9)) == ids(made)

    # Keys

    async def test_no_more_of_one_key_are_owned_than_the_limit_allows(self, repository: Repository) -> None:
        await limit(repository, max_concurrency_per_key=2)
        made = await submit(repository, "a", "a", "a", "b", None, None, None, "a")
        first = claimed(await repository.claim("one", page=9))
        assert first == ids([*made[:2], *made[3:7]])  # without a key there is no limit
        assert claimed(await repository.claim("one", page=9)) == []
        await end(repository, made[3])
        assert claimed(await repository.claim("one", page=9)) == []
        await end(repository, made[0])
        assert claimed(await repository.claim("one", page=9)) == [made[2].id]

    async def test_keys_take_turns_and_what_they_own_counts(self, repository: Repository) -> None:
        await limit(repository, max_concurrency=4)
        made = await submit(repository, "a", "a", "a", "a", "b", "b", None)
        assert claimed(await repository.claim("one", page=2)) == ids([made[0], made[4]])  # the third has no room
        assert claimed(await repository.claim("one", page=9)) == ids([made[1], made[6]])
        await end(repository, made[4])
        assert claimed(await repository.claim("one", page=9)) == [made[5].id]

    async def test_the_highest_priority_is_first_in_each_turn(self, repository: Repository) -> None:
        await limit(repository, max_concurrency=1)
        low, usual = await submit(repository, None, priority=-3), await submit(repository, None, None)
        high = await submit(repository, None, None, priority=12)
        order = [*high, *usual, *low]
        for each in order:
            assert claimed(await repository.claim("one", page=9)) == [each.id]
            await end(repository, each)

    # Rates

    async def test_no_more_are_claimed_in_a_period_than_the_rate_allows(self, repository: Repository) -> None:
        await repository.renew_lease("one", LONG)
        await limit(repository, rate=(2, 3600))
        made = await submit(repository, *[None] * 5)
        assert claimed(await repository.claim("one", page=1)) == ids(made[:1])
        await end(repository, made[0])
        assert claimed(await repository.claim("one", page=9)) == ids(made[1:2])
        await end(repository, made[1])
        assert claimed(await repository.claim("one", page=9)) == []
        await limit(repository, rate=(3, 3600))  # what was claimed before counts
        assert claimed(await repository.claim("one", page=9)) == ids(made[2:3])
        assert claimed(await repository.claim("one", page=9)) == []
        await limit(repository, max_concurrency=9)
        assert claimed(await repository.claim("one", page=9)) == ids(made[3:])

    async def test_after_the_period_as_many_are_claimed_again(self, repository: Repository) -> None:
        await repository.renew_lease("one", LONG)
        await limit(repository, rate=(3, 0.3))
        made = await submit(repository, *[None] * 7)
        moments: list[tuple[float, float]] = []
        while len(moments) < len(made):
            await repository.renew_lease("one", LONG)  # uptime advances
            begun = time.monotonic()
            claims = await repository.claim("one", page=9)
            moments += [(begun, time.monotonic())] * len(claims)
            await asyncio.sleep(0.01)
        # From before the one claim to after the third one later: storage's own moments lie within.
        for (begun, _), (_, ended) in zip(moments, moments[3:], strict=False):
            assert ended - begun >= 0.3 - 0.005  # SQLite's clock has milliseconds

    # Changes

    async def test_what_runs_when_limits_are_set_counts(self, repository: Repository) -> None:
        running = await start(repository, owner="one", key="a")
        waiting = await submit(repository, "a", "b")
        made = await limit(repository, max_concurrency=2, max_concurrency_per_key=1)
        assert list(await repository.queues()) == [Queue(state_machine_id=MACHINE, limits=made, waiting=2, running=1)]
        assert claimed(await repository.claim("one", page=9)) == ids(waiting[1:])
        await end(repository, running)
        assert claimed(await repository.claim("one", page=9)) == ids(waiting[:1])

    async def test_a_changed_limit_counts_at_the_next_claim(self, repository: Repository) -> None:
        await limit(repository, max_concurrency=3)
        made = await submit(repository, *[None] * 6)
        assert len(await repository.claim("one", page=9)) == 3
        await limit(repository, max_concurrency=1)
        await end(repository, *made[:2])
        assert claimed(await repository.claim("one", page=9)) == []
        await limit(repository, max_concurrency=2)
        assert claimed(await repository.claim("one", page=9)) == ids(made[3:4])

    async def test_what_waits_when_limits_are_removed_is_claimed(self, repository: Repository) -> None:
        await limit(repository, max_concurrency=0)
        made = await submit(repository, "a", None, None)
        assert (await repository.queues())[0].waiting == 3
        await limit(repository)
        assert (await repository.queues())[0].waiting == 3  # under former limits
        direct = await start(repository, owner="one")
        assert claimed(await repository.claim("one", page=9)) == ids(made)
        await limit(repository, max_concurrency=5)
        assert (await repository.queues())[0].running == 4
        await end(repository, direct)

    # Beside others

    async def test_what_waits_is_not_in_the_way_of_others(self, repository: Repository) -> None:
        await limit(repository, max_concurrency=0)
        await submit(repository, *[None] * 5)
        (free,) = await submit(repository, None, state_machine_id="machine-b")
        assert claimed(await repository.claim("one", page=2)) == [free.id]

    async def test_the_oldest_are_claimed_first_of_all_that_may_be(self, repository: Repository) -> None:
        for machine in (MACHINE, "machine-c"):
            await limit(repository, machine, max_concurrency=2)
        made = [
            await start(repository, owner=None, state_machine_id=machine)
            for machine in ("machine-b", MACHINE, "machine-c", "machine-b", MACHINE)
        ]
        pages = [claimed(await repository.claim("one", page=2)) for _ in range(4)]
        assert pages == [ids(made[:2]), ids(made[2:4]), ids(made[4:]), []]

    async def test_revisions_are_left_to_others_in_a_queue_too(self, repository: Repository) -> None:
        await limit(repository, max_concurrency=1)
        (newer,), (older,) = [await submit(repository, None, state_machine_revision=revision) for revision in (2, 1)]
        assert claimed(await repository.claim("one", page=9, excluded_revisions=[(MACHINE, 2)])) == [older.id]
        await end(repository, older)
        assert claimed(await repository.claim("one", page=9)) == [newer.id]

    async def test_only_some_of_a_queue_are_claimed_where_they_are_named(self, repository: Repository) -> None:
        await limit(repository, max_concurrency=2)
        made = await submit(repository, *[None] * 4)
        (free,) = await submit(repository, None, state_machine_id="machine-b")
        named = [made[1].id, made[3].id, made[2].id, free.id, "nowhere"]
        assert claimed(await repository.claim("one", page=9, only_queued=[])) == []
        assert claimed(await repository.claim("one", page=1, only_queued=named)) == [made[1].id]
        assert claimed(await repository.claim("one", page=9, only_queued=named)) == [made[2].id]
        assert claimed(await repository.claim("one", page=9)) == [free.id]

    async def test_what_waits_for_a_limit_waits_for_no_worker(self, repository: Repository) -> None:
        await submit(repository, None, state_machine_id="machine-b")
        await limit(repository, max_concurrency=3)
        assert (await repository.backlog()).executions == 1
        await submit(repository, *[None] * 4)
        assert (await repository.backlog()).executions == 4
        await repository.claim("one", page=2)
        assert (await repository.backlog()).executions == 2
        await repository.claim("one", page=9)
        assert (await repository.backlog()).executions == 0
        await limit(repository, max_concurrency=1)
        assert (await repository.backlog()).executions == 0
        await limit(repository, max_concurrency=None)
        assert (await repository.backlog()).executions == 1

    # Why an execution waits

    async def test_an_execution_that_waits_says_for_which_limit(self, repository: Repository) -> None:
        await repository.renew_lease("one", LONG)

        async def reason(of: Execution) -> str | None:
            wait = await repository.limit_wait(of.id)
            assert wait is not None
            return wait.limit

        (free,) = await submit(repository, None)
        assert await repository.limit_wait(free.id) is None
        assert await repository.limit_wait("nowhere") is None
        made = await limit(repository, max_concurrency=2, max_concurrency_per_key=1, rate=(2, 3600))
        first, second = await submit(repository, "a", "a")
        (third,) = await submit(repository, None)
        assert await reason(first) is None
        assert claimed(await repository.claim("one", page=1)) == [free.id]
        assert await repository.limit_wait(free.id) is None
        assert claimed(await repository.claim("one", page=1)) == [first.id]
        wait = await repository.limit_wait(second.id)
        assert wait is not None
        assert wait.queue == Queue(state_machine_id=MACHINE, limits=made, waiting=2, running=2)
        assert str(wait) == (
            "waits for max_concurrency (2 at once, 1 at once for each key, 2 in 3600 s; 2 run, 2 wait)"
        )
        await end(repository, free)
        assert (await reason(second), await reason(third)) == ("rate", "rate")
        await limit(repository, max_concurrency_per_key=1)
        assert (await reason(second), await reason(third)) == ("max_concurrency_per_key", None)

    async def test_what_a_rate_has_taken_is_a_reason_after_limits_are_set_again(self, repository: Repository) -> None:
        await repository.renew_lease("one", LONG)
        for _ in range(2):
            await limit(repository, rate=(1, 3600))
            waiting = await submit(repository, None, None)
            await repository.claim("one", page=1)
            for _ in range(2):  # before a claim finds that nothing may be taken, and after it
                wait = await repository.limit_wait(waiting[1].id)
                assert wait is not None
                assert wait.limit == "rate"
                assert await repository.claim("one", page=1) == []
        await limit(repository, rate=(2, 3600))
        assert len(await repository.claim("one", page=9)) == 1

    async def test_a_machine_that_never_had_limits_has_no_queue_once_none_are_set(self, repository: Repository) -> None:
        (waiting,) = await submit(repository, None)
        await limit(repository)
        assert await repository.queues() == []
        assert await repository.limit_wait(waiting.id) is None
        assert claimed(await repository.claim("one", page=9)) == [waiting.id]

    # Properties

    async def test_claimers_at_once_never_exceed_the_limits(self, repository: Repository, other: Repository) -> None:
        await limit(repository, max_concurrency=5, max_concurrency_per_key=2)
        made = await submit(repository, *["a", "b", "c", None] * 8)
        owned: list[Execution] = []
        done: set[str] = set()
        most = 0

        async def take(number: int) -> list[Execution]:
            claims = await (repository, other)[number % 2].claim(f"worker-{number}", page=3)
            return [claim.execution for claim in claims]

        while len(done) < len(made):
            taken = await asyncio.gather(*map(take, range(4)))
            owned += [each for some in taken for each in some]
            most = max(most, len(owned))
            keys = Counter(each.key for each in owned if each.key is not None)
            assert len(owned) <= 5
            assert max(keys.values(), default=0) <= 2
            ended, owned = owned[::2], owned[1::2]
            await end(repository, *ended)
            done.update(ids(ended))
        # The limit was reached, so that the claimers did contend for it.
        assert most == 5

    @quick
    @given(
        keys=st.lists(st.tuples(st.sampled_from([None, "a", "b"]), st.integers(-1, 1)), min_size=4, max_size=9),
        most=st.none() | st.integers(0, 4),
        most_per_key=st.none() | st.integers(1, 2),
        pages=st.lists(st.integers(1, 4), min_size=1, max_size=5),
        ends=st.sets(st.integers(0, 8)),
    )
    async def test_claims_are_what_the_model_claims(
        self,
        repository: Repository,
        keys: Sequence[tuple[str | None, int]],
        most: int | None,
        most_per_key: int | None,
        pages: Sequence[int],
        ends: set[int],
    ) -> None:
        await limit(repository, max_concurrency=most, max_concurrency_per_key=most_per_key)
        made = [await start(repository, owner=None, key=key, priority=priority) for key, priority in keys]
        waiting, owned = list(made), list[Execution]()
        # Without limits there is no queue, and the model below is that of a queue.
        if most is None and most_per_key is None:
            waiting = []
            await repository.claim("one", page=99)
        for page in pages:
            expected = _chosen(waiting, owned, page, most, most_per_key)
            # A claim returns them by id, not by their turns.
            assert claimed(await repository.claim("one", page=page)) == sorted(ids(expected))
            waiting = [each for each in waiting if each not in expected]
            owned += expected
            for each in [each for each in owned if made.index(each) in ends]:
                await end(repository, each)
                owned.remove(each)
        stop = ending(ExecutionStatus.ABORTED)
        await repository.commit([StopExecution(execution_id=each.id, end=stop) for each in made])
        await commit(repository, deleting(*made))


def _chosen(
    waiting: Sequence[Execution], owned: Sequence[Execution], page: int, most: int | None, most_per_key: int | None
) -> list[Execution]:
    """Return which executions a claim takes, one after the other."""
    taken: list[Execution] = []
    turns: defaultdict[str | None, int] = defaultdict(int, Counter(each.key for each in owned))
    left = sorted(waiting, key=lambda each: (-each.priority, each.id))
    while len(taken) < page and (most is None or len(owned) + len(taken) < most):
        free = [each for each in left if each.key is None or most_per_key is None or turns[each.key] < most_per_key]
        if not free:
            break
        best = min(free, key=lambda each: (turns[each.key], -each.priority, each.id))
        turns[best.key] += 1
        taken.append(best)
        left.remove(best)
    return taken
