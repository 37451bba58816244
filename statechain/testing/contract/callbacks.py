"""The contract of callbacks: tasks that wait for the outside, under tokens and in activities' queues."""

# ruff: noqa: D102, S101 -- a test's name says what it shows

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, TypeAlias

import attrs
import pytest

from statechain.errors import InvalidToken, LeaseLost, TaskTimedOut
from statechain.records.callbacks import Callback, CallbackStatus
from statechain.records.executions import Execution, ExecutionStatus
from statechain.storage.repository import (
    AnswerCallback,
    CloseCallback,
    HeartbeatCallback,
    Repository,
    StopExecution,
    TakeActivity,
)
from statechain.testing.contract.samples import (
    advance,
    callback,
    commit,
    deleting,
    ending,
    moment,
    redriving,
    start,
)

__all__ = ["ActivityContract", "CallbackContract"]

Answered: TypeAlias = AnswerCallback | HeartbeatCallback


async def waiting(
    repository: Repository,
    key: str = "task",
    of: Execution | None = None,
    **fields: Any,  # noqa: ANN401 -- any field's type
) -> Callback:
    """Store a callback that waits, of an execution that has just started."""
    made = of or await start(repository)
    stored = callback(made, key, **fields)
    await commit(repository, advance(made, opened=[stored]))
    return stored


async def stored(repository: Repository, each: Callback) -> Callback:
    """Return a callback as it is now."""
    (found,) = await repository.callbacks([each.id])
    return found


def success(each: Callback, output: str = '{"ok":true}') -> AnswerCallback:
    """Return the answer that a task succeeded."""
    return AnswerCallback(token_hash=str(each.token_hash), output_text=output)


def failure(each: Callback, error: str | None = "Card.Declined", cause: str | None = "card 42") -> AnswerCallback:
    """Return the answer that a task failed."""
    return AnswerCallback(token_hash=str(each.token_hash), error=error, cause=cause)


def beating(each: Callback) -> HeartbeatCallback:
    """Return the sign that a task goes on."""
    return HeartbeatCallback(token_hash=str(each.token_hash), heartbeat=moment(99.000001))


async def end_of(repository: Repository, each: Callback, how: str) -> None:
    """Make an end of a callback's waiting, in one of the ways there are."""
    if how == "closed":
        await commit(repository, CloseCallback(id=each.id))
    elif how == "stopped":
        stop = StopExecution(execution_id=each.execution_id, end=ending(ExecutionStatus.ABORTED))
        await commit(repository, stop)
    else:
        made = await repository.execution(each.execution_id)
        assert made is not None
        await commit(repository, advance(made, end=ending(ExecutionStatus.FAILED)))
        if how == "redriven":
            await commit(repository, redriving(made))


OVER = ("closed", "ended", "stopped", "redriven")


