"""The contract of leases: which worker owns a running execution, and which may take it over."""

# ruff: noqa: D102, S101 -- a test's name says what it shows

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import attrs
import pytest

from statechain.errors import LeaseLost
from statechain.records.executions import Claim, Execution, ExecutionStatus
from statechain.storage.leases import missing_lease
from statechain.storage.repository import ReleaseExecution, Repository, StartExecution, StopExecution, TakeUpExecution
from statechain.testing.contract.samples import (
    advance,
    bury,
    commit,
    ending,
    execution,
    finish,
    ids,
    orphan,
    redriving,
    start,
    visit,
)

__all__ = ["EpochContract", "LeaseContract", "OrphanContract", "ReleaseContract"]

LONG = timedelta(hours=1)


def claimed(claims: Sequence[Claim]) -> list[str]:
    """Return the ids of what was claimed, in its order."""
    return [claim.execution.id for claim in claims]


class LeaseContract:
    """Heartbeats, claims and releases."""

    async def test_what_was_submitted_without_an_owner_is_claimed_with_the_first_epoch(
        self, repository: Repository
    ) -> None:
        made = await start(repository, owner=None)
        assert dict(await repository.epochs([made.id])) == {made.id: 0}
        await repository.renew_lease("two", LONG)
        assert list(await repository.claim("two", page=10)) == [Claim(execution=made, epoch=1, seq=0)]
        await commit(repository, advance(made, visit(made), end=ending()))
        assert dict(await repository.epochs([made.id])) == {}

    async def test_what_is_redriven_without_an_owner_is_claimed(self, repository: Repository) -> None:
        made = await finish(repository, status=ExecutionStatus.FAILED)
        first = await commit(repository, redriving(made, owner=None))
        assert first is not None
        assert (first.epoch, first.execution.redrive_count, first.execution.status) == (2, 1, ExecutionStatus.RUNNING)
        assert await commit(repository, redriving(made, owner=None)) == first  # its reply was lost
        await repository.renew_lease("two", LONG)
        (claim,) = await repository.claim("two", page=10)
        assert (claim.execution, claim.epoch, claim.claims) == (first.execution, 3, 0)
        again = await commit(repository, redriving(made, owner=None))  # and so late that it is claimed
        assert again is not None
        assert (again.execution, again.epoch) == (first.execution, 3)

    async def test_what_nobody_owns_is_claimed(self, repository: Repository) -> None:
        made = await orphan(repository)
        await repository.renew_lease("two", LONG)
        (claim,) = await repository.claim("two", page=10)
        assert claim == Claim(execution=made, epoch=2, seq=0)

    async def test_what_a_worker_without_a_lease_owns_is_claimed_once_it_is_released(
        self, repository: Repository
    ) -> None:
        for worker in ("two", "three"):
            await repository.renew_lease(worker, LONG)
        made = [await start(repository, owner=owner) for owner in ("one", "three", "one", "four")]
        strays = {each.worker_id: each for each in await repository.strays()}
        assert strays == {"one": missing_lease("one"), "four": missing_lease("four")}
        assert len(await repository.strays()) == 2
        assert list(await repository.claim("two", page=10)) == []
        assert list(await repository.release_dead([strays["one"]])) == ["one"]
        assert claimed(await repository.claim("two", page=10)) == ids([made[0], made[2]])
        assert [each.worker_id for each in await repository.strays()] == ["four"]
        assert sorted(each.worker_id for each in await repository.workers()) == ["three", "two"]

    async def test_a_worker_that_registers_after_its_lease_was_seen_missing_keeps_what_it_owns(
        self, repository: Repository
    ) -> None:
        await start(repository, owner="one")
        missing = await repository.strays()
        assert not await repository.renew_lease("one", LONG)
        assert list(await repository.release_dead(missing)) == []
        assert list(await repository.strays()) == []
        assert list(await repository.claim("two", page=10)) == []
        assert await repository.renew_lease("one", LONG)

    async def test_a_worker_that_was_released_without_a_lease_learns_it_when_it_registers(
        self, repository: Repository, other: Repository
    ) -> None:
        await start(repository, owner="one")
        missing = await repository.strays()
        assert list(await other.release_dead(missing)) == ["one"]
        assert list(await repository.workers()) == []
        # False: others may have claimed what the worker still runs.
        assert not await repository.renew_lease("one", LONG)
        assert list(await other.release_dead(missing)) == []

    async def test_the_backoff_of_a_suspect_begins_when_its_owner_without_a_lease_is_released(
        self, repository: Repository
    ) -> None:
        await repository.renew_lease("two", LONG)
        made = await start(repository, owner="one")
        await commit(repository, TakeUpExecution(execution_id=made.id, epoch=1, claims=1, backoff=LONG))
        await repository.release_dead(await repository.strays())
        (group,) = await repository.suspect_groups()
        assert (group.deaths, group.count) == (1, 1)
        assert group.due > timedelta(0)

    async def test_what_a_worker_with_a_lease_owns_is_not(self, repository: Repository) -> None:
        await repository.renew_lease("one", LONG)
        await repository.renew_lease("two", LONG)
        await start(repository, owner="one")
        assert list(await repository.claim("two", page=10)) == []
        # Not even by its owner, which runs it: `orphaned` alone says that it does not.
        assert list(await repository.claim("one", page=10)) == []

    async def test_a_lease_that_is_over_by_the_clock_alone_is_not_released(self, repository: Repository) -> None:
        await repository.renew_lease("one", timedelta(0))
        await repository.renew_lease("two", LONG)
        await start(repository, owner="one")
        # Over by the database's clock alone: no peer may act on that before it saw the lease unchanged for its length.
        assert {each.worker_id: each.is_over for each in await repository.workers()} == {"one": True, "two": False}
        assert list(await repository.strays()) == []
        assert list(await repository.claim("two", page=10)) == []

    async def test_what_a_dead_worker_owned_is_claimed(self, repository: Repository) -> None:
        for worker in ("one", "two", "three"):
            await repository.renew_lease(worker, LONG)
        made = [await start(repository, owner=owner) for owner in ("one", "two", "one")]
        await bury(repository, "one")
        assert claimed(await repository.claim("three", page=10)) == ids([made[0], made[2]])
        assert sorted(each.worker_id for each in await repository.workers()) == ["three", "two"]

    async def test_a_lease_that_was_renewed_since_it_was_seen_is_not_released(self, repository: Repository) -> None:
        await repository.renew_lease("one", LONG)
        await start(repository, owner="one")
        seen = await repository.workers()
        assert await repository.renew_lease("one", LONG)
        # Compare-and-set on the lease as it was seen: the renewal in between fences the release.
        assert list(await repository.release_dead(seen)) == []
        assert list(await repository.claim("two", page=10)) == []

    async def test_a_lease_is_released_once(self, repository: Repository, other: Repository) -> None:
        await repository.renew_lease("one", LONG)
        seen = await repository.workers()
        assert list(await repository.release_dead(seen)) == ["one"]
        # Two peers that come to the same verdict release it once.
        assert list(await other.release_dead(seen)) == []

    async def test_a_renewal_shows(self, repository: Repository) -> None:
        assert not await repository.renew_lease("one", LONG)
        (first,) = await repository.workers()
        assert list(await repository.workers()) == [first]
        assert await repository.renew_lease("one", LONG)
        (second,) = await repository.workers()
        assert second != first
        assert (second.worker_id, second.length) == ("one", LONG)
        await bury(repository, "one")
        assert not await repository.renew_lease("one", LONG)

    async def test_what_was_claimed_belongs_to_the_claimer(self, repository: Repository) -> None:
        await start(repository, owner=None)
        for worker in ("two", "three"):
            await repository.renew_lease(worker, LONG)
        assert len(await repository.claim("two", page=10)) == 1
        assert list(await repository.claim("three", page=10)) == []
        assert list(await repository.claim("two", page=10)) == []

    async def test_each_claim_raises_the_epoch_and_blames_nothing(self, repository: Repository) -> None:
        made = await orphan(repository)
        for count in range(1, 5):
            await repository.renew_lease("ghost", LONG)
            (claim,) = await repository.claim("ghost", page=10)
            assert (claim.epoch, claim.claims, claim.execution) == (1 + count, 0, made)
            # Dead before it committed a take-up: no death that the execution is blamed for.
            await bury(repository, "ghost")

    async def test_a_claim_shows_the_execution_as_it_stands(self, repository: Repository) -> None:
        made = await orphan(repository)
        await commit(repository, advance(made, visit(made, 0), visit(made, 1), current_state="Third"))
        (claim,) = await repository.claim("two", page=10)
        assert claim == Claim(execution=attrs.evolve(made, current_state="Third"), epoch=2, seq=2)

    async def test_who_was_taken_over_can_write_no_more(self, repository: Repository) -> None:
        made = await orphan(repository)
        (claim,) = await repository.claim("two", page=10)
        # Its old epoch is the fencing token: it refuses progress, a write without visits, and an end.
        for late in (advance(made, visit(made)), advance(made), advance(made, visit(made), end=ending())):
            with pytest.raises(LeaseLost) as lost:
                await commit(repository, late)
            assert lost.value.reason == "ANOTHERS"
        assert await repository.execution(made.id) == made
        await commit(repository, advance(made, visit(made), epoch=claim.epoch, end=ending()))

    async def test_what_has_ended_is_lost_for_that_reason(self, repository: Repository) -> None:
        made = await finish(repository)
        for execution_id in (made.id, "nowhere"):
            with pytest.raises(LeaseLost) as lost:
                await commit(repository, attrs.evolve(advance(made, visit(made)), execution_id=execution_id))
            assert lost.value.reason == "ENDED"

    async def test_storage_that_has_less_than_was_acknowledged_says_so(self, repository: Repository) -> None:
        """As after an asynchronous failover, or from a backup: of steps, and of the claim itself."""
        made = await start(repository)
        for late in (advance(made, visit(made, 1), seq=1), advance(made, visit(made), epoch=2)):
            with pytest.raises(LeaseLost) as lost:
                await commit(repository, late)
            assert lost.value.reason == "BEHIND"

    async def test_what_was_written_before_the_claim_stays_written(self, repository: Repository) -> None:
        made = await orphan(repository)
        await commit(repository, advance(made, visit(made)))
        (claim,) = await repository.claim("two", page=10)
        await commit(repository, advance(made, visit(made, 1), seq=claim.seq, epoch=claim.epoch))
        assert [each.number for each in await repository.visits(made.id)] == [0, 1]

    @pytest.mark.parametrize("status", list(ExecutionStatus)[1:])
    async def test_what_has_ended_is_not_claimed(self, repository: Repository, status: ExecutionStatus) -> None:
        await finish(repository, status=status)
        assert list(await repository.claim("two", page=10)) == []

    async def test_what_was_stopped_is_not_claimed(self, repository: Repository) -> None:
        made = await start(repository, owner=None)
        await commit(repository, StopExecution(execution_id=made.id, end=ending(ExecutionStatus.ABORTED)))
        assert list(await repository.claim("two", page=10)) == []

    async def test_what_is_redriven_belongs_to_its_redriver(self, repository: Repository) -> None:
        made = await finish(repository, status=ExecutionStatus.FAILED)
        await repository.renew_lease("one", LONG)
        claim = await commit(repository, redriving(made, owner="one"))
        assert claim is not None
        assert list(await repository.claim("two", page=10)) == []
        await repository.release("one")
        (taken,) = await repository.claim("two", page=10)
        assert (taken.epoch, taken.claims) == (claim.epoch + 1, 0)

    async def test_a_heart_beats_in_a_thread_of_its_own(self, repository: Repository) -> None:
        await repository.renew_lease("one", LONG)
        (before,) = await repository.workers()
        renewer = repository.lease_renewer("one", LONG)

        async def beat() -> list[bool]:
            async with renewer:
                return [await renewer.renew(), await renewer.renew()]

        # Another event loop: a renewer may share no connection or lock with the repository's.
        assert await asyncio.to_thread(lambda: asyncio.run(beat())) == [True, True]
        (after,) = await repository.workers()
        assert after != before

    async def test_a_heart_notices_that_its_worker_was_taken_for_dead(self, repository: Repository) -> None:
        await repository.renew_lease("one", LONG)
        async with repository.lease_renewer("one", LONG) as renewer:
            assert await renewer.renew()
            await bury(repository, "one")
            assert not await renewer.renew()
            # The renewal that reported the loss registered the worker again.
            assert await renewer.renew()

    async def test_workers_compare_bytewise(self, repository: Repository) -> None:
        await repository.renew_lease("One", LONG)
        made = await start(repository, owner="one")
        assert list(await repository.release_dead(await repository.strays())) == ["one"]
        assert claimed(await repository.claim("two", page=10)) == [made.id]

    @pytest.mark.parametrize("worker", ["one\ud800", "\x00two"], ids=ascii)
    async def test_a_worker_whose_id_is_no_text_is_released_as_any_other(
        self, repository: Repository, worker: str
    ) -> None:
        await repository.renew_lease(worker, LONG)
        made = [await start(repository, owner=owner) for owner in (worker, f"{worker}!")]
        await bury(repository, worker)
        assert list(await repository.release_dead(await repository.strays())) == [f"{worker}!"]
        assert claimed(await repository.claim("two", page=10)) == ids(made)

    async def test_a_start_that_found_its_name_taken_owns_nothing(self, repository: Repository) -> None:
        await repository.renew_lease("two", LONG)
        holder = await start(repository, name="order", owner=None)
        await commit(repository, StartExecution(execution=execution(name="order"), owner="two"))
        assert claimed(await repository.claim("two", page=10)) == [holder.id]

    async def test_a_worker_owns_again_what_was_released_and_not_claimed(self, repository: Repository) -> None:
        for worker in ("one", "two"):
            await repository.renew_lease(worker, LONG)
        made = [await start(repository, owner="one") for _ in range(3)]
        await bury(repository, "one")
        await repository.renew_lease("one", LONG)
        (taken,) = await repository.claim("two", page=1)
        epochs = {made[0].id: 1, made[1].id: 1, made[2].id: 2}  # of the last, it knows of another claim
        await repository.retain("one", epochs)
        assert taken.execution == made[0]
        assert claimed(await repository.claim("three", page=9)) == [made[2].id]
        await repository.release("one")
        assert claimed(await repository.claim("three", page=9)) == [made[1].id]


