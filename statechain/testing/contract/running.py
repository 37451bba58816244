"""The contract of running: guarded transitions, ends, stops and redrives."""

# ruff: noqa: D102, S101 -- a test's name says what it shows

from __future__ import annotations

import asyncio
from datetime import timedelta

import attrs
import pytest

from statechain.errors import ExecutionNotFound, LeaseLost
from statechain.records.batches import Batch, ItemCounts
from statechain.records.callbacks import Callback
from statechain.records.executions import Claim, Execution, ExecutionStatus
from statechain.records.filters import ExecutionFilter
from statechain.storage.repository import (
    AnswerCallback,
    CreateBatch,
    CreateStateMachine,
    RedriveExecution,
    ReleaseExecution,
    Repository,
    StartExecution,
    StopExecution,
    TakeUpExecution,
)
from statechain.testing.contract.samples import (
    ENDINGS,
    FAILURES,
    advance,
    batch,
    callback,
    commit,
    deleting,
    ending,
    execution,
    finish,
    machine,
    moment,
    redriving,
    start,
    visit,
)

__all__ = ["AdvanceContract", "EndContract"]


async def redrive(repository: Repository, ended: Execution) -> Claim:
    """Redrive an execution that can be."""
    claim = await commit(repository, redriving(ended))
    assert claim is not None
    return claim


