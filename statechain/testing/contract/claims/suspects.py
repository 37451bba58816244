"""The contract of suspects: what a take-up that a death followed leaves, and when a suspect may be claimed."""

# ruff: noqa: D102, S101 -- a test's name says what it shows

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from statechain.errors import LeaseLost
from statechain.records.executions import Claim, Execution
from statechain.storage.leases import SuspectGroup
from statechain.storage.repository import ReleaseExecution, Repository, StopExecution, TakeUpExecution
from statechain.testing.contract.samples import advance, bury, commit, ending, finish, ids, start, visit

__all__ = ["SuspectContract"]

LONG = timedelta(hours=1)
AT_ONCE = timedelta(0)
ANY = range(1, 1000)


def taking_up(claim: Claim, claims: int, backoff: timedelta = AT_ONCE) -> TakeUpExecution:
    return TakeUpExecution(execution_id=claim.execution.id, epoch=claim.epoch, claims=claims, backoff=backoff)


async def suspect(repository: Repository, deaths: int = 1, *, backoff: timedelta = AT_ONCE) -> Execution:
    """Store an execution after whose take-ups that many workers died."""
    await repository.renew_lease("doomed", LONG)
    made = await start(repository, owner="doomed")
    # Its take-up is committed before its death: the death alone would be blamed on nothing.
    await commit(repository, taking_up(Claim(execution=made, epoch=1, seq=0), deaths, backoff))
    await bury(repository, "doomed")
    return made