class EpochContract:
    """Under which epochs executions run: how a worker learns that what it runs is its own no more."""

    async def test_epochs_are_those_of_what_runs(self, repository: Repository) -> None:
        running, ended = await start(repository), await finish(repository)
        asked = ["nowhere", running.id, ended.id, running.id]
        assert dict(await repository.epochs(asked)) == {running.id: 1}
        assert dict(await repository.epochs([])) == {}

    async def test_who_owns_an_execution_plays_no_part(self, repository: Repository) -> None:
        made = [await start(repository, owner=owner) for owner in ("one", "two", "three")]
        await commit(repository, ReleaseExecution(execution_id=made[0].id, epoch=1, claims=0))
        assert dict(await repository.epochs(ids(made))) == dict.fromkeys(ids(made), 1)

    async def test_progress_leaves_the_epoch_and_an_end_takes_it(self, repository: Repository) -> None:
        made = await start(repository)
        await commit(repository, advance(made, visit(made)))
        assert dict(await repository.epochs([made.id])) == {made.id: 1}
        await commit(repository, advance(made, seq=1, end=ending()))
        assert dict(await repository.epochs([made.id])) == {}

    async def test_a_claim_a_stop_and_a_redrive_change_it(self, repository: Repository) -> None:
        made = await start(repository, owner=None)
        (claim,) = await repository.claim("one", page=9)
        assert dict(await repository.epochs([made.id])) == {made.id: claim.epoch}
        await commit(repository, StopExecution(execution_id=made.id, end=ending(ExecutionStatus.ABORTED)))
        assert dict(await repository.epochs([made.id])) == {}
        redriven = await commit(repository, redriving(made, owner="one"))
        assert redriven is not None
        assert redriven.epoch > claim.epoch
        assert dict(await repository.epochs([made.id])) == {made.id: redriven.epoch}

    async def test_another_one_sees_it_at_once(self, repository: Repository, other: Repository) -> None:
        made = await start(repository)
        assert dict(await other.epochs([made.id])) == {made.id: 1}
        await commit(other, StopExecution(execution_id=made.id, end=ending(ExecutionStatus.ABORTED)))
        assert dict(await repository.epochs([made.id])) == {}

    # The SQL backends ask for 500 ids in one statement: one short of it, at it, past it, and several.
    @pytest.mark.parametrize("count", [499, 500, 501, 1200])
    async def test_many_epochs_at_once(self, repository: Repository, count: int) -> None:
        made = [execution() for _ in range(count)]
        await repository.commit([StartExecution(execution=each, owner="one") for each in made])
        assert dict(await repository.epochs(ids(made))) == dict.fromkeys(ids(made), 1)