class CallbackContract:
    """Callbacks under task tokens."""

    async def test_every_field_of_a_callback_comes_back(self, repository: Repository) -> None:
        made = await start(repository)
        opened = [
            callback(made, "token"),
            callback(made, "activity", token_hash=None, activity="Pack 🦀", input_text='{"a":1}'),
            callback(made, "taken", activity="Ship", input_text="null", last_heartbeat=moment(0.000001)),
        ]
        await commit(repository, advance(made, opened=opened))
        found = await repository.callbacks([each.id for each in opened])
        assert {each.id: each for each in found} == {each.id: each for each in opened}

    async def test_unknown_ids_are_left_out(self, repository: Repository) -> None:
        each = await waiting(repository)
        assert list(await repository.callbacks(["nowhere", each.id, "elsewhere"])) == [each]
        assert list(await repository.callbacks([])) == []

    async def test_many_are_read_at_once(self, repository: Repository) -> None:
        made = await start(repository)
        opened = [callback(made, f"task-{number}") for number in range(200)]
        await commit(repository, advance(made, opened=opened))
        assert len(await repository.callbacks([each.id for each in opened])) == 200

    async def test_a_refused_transition_opens_and_closes_nothing(self, repository: Repository) -> None:
        each = await waiting(repository)
        made = await repository.execution(each.execution_id)
        assert made is not None
        late = callback(made, "late")
        with pytest.raises(LeaseLost):
            await commit(repository, advance(made, epoch=2, opened=[late], closed=[each.id]))
        assert list(await repository.callbacks([each.id, late.id])) == [each]

    async def test_opening_twice_changes_nothing(self, repository: Repository) -> None:
        made = await start(repository)
        write = advance(made, opened=[callback(made)])
        await commit(repository, write)
        await commit(repository, write)
        assert list(await repository.callbacks([callback(made).id])) == [callback(made)]

    async def test_what_is_opened_again_stays_as_it_is(self, repository: Repository) -> None:
        """A transition without visits passes its guard twice, where its reply was lost and it is committed again."""
        made = await start(repository)
        # Another token of the same id must not replace the one that was given out.
        first, other = callback(made), callback(made, token_hash=str(callback(made, "other").token_hash))
        await commit(repository, advance(made, opened=[first]))
        answered = await commit(repository, success(first))
        for again in (first, other):
            await commit(repository, advance(made, opened=[again]))
            assert list(await repository.callbacks([first.id])) == [answered]
        assert await commit(repository, success(first)) == answered
        with pytest.raises(InvalidToken):
            await commit(repository, success(other))

    async def test_a_transition_closes_those_that_wait(self, repository: Repository) -> None:
        made = await start(repository)
        one, two, three = (callback(made, key) for key in ("one", "two", "three"))
        await commit(repository, advance(made, opened=[one, two, three]))
        answered = await commit(repository, success(two))
        await commit(repository, advance(made, closed=[one.id, two.id, "nowhere"]))
        assert (await stored(repository, one)).status is CallbackStatus.CLOSED
        assert await stored(repository, two) == answered
        assert await stored(repository, three) == three

    async def test_a_success(self, repository: Repository) -> None:
        each = await waiting(repository)
        answered = await commit(repository, success(each))
        assert answered == attrs.evolve(each, status=CallbackStatus.SUCCEEDED, output_text='{"ok":true}')
        assert await stored(repository, each) == answered

    @pytest.mark.parametrize(
        ("error", "cause"),
        [("Card.Declined", "card 42"), ("E", None), ("", ""), (None, None), (None, "lost")],
    )
    async def test_a_failure(self, repository: Repository, error: str | None, cause: str | None) -> None:
        each = await waiting(repository)
        answered = await commit(repository, failure(each, error, cause))
        assert answered == attrs.evolve(each, status=CallbackStatus.FAILED, error=error, cause=cause)
        assert await stored(repository, each) == answered

    @pytest.mark.parametrize("answer", [success, failure])
    async def test_the_same_answer_again_is_the_same_answer(self, repository: Repository, answer: Any) -> None:  # noqa: ANN401
        each = await waiting(repository)
        # The second time as after a lost reply.
        assert await commit(repository, answer(each)) == await commit(repository, answer(each))

    @pytest.mark.parametrize("how", ["ended", "stopped", "redriven"])
    async def test_the_same_answer_again_is_so_for_ever(self, repository: Repository, how: str) -> None:
        each = await waiting(repository)
        answered = await commit(repository, success(each))
        await end_of(repository, each, how)
        assert await commit(repository, success(each)) == answered

    @pytest.mark.parametrize("first", [success, failure])
    async def test_another_answer_is_too_late(self, repository: Repository, first: Any) -> None:  # noqa: ANN401
        each = await waiting(repository)
        answered = await commit(repository, first(each))
        for late in (success(each, '"other"'), failure(each, "Other"), failure(each, cause="other"), beating(each)):
            with pytest.raises(TaskTimedOut):
                await commit(repository, late)
        assert await stored(repository, each) == answered

    @pytest.mark.parametrize("how", OVER)
    @pytest.mark.parametrize("write", [success, failure, beating])
    async def test_nothing_is_heard_when_it_is_over(self, repository: Repository, how: str, write: Any) -> None:  # noqa: ANN401
        each = await waiting(repository)
        await end_of(repository, each, how)
        before = await stored(repository, each)
        with pytest.raises(TaskTimedOut):
            await commit(repository, write(each))
        assert await stored(repository, each) == before

    @pytest.mark.parametrize("write", [success, failure, beating])
    async def test_a_token_that_nobody_had_is_invalid(self, repository: Repository, write: Any) -> None:  # noqa: ANN401
        await waiting(repository)
        made = await start(repository)
        with pytest.raises(InvalidToken):
            await commit(repository, write(callback(made)))

    async def test_a_beat(self, repository: Repository) -> None:
        each = await waiting(repository)
        beaten = attrs.evolve(each, last_heartbeat=moment(99.000001))
        assert await commit(repository, beating(each)) == beaten
        # Again, as after a lost reply.
        assert await commit(repository, beating(each)) == beaten
        assert await stored(repository, each) == beaten
        assert (await commit(repository, success(each))).last_heartbeat == beaten.last_heartbeat

    async def test_closing(self, repository: Repository) -> None:
        each = await waiting(repository)
        closed = attrs.evolve(each, status=CallbackStatus.CLOSED)
        assert await commit(repository, CloseCallback(id=each.id)) == closed
        assert await commit(repository, CloseCallback(id=each.id)) == closed
        assert await stored(repository, each) == closed

    @pytest.mark.parametrize("answer", [success, failure])
    async def test_closing_leaves_an_answer_as_it_is(self, repository: Repository, answer: Any) -> None:  # noqa: ANN401
        each = await waiting(repository)
        answered = await commit(repository, answer(each))
        assert await commit(repository, CloseCallback(id=each.id)) == answered

    async def test_closing_what_there_is_not(self, repository: Repository) -> None:
        assert await commit(repository, CloseCallback(id="nowhere")) is None

    async def test_at_once_an_answer_and_a_timeout_agree(self, repository: Repository, other: Repository) -> None:
        for _ in range(8):
            each = await waiting(repository)
            answers, closes = await asyncio.gather(
                repository.commit([success(each)]), other.commit([CloseCallback(id=each.id)])
            )
            seen = await stored(repository, each)
            # Storage decides which came first, and both callers learn the same.
            assert closes[0] == seen
            assert isinstance(answers[0], TaskTimedOut) == (seen.status is CallbackStatus.CLOSED)

    async def test_a_redriven_execution_waits_anew(self, repository: Repository) -> None:
        made = await start(repository)
        before = await waiting(repository, of=made)
        await commit(repository, advance(made, end=ending(ExecutionStatus.FAILED)))
        claim = await commit(repository, redriving(made))
        assert claim is not None
        after = callback(made, "again", redrive_count=1)
        await commit(repository, advance(made, epoch=claim.epoch, opened=[after]))
        assert (await commit(repository, success(after))).status is CallbackStatus.SUCCEEDED
        # The token of the run before is still known: too late, and not invalid.
        with pytest.raises(TaskTimedOut):
            await commit(repository, success(before))

    async def test_refusals_fail_nobody_else(self, repository: Repository) -> None:
        one, two = await waiting(repository), await waiting(repository)
        await commit(repository, CloseCallback(id=two.id))
        nobody = AnswerCallback(token_hash="hash-nobody")  # noqa: S106 -- the hash of no token
        outcomes = await repository.commit([nobody, success(two), success(one)])
        assert [type(outcome) for outcome in outcomes] == [InvalidToken, TaskTimedOut, Callback]

    async def test_deleted_executions_take_their_callbacks_along(self, repository: Repository) -> None:
        made = await start(repository)
        each, kept = await waiting(repository, of=made), await waiting(repository)
        await end_of(repository, each, "ended")
        await commit(repository, deleting(made))
        assert list(await repository.callbacks([each.id, kept.id])) == [kept]
        with pytest.raises(InvalidToken):
            await commit(repository, success(each))