class AdvanceContract:
    """The one transition that running makes, and its guards."""

    async def test_an_execution_that_moves_is_otherwise_as_it_was(self, repository: Repository) -> None:
        made = execution(key="a", priority=7)
        await commit(repository, StartExecution(execution=made, owner="one"))
        for number, state in enumerate(["Second", "Third"]):
            await commit(repository, advance(made, visit(made, number), seq=number, current_state=state))
            assert await repository.execution(made.id) == attrs.evolve(made, current_state=state)

    async def test_visits_are_appended_in_order(self, repository: Repository) -> None:
        made = await start(repository)
        visits = [visit(made, number) for number in range(5)]
        await commit(repository, advance(made, *visits[:2]))
        await commit(repository, advance(made, *visits[2:], seq=2))
        assert list(await repository.visits(made.id)) == visits

    async def test_the_current_state_is_that_of_the_last_write(self, repository: Repository) -> None:
        made = await start(repository)
        for seq, state in enumerate(["Second", "Third", None]):
            await commit(repository, advance(made, visit(made, seq), seq=seq, current_state=state))
            assert await repository.execution(made.id) == attrs.evolve(made, current_state=state)

    async def test_it_may_move_without_visits(self, repository: Repository) -> None:
        made = await start(repository)
        await commit(repository, advance(made, current_state="Second"))
        await commit(repository, advance(made, visit(made), current_state="Third"))
        assert await repository.execution(made.id) == attrs.evolve(made, current_state="Third")

    # Epoch and seq are (1, 2) in storage: each alone is stale or ahead here, or both are wrong.
    @pytest.mark.parametrize(("epoch", "seq"), [(0, 2), (2, 2), (1, 1), (1, 3), (1, 0), (2, 3)])
    async def test_another_epoch_or_seq_is_refused_and_writes_nothing(
        self, repository: Repository, epoch: int, seq: int
    ) -> None:
        made = await start(repository)
        await commit(repository, advance(made, visit(made, 0), visit(made, 1)))
        stale = advance(
            made, *(visit(made, 7 + extra) for extra in range(4)), epoch=epoch, seq=seq, current_state="Wrong",
            end=ending(), opened=[callback(made)],
        )  # fmt: skip
        with pytest.raises(LeaseLost):
            await commit(repository, stale)
        assert await repository.execution(made.id) == made
        assert len(await repository.visits(made.id)) == 2
        assert list(await repository.callbacks([callback(made).id])) == []
        await commit(repository, advance(made, visit(made, 2), seq=2))

    async def test_an_unknown_execution_is_refused(self, repository: Repository) -> None:
        made = execution()
        with pytest.raises(LeaseLost):
            await commit(repository, advance(made, visit(made)))
        assert list(await repository.visits(made.id)) == []

    async def test_a_lost_lease_fails_nobody_else(self, repository: Repository) -> None:
        made = [await start(repository) for _ in range(6)]
        writes = [advance(each, visit(each), epoch=1 + index % 2) for index, each in enumerate(made)]
        outcomes = await repository.commit(writes)
        assert [isinstance(outcome, LeaseLost) for outcome in outcomes] == [False, True] * 3
        assert [len(await repository.visits(each.id)) for each in made] == [1, 0] * 3

    async def test_refusals_of_every_kind_fail_nobody_else(self, repository: Repository) -> None:
        made = await start(repository)
        refused = advance(execution(), epoch=9)
        unknown = StopExecution(execution_id="nowhere", end=ending(ExecutionStatus.ABORTED))
        redriven = RedriveExecution(execution_id="elsewhere", owner="worker", redrive_count=0)
        outcomes = await repository.commit([refused, unknown, advance(made, visit(made)), redriven])
        assert [type(outcome) for outcome in outcomes] == [LeaseLost, ExecutionNotFound, type(None), ExecutionNotFound]
        assert len(await repository.visits(made.id)) == 1

    # Without visits seq does not move: the guard alone does not distinguish a repetition from a first commit.
    @pytest.mark.parametrize("count", [0, 1, 3])
    async def test_advancing_twice_changes_nothing(self, repository: Repository, count: int) -> None:
        made = await start(repository)
        write = advance(made, *(visit(made, number) for number in range(count)), current_state="Second")
        await commit(repository, write)
        await commit(repository, write)
        assert len(await repository.visits(made.id)) == count
        await commit(repository, advance(made, visit(made, count), seq=count))

    @pytest.mark.parametrize("ends", [False, True])
    async def test_what_another_worker_wrote_under_the_same_epoch_is_no_commit_of_this_write(
        self, repository: Repository, *, ends: bool
    ) -> None:
        """After a failover that lost a claim, two workers may have claimed the same epoch."""
        made = await start(repository)
        end = ending() if ends else None
        first = advance(made, visit(made, output='"first"'), end=end)
        await commit(repository, first)
        with pytest.raises(LeaseLost):
            await commit(repository, advance(made, visit(made, output='"second"'), end=end))
        assert [row.output for row in await repository.visits(made.id)] == ['"first"']
        await commit(repository, first)

    async def test_what_another_worker_ended_under_the_same_epoch_is_no_commit_of_this_end(
        self, repository: Repository
    ) -> None:
        made = await start(repository)
        await commit(repository, advance(made, end=ending(end_time=moment(1))))
        # Only the time of the end distinguishes this one from a repetition after a lost reply.
        with pytest.raises(LeaseLost):
            await commit(repository, advance(made, end=ending(end_time=moment(2))))

    async def test_another_end_at_the_same_moment_is_no_commit_of_this_one(self, repository: Repository) -> None:
        made = await start(repository)
        await commit(repository, advance(made, end=ending(end_time=moment(1))))
        # Equal in time, too: status and texts have to be compared.
        with pytest.raises(LeaseLost):
            await commit(repository, advance(made, end=ending(ExecutionStatus.FAILED, end_time=moment(1))))

    @pytest.mark.parametrize("count", [0, 1, 3])
    async def test_ending_twice_changes_nothing(self, repository: Repository, count: int) -> None:
        made = await start(repository)
        write = advance(made, *(visit(made, number) for number in range(count)), end=ending())
        await commit(repository, write)
        ended = await repository.execution(made.id)
        await commit(repository, write)
        assert await repository.execution(made.id) == ended
        assert len(await repository.visits(made.id)) == count

    async def test_a_group_committed_twice_has_the_same_outcomes(self, repository: Repository) -> None:
        made = [await start(repository) for _ in range(4)]
        lost, ended = advance(made[1], visit(made[1]), epoch=2), advance(made[2], visit(made[2]), end=ending())
        writes = [advance(made[0], visit(made[0])), lost, ended, advance(made[3])]
        # The second time as after a lost reply: refusals come again as well.
        for _ in range(2):
            outcomes = await repository.commit(writes)
            assert [type(outcome) for outcome in outcomes] == [type(None), LeaseLost, type(None), type(None)]
        assert [len(await repository.visits(each.id)) for each in made] == [1, 0, 1, 0]

    async def test_nothing_follows_the_end(self, repository: Repository) -> None:
        made = await start(repository)
        await commit(repository, advance(made, visit(made), end=ending()))
        ended = await repository.execution(made.id)
        for late in (
            advance(made, visit(made, 1), seq=1),
            advance(made, visit(made, 1), seq=1, end=ending(ExecutionStatus.FAILED)),
            advance(made, seq=1, current_state="Late"),
        ):
            with pytest.raises(LeaseLost):
                await commit(repository, late)
        assert await repository.execution(made.id) == ended
        assert len(await repository.visits(made.id)) == 1

    async def test_after_a_stop_the_worker_can_write_no_more(self, repository: Repository) -> None:
        made = await start(repository)
        stopped = await commit(repository, StopExecution(execution_id=made.id, end=ending(ExecutionStatus.ABORTED)))
        for late in (advance(made, visit(made)), advance(made), advance(made, end=ending())):
            with pytest.raises(LeaseLost):
                await commit(repository, late)
        assert await repository.execution(made.id) == stopped
        assert list(await repository.visits(made.id)) == []

    async def test_many_executions_in_one_commit(self, repository: Repository) -> None:
        made = [execution() for _ in range(300)]
        await repository.commit([StartExecution(execution=each, owner="worker") for each in made])
        writes = [
            advance(
                each,
                # None to three visits each: rows are matched with executions by ids, not by their places.
                *(visit(each, number) for number in range(index % 4)),
                current_state=f"State{index}",
                end=ending() if index % 3 == 0 else None,
            )
            for index, each in enumerate(made)
        ]
        assert list(await repository.commit(writes)) == [None] * 300
        for index in (0, 1, 2, 3, 150, 299):
            stored = await repository.execution(made[index].id)
            assert stored is not None
            assert (stored.current_state, stored.status.is_terminal) == (f"State{index}", index % 3 == 0)
            expected = [visit(made[index], number) for number in range(index % 4)]
            assert list(await repository.visits(made[index].id)) == expected
        assert await repository.count_executions(ExecutionFilter(status="RUNNING")) == 200

    async def test_every_kind_of_write_in_one_commit(self, repository: Repository) -> None:
        running, stopped, waiting = [await start(repository) for _ in range(3)]
        failed = await finish(repository, status=ExecutionStatus.FAILED)
        pruned = await finish(repository)
        await commit(repository, advance(waiting, opened=[callback(waiting)]))
        started, created = execution(), machine()
        outcomes = await repository.commit(
            [
                CreateStateMachine(machine=created),
                advance(running, visit(running)),
                StartExecution(execution=started, owner=None),
                StopExecution(execution_id=stopped.id, end=ending(ExecutionStatus.ABORTED)),
                AnswerCallback(token_hash=f"hash-{callback(waiting).id}", output_text="1"),
                redriving(failed),
                CreateBatch(batch=batch(), filter_=ExecutionFilter(state_machine_id="machine-none")),
                deleting(pruned),
            ]
        )
        record, nothing, held, ended, answered, claim, frozen, deleted = outcomes
        assert (record, nothing, held, deleted) == (created, None, started, 1)
        assert isinstance(ended, Execution)
        assert ended.status is ExecutionStatus.ABORTED
        assert isinstance(answered, Callback)
        assert answered.output_text == "1"
        assert isinstance(claim, Claim)
        assert claim.execution.id == failed.id
        assert isinstance(frozen, Batch)
        assert frozen.item_counts == ItemCounts()
        assert await repository.execution(pruned.id) is None

    async def test_at_once_all_commits_go_through(self, repository: Repository, other: Repository) -> None:
        made = [await start(repository) for _ in range(20)]
        writes = [advance(each, visit(each), end=ending()) for each in made]
        # Readings in between: a reader must not make a writer fail as locked or busy.
        readings = (repository.executions(ExecutionFilter(), after=None, page=100) for _ in range(20))
        await asyncio.gather(
            *(commit(other if index % 2 else repository, write) for index, write in enumerate(writes)),
            *readings,
        )
        assert await repository.count_executions(ExecutionFilter(status="SUCCEEDED")) == 20

    async def test_at_once_one_of_two_writers_at_a_place_wins(self, repository: Repository, other: Repository) -> None:
        made = await start(repository)
        one, two = advance(made, visit(made, output='"one"')), advance(made, visit(made, 0), visit(made, 1))
        # Two workers under one claim, as after a failover: seq lets one of them through.
        outcomes = await asyncio.gather(repository.commit([one]), other.commit([two]))
        assert sorted(isinstance(outcome, LeaseLost) for (outcome,) in outcomes) == [False, True]
        visits = await repository.visits(made.id)
        assert len(visits) == (2 if outcomes[1][0] is None else 1)