class SuspectContract:
    """Executions after whose take-up a worker died."""

    async def test_a_death_after_a_take_up_makes_a_suspect(self, repository: Repository) -> None:
        made = await suspect(repository, 3)
        assert list(await repository.claim("two", page=9)) == []
        (claim,) = await repository.claim("two", page=9, suspects=range(3, 4))
        assert (claim.execution, claim.claims) == (made, 3)
        assert claim.suspected >= timedelta(0)

    async def test_a_death_before_the_take_up_does_not(self, repository: Repository) -> None:
        made = await start(repository, owner=None)
        await repository.renew_lease("doomed", LONG)
        assert len(await repository.claim("doomed", page=9)) == 1
        await bury(repository, "doomed")
        (claim,) = await repository.claim("two", page=9)
        assert (claim.execution, claim.claims, claim.suspected) == (made, 0, timedelta(0))

    async def test_progress_clears_a_suspect(self, repository: Repository) -> None:
        made = await suspect(repository, 2)
        await repository.renew_lease("two", LONG)
        (claim,) = await repository.claim("two", page=9, suspects=ANY)
        await commit(repository, taking_up(claim, 3))
        await commit(repository, advance(made, visit(made), epoch=claim.epoch))
        await bury(repository, "two")
        (claim,) = await repository.claim("three", page=9)
        assert (claim.claims, claim.suspected, claim.seq) == (0, timedelta(0), 1)

    async def test_progress_that_is_refused_does_not(self, repository: Repository) -> None:
        made = await suspect(repository, 2)
        (claim,) = await repository.claim("two", page=9, suspects=ANY)
        with pytest.raises(LeaseLost):
            # Under epoch 1, the dead owner's: a write that is fenced off is no progress.
            await commit(repository, advance(made, visit(made)))
        await repository.renew_lease("two", LONG)
        # It dies before its take-up, so that no death is added either.
        await bury(repository, "two")
        (claim,) = await repository.claim("three", page=9, suspects=ANY)
        assert claim.claims == 2

    async def test_a_take_up_may_be_written_again(self, repository: Repository) -> None:
        await start(repository, owner=None)
        (claim,) = await repository.claim("two", page=9)
        # The second time as after a lost reply.
        for _ in range(2):
            assert list(await repository.commit([taking_up(claim, 1)])) == [None]
        await commit(repository, advance(claim.execution, visit(claim.execution), epoch=claim.epoch))

    async def test_a_take_up_under_another_epoch_is_refused(self, repository: Repository) -> None:
        await start(repository, owner=None)
        ended = await finish(repository)
        (claim,) = await repository.claim("two", page=9)
        refused = {
            "ANOTHERS": (claim.execution, claim.epoch - 1),
            "BEHIND": (claim.execution, claim.epoch + 1),
            "ENDED": (ended, 1),
        }
        writes = [taking_up(Claim(execution=of, epoch=epoch, seq=0), 9) for of, epoch in refused.values()]
        for reason, write in zip(refused, writes, strict=True):
            (outcome,) = await repository.commit([write])
            assert isinstance(outcome, LeaseLost)
            assert outcome.reason == reason
        await repository.release("two")
        (again,) = await repository.claim("two", page=9)
        assert again.claims == 0

    async def test_take_ups_share_a_commit_with_other_writes(self, repository: Repository) -> None:
        made = [await start(repository, owner=None) for _ in range(3)]
        moved = await start(repository)
        claims = await repository.claim("two", page=9)
        writes = [*(taking_up(claim, 1) for claim in claims), advance(moved, visit(moved))]
        late = TakeUpExecution(execution_id="nowhere", epoch=1, claims=1, backoff=AT_ONCE)
        *outcomes, refused = await repository.commit([*writes, late])
        assert outcomes == [None] * 4
        assert isinstance(refused, LeaseLost)
        assert ids([claim.execution for claim in claims]) == ids(made)
        assert [each.number for each in await repository.visits(moved.id)] == [0]

    async def test_suspects_are_claimed_by_their_deaths(self, repository: Repository) -> None:
        once = [await suspect(repository), await suspect(repository)]
        thrice = await suspect(repository, 3)
        assert [claim.execution for claim in await repository.claim("two", page=1, suspects=range(1, 2))] == once[:1]
        assert list(await repository.claim("two", page=9, suspects=range(2, 3))) == []
        assert [claim.execution for claim in await repository.claim("two", page=9, suspects=ANY)] == [once[1], thrice]

    async def test_a_suspect_is_left_alone_for_its_backoff(self, repository: Repository) -> None:
        await suspect(repository, backoff=LONG)
        brief = await suspect(repository, 2, backoff=timedelta(seconds=0.05))
        async with asyncio.timeout(30):
            while not (claims := await repository.claim("two", page=9, suspects=ANY)):
                await asyncio.sleep(0.02)
                # A backoff is counted in uptime, which advances only while some worker renews its lease.
                await repository.renew_lease("two", LONG)
        assert [claim.execution for claim in claims] == [brief]
        assert list(await repository.claim("two", page=9, suspects=ANY)) == []

    async def test_a_release_begins_a_backoff(self, repository: Repository) -> None:
        made = [await start(repository), await start(repository)]
        for each, backoff in zip(made, (LONG, AT_ONCE), strict=True):
            await commit(repository, ReleaseExecution(execution_id=each.id, epoch=1, claims=1, backoff=backoff))
        assert [claim.execution for claim in await repository.claim("two", page=9, suspects=ANY)] == made[1:]

    async def test_an_orderly_leave_is_no_death(self, repository: Repository) -> None:
        await suspect(repository, 2)
        await repository.renew_lease("two", LONG)
        (claim,) = await repository.claim("two", page=9, suspects=ANY)
        # The orderly release takes this take-up back, and its backoff of an hour never begins.
        await commit(repository, taking_up(claim, 3, LONG))
        await repository.release("two")
        (claim,) = await repository.claim("three", page=9, suspects=ANY)
        assert claim.claims == 2

    async def test_groups_of_suspects(self, repository: Repository) -> None:
        assert list(await repository.suspect_groups()) == []
        for _ in range(2):
            await suspect(repository)
        await suspect(repository, 3, backoff=LONG)
        await start(repository)
        first, second = await repository.suspect_groups()
        assert (first.deaths, first.count, second.deaths, second.count) == (1, 2, 3, 1)
        assert isinstance(first, SuspectGroup)
        assert first.due <= timedelta(0)
        assert timedelta(0) < second.due <= LONG

    async def test_suspects_are_listed(self, repository: Repository) -> None:
        once, twice = await suspect(repository), await suspect(repository, 2, backoff=LONG)
        tried = await suspect(repository, 3)
        (claim,) = await repository.claim("two", page=9, suspects=range(3, 4))
        await commit(repository, taking_up(claim, 4))
        await start(repository, owner=None)
        (fresh,) = await repository.claim("two", page=9)
        await commit(repository, taking_up(fresh, 1))  # that is no suspect: nothing died of it
        found = await repository.suspects(page=9)
        assert [each.execution for each in found] == [tried, twice, once]
        assert [(each.deaths, each.is_running) for each in found] == [(3, True), (2, False), (1, False)]
        assert [each.due > timedelta(0) for each in found] == [False, True, False]
        assert [each.execution for each in await repository.suspects(page=1)] == [tried]
        assert all(each.suspected >= timedelta(0) for each in found)

    async def test_what_was_stopped_is_no_suspect(self, repository: Repository) -> None:
        made = await suspect(repository, 2)
        await commit(repository, StopExecution(execution_id=made.id, end=ending()))
        assert list(await repository.suspects(page=9)) == []
        assert list(await repository.suspect_groups()) == []