def taking(token: str, activity: str = "Pack") -> TakeActivity:
    """Return the wish of an activity's worker for a task."""
    return TakeActivity(activity=activity, token_hash=token, heartbeat=moment(7.000001))


async def queue(repository: Repository, count: int, activity: str = "Pack") -> Sequence[Callback]:
    """Store tasks of an activity that nothing has taken, its own each execution, by id."""
    return [
        await waiting(repository, f"{number:03}", token_hash=None, activity=activity, input_text="[1]")
        for number in range(count)
    ]


class ActivityContract:
    """Tasks that activities' workers take."""

    async def test_the_oldest_task_is_given_out(self, repository: Repository) -> None:
        tasks = await queue(repository, 3)
        for number, task in enumerate(tasks):
            taken = await commit(repository, taking(f"token-{number}"))
            assert taken == attrs.evolve(task, token_hash=f"token-{number}", last_heartbeat=moment(7.000001))
            assert await stored(repository, task) == taken
        assert await commit(repository, taking("token-9")) is None

    async def test_the_order_is_that_of_the_ids(self, repository: Repository) -> None:
        made = await start(repository)
        # Bytewise, as no collation of a language would sort them.
        keys = ["b", "a", "B", "ä", "10", "9"]
        fields = {"token_hash": None, "activity": "Pack"}
        opened = [callback(made, key, **fields) for key in keys]
        await commit(repository, advance(made, opened=opened))
        taken = [await commit(repository, taking(f"token-{number}")) for number in range(len(keys))]
        assert [each and each.id for each in taken] == sorted((each.id for each in opened), key=str.encode)

    async def test_the_same_token_again_gets_the_same_task(self, repository: Repository) -> None:
        await queue(repository, 2)
        first = await commit(repository, taking("token"))
        # A poll whose reply was lost asks again under its token, and must not take a second task.
        assert await commit(repository, taking("token")) == first
        assert (await commit(repository, taking("token-2"))) != first

    async def test_nothing_to_do(self, repository: Repository) -> None:
        await queue(repository, 1, "Ship")
        await waiting(repository)
        assert await commit(repository, taking("token")) is None
        assert await commit(repository, taking("token", "ship")) is None

    async def test_workers_of_several_activities_in_one_commit(self, repository: Repository) -> None:
        pack, ship = await queue(repository, 2), await queue(repository, 1, "Ship")
        wishes = [taking("token-1"), taking("token-2", "Ship"), taking("token-3", "Fold")]
        outcomes = await repository.commit(wishes)
        assert [each.id if isinstance(each, Callback) else None for each in outcomes] == [pack[0].id, ship[0].id, None]
        assert list(await repository.commit(wishes)) == list(outcomes)

    @pytest.mark.parametrize("how", OVER)
    async def test_a_task_that_is_over_is_not_given_out(self, repository: Repository, how: str) -> None:
        first, second = await queue(repository, 2)
        await end_of(repository, first, how)
        taken = await commit(repository, taking("token"))
        assert taken is not None
        assert taken.id == second.id

    async def test_a_taken_task_is_answered_like_any(self, repository: Repository) -> None:
        await queue(repository, 1)
        taken = await commit(repository, taking("token"))
        assert taken is not None
        beaten = await commit(repository, beating(taken))
        assert beaten.last_heartbeat == moment(99.000001)
        assert (await commit(repository, success(taken))).status is CallbackStatus.SUCCEEDED
        assert await commit(repository, taking("token-2")) is None

    async def test_the_same_token_finds_its_task_when_it_is_over(self, repository: Repository) -> None:
        await queue(repository, 2)
        taken = await commit(repository, taking("token"))
        assert taken is not None
        await commit(repository, CloseCallback(id=taken.id))
        again = await commit(repository, taking("token"))
        # Its wish was granted once: it learns what became of that task, and gets no other.
        assert again == attrs.evolve(taken, status=CallbackStatus.CLOSED)

    async def test_at_once_each_task_is_given_out_once(self, repository: Repository, other: Repository) -> None:
        tasks = await queue(repository, 5)
        outcomes = await asyncio.gather(
            *(commit(other if number % 2 else repository, taking(f"token-{number}")) for number in range(8))
        )
        assert sorted(each.id for each in outcomes if each is not None) == [task.id for task in tasks]
