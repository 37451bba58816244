"""The contract of deletions: what is named and has ended goes with all that hangs on it, and nothing else goes."""

# ruff: noqa: D102, S101 -- a test's name says what it shows

from __future__ import annotations

import asyncio

import pytest

from statechain.records.executions import Claim, Execution, ExecutionStatus
from statechain.records.filters import ExecutionFilter
from statechain.storage.repository import Repository, StartExecution
from statechain.testing.contract.samples import (
    ENDINGS,
    FAILURES,
    advance,
    chained,
    commit,
    deleting,
    ending,
    execution,
    finish,
    ids,
    moment,
    redriving,
    seed,
    start,
    visit,
)

__all__ = ["DeletionContract"]


async def left(repository: Repository) -> list[str]:
    """Return the ids of all executions that there are, oldest first."""
    return ids(await repository.executions(ExecutionFilter(order="oldest_first"), after=None, page=1000))


async def redrive(repository: Repository, ended: Execution) -> Execution:
    """Make an execution run again; return it as it is."""
    claim = await commit(repository, redriving(ended))
    assert claim is not None
    return claim.execution


class DeletionContract:
    """Deleting executions."""

    async def test_the_ended_go_and_the_running_stay(self, repository: Repository) -> None:
        ended = [await finish(repository, status=status) for status in ENDINGS]
        running = await start(repository)
        assert await commit(repository, deleting(running, *ended)) == len(ENDINGS)
        assert await left(repository) == [running.id]
        await commit(repository, advance(running, visit(running), end=ending()))

    async def test_what_is_not_named_stays(self, repository: Repository) -> None:
        made = [await finish(repository) for _ in range(4)]
        assert await commit(repository, deleting(made[2], made[0])) == 2
        assert await commit(repository, deleting()) == 0
        assert await left(repository) == ids([made[1], made[3]])

    async def test_what_is_gone_counts_whoever_deleted_it(self, repository: Repository) -> None:
        made = [await finish(repository) for _ in range(2)]
        await commit(repository, deleting(made[0]))
        # Also what was never stored: storage cannot distinguish it from what another deletion removed.
        assert await commit(repository, deleting(*made, execution())) == 3
        assert await left(repository) == []

    async def test_deleting_again_changes_nothing_and_counts_the_same(self, repository: Repository) -> None:
        made = [await finish(repository) for _ in range(3)]
        running = await start(repository)
        write = deleting(*made[:2], running)
        assert await commit(repository, write) == 2
        # The reply to the first was lost, and the caller's count must not shrink by that.
        assert await commit(repository, write) == 2
        assert await left(repository) == ids([made[2], running])

    @pytest.mark.parametrize("status", FAILURES)
    async def test_what_was_redriven_since_stays(self, repository: Repository, status: ExecutionStatus) -> None:
        seen = await finish(repository, status=status)
        running = await redrive(repository, seen)
        assert await commit(repository, deleting(seen)) == 0
        assert await commit(repository, deleting(running)) == 0
        await commit(repository, advance(running, visit(running), epoch=2, end=ending()))
        # It has ended again, but under another redrive count, which fences what was read before the redrive.
        assert await commit(repository, deleting(seen)) == 0
        assert list(await repository.visits(seen.id)) == [visit(seen)]
        ended = await repository.execution(seen.id)
        assert ended is not None
        assert await commit(repository, deleting(ended)) == 1
        assert await left(repository) == []

    async def test_their_visits_go_too(self, repository: Repository) -> None:
        gone, kept = await start(repository), await start(repository)
        await finish(repository, visit(gone), of=gone)
        await commit(repository, advance(kept, visit(kept)))
        await commit(repository, deleting(gone, kept))
        assert await repository.execution(gone.id) is None
        assert await repository.execution_by_name(gone.state_machine_id, gone.name) is None
        assert list(await repository.visits(gone.id)) == []
        assert await repository.last_output(gone.id, "State0") is None
        assert list(await repository.visits(kept.id)) == [visit(kept)]

    async def test_an_id_that_is_used_again_has_no_past(self, repository: Repository) -> None:
        made = await start(repository, id="again")
        await finish(repository, visit(made), visit(made, 1), of=made)
        await commit(repository, deleting(made))
        again = await start(repository, id="again")
        assert list(await repository.visits("again")) == []
        await commit(repository, advance(again, visit(again, output='"new"')))
        assert await repository.last_output("again", "State0") == '"new"'

    @pytest.mark.parametrize("side", ["source", "target"])
    async def test_links_go_with_either_side(self, repository: Repository, side: str) -> None:
        pairs: list[tuple[Execution, Execution]] = []
        for _ in range(2):
            source = await finish(repository)
            target = chained(source)
            await commit(repository, StartExecution(execution=target, owner="worker"))
            pairs.append((source, await finish(repository, of=target)))
        gone = pairs[0][0 if side == "source" else 1]
        assert await commit(repository, deleting(gone)) == 1
        assert [link.source_execution_id for link in await repository.links(page=10)] == [pairs[1][0].id]
        assert list(await repository.links(target_execution_id=pairs[0][1].id, page=10)) == []

    async def test_a_target_remembers_its_source(self, repository: Repository) -> None:
        source = await finish(repository)
        target = chained(source)
        await commit(repository, StartExecution(execution=target, owner="worker"))
        await commit(repository, deleting(source))
        assert await repository.execution(target.id) == target

    async def test_many_at_once(self, repository: Repository) -> None:
        # More than the 500 ids that one statement of the SQL backends names.
        made = [execution(end_time=moment(9), status=ExecutionStatus.ABORTED) for _ in range(700)]
        await seed(repository, *made)
        assert await commit(repository, deleting(*made[:650])) == 650
        assert await left(repository) == ids(made[650:])

    async def test_at_once_two_deletions_count_what_both_name(self, repository: Repository, other: Repository) -> None:
        made = [execution(end_time=moment(9), status=ExecutionStatus.FAILED) for _ in range(60)]
        await seed(repository, *made)
        # In opposite orders: rows that are locked as they are named would deadlock the two.
        writes = deleting(*made[:50]), deleting(*reversed(made[10:]))
        one, two = await asyncio.gather(commit(repository, writes[0]), commit(other, writes[1]))
        assert (one, two) == (50, 50)
        assert await left(repository) == []

    async def test_at_once_a_redrive_and_a_deletion_are_one_after_the_other(
        self, repository: Repository, other: Repository
    ) -> None:
        failed: list[Execution] = []
        for _ in range(20):
            made = await start(repository)
            failed.append(await finish(repository, visit(made), of=made, status=ExecutionStatus.FAILED))
        redrives = asyncio.gather(*(other.commit([redriving(each)]) for each in failed))
        gone, redriven = await asyncio.gather(commit(repository, deleting(*failed)), redrives)
        claims = [claim for (claim,) in redriven if isinstance(claim, Claim)]
        # Whichever came first: the redrive count fences the deletion, or the redrive finds nothing.
        assert gone == len(failed) - len(claims)
        assert await left(repository) == [claim.execution.id for claim in claims]
        for claim in claims:
            assert list(await repository.visits(claim.execution.id)) == [visit(claim.execution)]