class EndContract:
    """How executions end, are stopped, and run again."""

    @pytest.mark.parametrize("status", ENDINGS)
    async def test_an_end_is_stored_whole(self, repository: Repository, status: ExecutionStatus) -> None:
        made = await start(repository)
        end = ending(status)
        await commit(repository, advance(made, visit(made), current_state="Last", end=end))
        assert await repository.execution(made.id) == attrs.evolve(
            made, current_state="Last", **attrs.asdict(end, recurse=False)
        )

    async def test_an_end_may_bear_neither_error_nor_cause(self, repository: Repository) -> None:
        made = await start(repository)
        await commit(repository, advance(made, end=ending(ExecutionStatus.FAILED, error=None, cause=None)))
        ended = await repository.execution(made.id)
        assert ended is not None
        assert (ended.status, ended.error, ended.cause) == (ExecutionStatus.FAILED, None, None)

    async def test_empty_texts_are_not_none(self, repository: Repository) -> None:
        made = await start(repository)
        end = ending(ExecutionStatus.FAILED, error="", cause="")
        await commit(repository, advance(made, current_state="", end=end))
        ended = await repository.execution(made.id)
        assert ended is not None
        assert (ended.current_state, ended.error, ended.cause) == ("", "", "")

    async def test_a_stop_ends_a_running_one(self, repository: Repository) -> None:
        made = await start(repository)
        await commit(repository, advance(made, visit(made), current_state="Second"))
        end = ending(ExecutionStatus.ABORTED, error="Operator", cause="enough")
        stopped = await commit(repository, StopExecution(execution_id=made.id, end=end))
        assert stopped == attrs.evolve(made, current_state="Second", **attrs.asdict(end, recurse=False))
        assert await repository.execution(made.id) == stopped
        assert len(await repository.visits(made.id)) == 1

    @pytest.mark.parametrize("status", ENDINGS)
    async def test_a_stop_leaves_an_ended_one_as_it_is(self, repository: Repository, status: ExecutionStatus) -> None:
        ended = await finish(repository, status=status)
        stop = StopExecution(execution_id=ended.id, end=ending(ExecutionStatus.ABORTED))
        assert await commit(repository, stop) == ended
        assert await repository.execution(ended.id) == ended

    async def test_stopping_twice_changes_nothing(self, repository: Repository) -> None:
        made = await start(repository)
        stop = StopExecution(execution_id=made.id, end=ending(ExecutionStatus.ABORTED))
        stopped = await commit(repository, stop)
        assert await commit(repository, stop) == stopped

    async def test_an_unknown_one_cannot_be_stopped(self, repository: Repository) -> None:
        with pytest.raises(ExecutionNotFound):
            await commit(repository, StopExecution(execution_id="nowhere", end=ending(ExecutionStatus.ABORTED)))

    async def test_at_once_a_stop_and_an_end_agree(self, repository: Repository, other: Repository) -> None:
        made = [await start(repository) for _ in range(8)]
        for each in made:
            stop = StopExecution(execution_id=each.id, end=ending(ExecutionStatus.ABORTED))
            outcomes = await asyncio.gather(repository.commit([advance(each, end=ending())]), other.commit([stop]))
            stored = await repository.execution(each.id)
            # Storage orders the two; the stop's outcome is the execution as that left it.
            assert stored == outcomes[1][0]
            assert stored is not None
            assert stored.status is (ExecutionStatus.SUCCEEDED if outcomes[0][0] is None else ExecutionStatus.ABORTED)

    @pytest.mark.parametrize("status", FAILURES)
    async def test_a_redrive_makes_it_run_again(self, repository: Repository, status: ExecutionStatus) -> None:
        made = await start(repository)
        ended = await finish(repository, visit(made, 0), visit(made, 1), of=made, status=status)
        claim = await redrive(repository, ended)
        again = attrs.evolve(
            ended, status=ExecutionStatus.RUNNING, end_time=None, error=None, cause=None, redrive_count=1
        )
        assert (claim.execution, claim.seq, claim.claims) == (again, 2, 0)
        assert claim.epoch > 1
        assert await repository.execution(made.id) == again
        await commit(repository, advance(made, visit(made, 2), seq=2, epoch=claim.epoch, end=ending()))
        assert await repository.count_executions(ExecutionFilter(status="SUCCEEDED")) == 1

    async def test_a_redriven_stop_claims_anew(self, repository: Repository) -> None:
        made = await start(repository)
        stop = StopExecution(execution_id=made.id, end=ending(ExecutionStatus.ABORTED))
        claim = await redrive(repository, await commit(repository, stop))
        # Every epoch before the redrive's is refused, that of the stopped run included.
        for stale in range(1, claim.epoch):
            with pytest.raises(LeaseLost):
                await commit(repository, advance(made, visit(made), epoch=stale))
        await commit(repository, advance(made, visit(made), epoch=claim.epoch))

    async def test_an_end_under_the_epoch_before_a_redrive_is_refused(self, repository: Repository) -> None:
        made = await start(repository)
        write = advance(made, end=ending(ExecutionStatus.FAILED))
        await commit(repository, write)
        await redrive(repository, made)
        # Its reply was lost, and it is committed again only after the redrive.
        with pytest.raises(LeaseLost):
            await commit(repository, write)

    async def test_a_redrive_that_is_committed_again_has_its_claim_until_a_later_one(
        self, repository: Repository
    ) -> None:
        ended = await finish(repository, status=ExecutionStatus.FAILED)
        claim = await commit(repository, redriving(ended))
        assert claim is not None
        made, epoch = claim.execution, claim.epoch
        taken_up = TakeUpExecution(execution_id=made.id, epoch=epoch, claims=1, backoff=timedelta(seconds=1))
        await commit(repository, taken_up)
        again = await commit(repository, redriving(ended))
        assert again == attrs.evolve(claim, claims=1)
        await commit(repository, advance(made, visit(made), epoch=epoch, seq=claim.seq))
        again = await commit(repository, redriving(ended))
        assert again is not None
        assert (again.epoch, again.seq, again.claims) == (epoch, claim.seq + 1, 0)
        await commit(repository, ReleaseExecution(execution_id=made.id, epoch=epoch, claims=0))
        assert await commit(repository, redriving(ended)) is None
        assert len(await repository.claim("worker", page=9)) == 1
        assert await commit(repository, redriving(ended)) is None

    async def test_redrives_are_counted(self, repository: Repository) -> None:
        made = await finish(repository, status=ExecutionStatus.FAILED)
        epochs = [1]
        for count in (1, 2, 3):
            claim = await redrive(repository, attrs.evolve(made, redrive_count=count - 1))
            assert claim.execution.redrive_count == count
            assert claim.epoch > epochs[-1]
            epochs.append(claim.epoch)
            await commit(repository, advance(made, epoch=claim.epoch, end=ending(ExecutionStatus.TIMED_OUT)))
        stored = await repository.execution(made.id)
        assert stored is not None
        assert stored.redrive_count == 3

    async def test_running_and_succeeded_ones_are_not_redriven(self, repository: Repository) -> None:
        running, succeeded = await start(repository), await finish(repository)
        for each in (running, succeeded):
            assert await commit(repository, redriving(each)) is None
            assert await repository.execution(each.id) == each
        await commit(repository, advance(running, visit(running)))

    async def test_a_redrive_whose_reply_was_lost_gives_the_same_claim(self, repository: Repository) -> None:
        made = await finish(repository, status=ExecutionStatus.FAILED)
        claim = await redrive(repository, made)
        assert await redrive(repository, made) == claim
        assert await repository.execution(made.id) == claim.execution
        await commit(repository, advance(made, visit(made), epoch=claim.epoch))

    async def test_a_redrive_counts_on_what_it_has_read(self, repository: Repository) -> None:
        made = await finish(repository, status=ExecutionStatus.FAILED)
        claim = await redrive(repository, made)
        await commit(repository, advance(made, epoch=claim.epoch, end=ending(ExecutionStatus.ABORTED)))
        ended = await repository.execution(made.id)
        # It had read redrive count 0: by now a repetition, which must not run again what has ended since.
        assert await commit(repository, redriving(made)) is None
        assert await commit(repository, redriving(attrs.evolve(made, redrive_count=2))) is None
        assert await repository.execution(made.id) == ended

    async def test_a_redrive_that_was_taken_over_since_gives_no_claim(self, repository: Repository) -> None:
        """Not to the same worker either: its recovery found the execution first, and runs it under a later epoch."""
        made = await finish(repository, status=ExecutionStatus.FAILED)
        await repository.renew_lease("worker", timedelta(hours=1))
        claim = await redrive(repository, made)
        assert await commit(repository, redriving(made, owner="other")) is None
        (taken,) = await repository.claim("worker", page=9, orphaned={made.id: claim.epoch})
        assert await commit(repository, redriving(made)) is None
        with pytest.raises(LeaseLost):
            await commit(repository, advance(made, visit(made), epoch=claim.epoch))
        await commit(repository, advance(made, visit(made), epoch=taken.epoch))

    async def test_a_redrive_without_an_owner_is_confirmed_whatever_came_of_it(self, repository: Repository) -> None:
        """A client's redrive is written again where its reply was lost; a worker may have claimed it meanwhile."""
        made = await finish(repository, status=ExecutionStatus.FAILED)
        write = redriving(made, owner=None)
        first = await commit(repository, write)
        assert first is not None
        assert await commit(repository, write) == first
        await repository.renew_lease("worker", timedelta(hours=1))
        (taken,) = await repository.claim("worker", page=9)
        again = await commit(repository, write)
        assert again is not None
        assert (again.execution, again.epoch) == (taken.execution, taken.epoch)
        await commit(repository, advance(made, epoch=taken.epoch, end=ending(ExecutionStatus.FAILED)))
        ended = await repository.execution(made.id)
        again = await commit(repository, write)
        assert again is not None
        assert again.execution == ended
        assert await repository.execution(made.id) == ended
        await redrive(repository, attrs.evolve(made, redrive_count=1))
        assert await commit(repository, write) is None

    async def test_an_unknown_one_cannot_be_redriven(self, repository: Repository) -> None:
        with pytest.raises(ExecutionNotFound):
            await commit(repository, RedriveExecution(execution_id="nowhere", owner="worker", redrive_count=0))

    async def test_at_once_one_redrive_gets_the_claim(self, repository: Repository, other: Repository) -> None:
        made = await finish(repository, status=ExecutionStatus.FAILED)
        outcomes = await asyncio.gather(
            *(
                commit(each, redriving(made, owner=f"worker-{index}"))
                for index, each in enumerate([repository, other] * 3)
            )
        )
        assert len([claim for claim in outcomes if claim is not None]) == 1