class OrphanContract:
    """Which executions a claim takes, and which it leaves."""

    async def test_the_oldest_are_claimed_first_page_by_page(self, repository: Repository) -> None:
        made = [await start(repository, owner=None) for _ in range(5)]
        await repository.renew_lease("two", LONG)
        pages = [claimed(await repository.claim("two", page=2)) for _ in range(4)]
        assert pages == [ids(made[:2]), ids(made[2:4]), ids(made[4:]), []]

    async def test_orphans_are_picked_from_among_the_owned(self, repository: Repository) -> None:
        await repository.renew_lease("one", LONG)
        await repository.renew_lease("dead", LONG)
        owners = ["one", None, "one", "dead", "one", None]
        made = [await start(repository, owner=owner) for owner in owners]
        await bury(repository, "dead")
        assert claimed(await repository.claim("two", page=10)) == ids([made[1], made[3], made[5]])

    async def test_revisions_are_left_to_others(self, repository: Repository) -> None:
        fields = [("machine-a", 1), ("machine-a", 2), ("machine-b", 1), ("machine-b", 2), ("Machine-a", 1)]
        made = [
            await start(repository, owner=None, state_machine_id=each, state_machine_revision=revision)
            for each, revision in fields
        ]
        leaving = {("machine-a", 1), ("machine-b", 2), ("machine-z", 7)}
        assert claimed(await repository.claim("two", page=2, excluded_revisions=leaving)) == ids([made[1], made[2]])
        assert claimed(await repository.claim("two", page=2, excluded_revisions=leaving)) == [made[4].id]
        assert claimed(await repository.claim("two", page=9, excluded_revisions=[])) == ids([made[0], made[3]])

    async def test_what_is_left_is_not_touched(self, repository: Repository) -> None:
        made = await orphan(repository)
        for _ in range(3):
            assert list(await repository.claim("two", page=9, excluded_revisions=[("machine-a", 1)])) == []
        (claim,) = await repository.claim("two", page=9)
        assert (claim.execution.id, claim.epoch, claim.claims) == (made.id, 2, 0)

    async def test_what_the_claimer_owns_and_does_not_run_is_claimed_again(self, repository: Repository) -> None:
        for worker in ("one", "two"):
            await repository.renew_lease(worker, LONG)
        running, lost, others = [await start(repository, owner=owner) for owner in ("two", "two", "one")]
        assert dict(await repository.owned("two")) == {running.id: 1, lost.id: 1}
        # Another worker's is named as well: a claim releases only what the claimer itself owns.
        (claim,) = await repository.claim("two", page=9, orphaned={lost.id: 1, others.id: 1})
        assert (claim.execution.id, claim.epoch) == (lost.id, 2)
        assert dict(await repository.owned("two")) == {running.id: 1, lost.id: 2}
        assert list(await repository.claim("two", page=9, orphaned={others.id: 1})) == []
        both = {running.id: 1, lost.id: 2}
        assert claimed(await repository.claim("two", page=9, orphaned=both)) == ids([running, lost])
        assert list(await repository.claim("two", page=9)) == []

    async def test_what_has_another_epoch_by_now_is_not_released(self, repository: Repository) -> None:
        """It was redriven by the claimer, say, after storage had said what that owns."""
        made = await start(repository, owner="two")
        assert list(await repository.claim("two", page=9, orphaned={made.id: 2})) == []
        assert dict(await repository.owned("two")) == {made.id: 1}

    async def test_at_once_each_orphan_is_claimed_once(self, repository: Repository, other: Repository) -> None:
        made = [await orphan(repository) for _ in range(20)]
        workers = {"one": repository, "two": other, "three": repository, "four": other}
        for worker, each in workers.items():
            await each.renew_lease(worker, LONG)

        async def take_all(worker: str, each: Repository) -> list[str]:
            taken: list[str] = []
            while claims := await each.claim(worker, page=3):
                assert all(claim.epoch == 2 for claim in claims)
                taken.extend(claimed(claims))
            return taken

        taken = await asyncio.gather(*(take_all(worker, each) for worker, each in workers.items()))
        found = sorted(each for some in taken for each in some)
        assert len(found) == len(set(found))
        # A claim skips rows that another one has locked, and may come back empty while some are left.
        rest = claimed(await repository.claim("one", page=100))
        assert sorted([*found, *rest]) == sorted(ids(made))

    async def test_many_orphans(self, repository: Repository) -> None:
        made: list[Execution] = [execution() for _ in range(300)]
        await repository.commit([StartExecution(execution=each, owner=None) for each in made])
        await repository.renew_lease("two", LONG)
        assert claimed(await repository.claim("two", page=250)) == ids(made[:250])
        assert claimed(await repository.claim("two", page=250)) == ids(made[250:])


class ReleaseContract:
    """Giving up what one owns."""

    async def test_a_release_leaves_all_to_others_at_once(self, repository: Repository) -> None:
        for worker in ("one", "two", "three"):
            await repository.renew_lease(worker, LONG)
        made = [await start(repository, owner=owner) for owner in ("one", "two", "one")]
        await repository.release("one")
        assert claimed(await repository.claim("three", page=10)) == ids([made[0], made[2]])

    async def test_a_released_worker_is_forgotten(self, repository: Repository) -> None:
        await repository.renew_lease("one", LONG)
        await repository.release("one")
        assert list(await repository.workers()) == []

    async def test_a_release_ends_no_epoch(self, repository: Repository) -> None:
        made = await start(repository, owner="one")
        await repository.release("one")
        # The epoch is the fence, and not the owner: until the next claim, a write under way is accepted.
        await commit(repository, advance(made, visit(made)))

    async def test_releasing_nothing(self, repository: Repository) -> None:
        await repository.renew_lease("one", LONG)
        made = await start(repository, owner="one")
        await repository.release("nobody")
        await repository.release("nobody")
        assert list(await repository.claim("two", page=10)) == []
        await commit(repository, advance(made, visit(made)))

    @pytest.mark.parametrize("claims", [0, 4])
    async def test_one_execution_is_released(self, repository: Repository, claims: int) -> None:
        for worker in ("one", "two"):
            await repository.renew_lease(worker, LONG)
        made, kept = await start(repository, owner="one"), await start(repository, owner="one")
        write = ReleaseExecution(execution_id=made.id, epoch=1, claims=claims)
        # The second time as after a lost reply.
        for _ in range(2):
            await commit(repository, write)
        (claim,) = await repository.claim("two", page=9, suspects=range(4, 5) if claims else None)
        assert (claim.execution, claim.epoch, claim.claims) == (made, 2, claims)
        await commit(repository, advance(kept, visit(kept)))

    async def test_an_execution_is_released_under_its_epoch_alone(self, repository: Repository) -> None:
        await repository.renew_lease("two", LONG)
        await start(repository, owner=None)
        (claim,) = await repository.claim("two", page=9)
        # An owner that was taken over must not release what its successor runs.
        for epoch in (claim.epoch - 1, claim.epoch + 1):
            await commit(repository, ReleaseExecution(execution_id=claim.execution.id, epoch=epoch, claims=0))
        assert list(await repository.claim("three", page=9)) == []

    async def test_what_does_not_run_cannot_be_released(self, repository: Repository) -> None:
        ended = await finish(repository)
        writes = [ReleaseExecution(execution_id=each, epoch=1, claims=0) for each in (ended.id, "nowhere")]
        assert list(await repository.commit(writes)) == [None, None]
        assert await repository.execution(ended.id) == ended
        assert list(await repository.claim("two", page=9)) == []
