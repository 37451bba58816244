"""The contract of exactness: texts and times come back as they were given, also from a repository opened again."""

# ruff: noqa: D102, S101 -- a test's name says what it shows

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from statechain.errors import BatchNotFound, ExecutionNotFound, InvalidToken
from statechain.records.batches import BatchStatus
from statechain.records.executions import ExecutionStatus
from statechain.records.filters import ExecutionFilter
from statechain.storage.repository import (
    AnswerCallback,
    CloseCallback,
    CreateStateMachine,
    EndBatch,
    FailBatchItem,
    HeartbeatCallback,
    RedriveExecution,
    ReleaseExecution,
    Repository,
    StartExecution,
    StopExecution,
    Write,
)
from statechain.testing.contract.samples import (
    advance,
    callback,
    chained,
    commit,
    ending,
    execution,
    finish,
    freeze,
    machine,
    moment,
    start,
    visit,
)

__all__ = ["DurabilityContract", "ExactnessContract"]

# PostgreSQL's jsonb would refuse NUL and lone surrogates, drop duplicate keys and sort the rest; floats would change
# the numbers.
PAYLOADS = {
    "null": "null",
    "empty": '""',
    "nul": '"\\u0000"',
    "lone surrogate": '"\\ud800"',
    "escaped emoji": '"\\ud83e\\udd80"',
    "quotes": '"it\'s \\"quoted\\" \\\\ and \\/"',
    "sql": '"\'; DROP TABLE executions; --"',
    "placeholders": '"$1 %s %(x)s ? :name {0}"',
    "big integer": "9" * 400,
    "precise number": "0.1000000000000000055511151231257827021181583404541015625",
    "exponent": "[1e2,1E+2,-0.0,1e-7]",
    "key order": '{"b":1,"a":2,"":3}',
    "duplicate keys": '{"a":1,"a":2}',
    "spaces": ' { "a" : [ 1 ,\r\n\t2 ] } ',
    "deep": "[" * 150 + "]" * 150,
    "a megabyte": json.dumps("x" * 1_000_000),
    "a megabyte of escapes": json.dumps("🦀" * 90_000),
}

# PostgreSQL refuses NUL, UTF-8 has no lone surrogates; backends escape both behind the mark U+FDD0, and the mark
# itself.
PROSE = [
    "",
    " ",
    "Größe 🦀 e\u0301 \u200d \ufeff",
    "tab\tline\nreturn\r\n",
    'it\'s "quoted" \\ %s $1 ? :x {0}',
    "'; DROP TABLE executions; --",
    "x" * 30_000,
    "\x01\x7f\u2028",
    "nul \x00 inside\x00",
    "\ud800 lone \udfff surrogates \udd80\ud83e",
    "\ufdd0 noncharacters \uffff \ufdd00000",
]

TICK = timedelta(microseconds=1)
TIMES = [
    datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC),
    datetime(2026, 3, 1, 12, 0, 0, 1, tzinfo=UTC),
    datetime(2026, 3, 1, 12, 0, 0, 999999, tzinfo=UTC),
    # Negative, where microseconds since 1970 are stored.
    datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    datetime.min.replace(tzinfo=UTC),
    datetime.max.replace(tzinfo=UTC) - TICK,
]


class ExactnessContract:
    """What is stored comes back equal."""

    @pytest.mark.parametrize("text", PAYLOADS.values(), ids=PAYLOADS.keys())
    async def test_payloads_come_back_to_the_byte(self, repository: Repository, text: str) -> None:
        made = await start(repository, input_text=text)
        opened = [callback(made, token_hash=None, activity="Pack", input_text=text), callback(made, "two")]
        await commit(repository, advance(made, visit(made, output=text, detail=text), opened=opened))
        answered = await commit(repository, AnswerCallback(token_hash=str(opened[1].token_hash), output_text=text))
        await commit(repository, advance(made, seq=1, end=ending(output_text=text)))
        stored = await repository.execution(made.id)
        assert stored is not None
        assert (stored.input_text, stored.output_text) == (text, text)
        (seen,) = await repository.visits(made.id)
        assert (seen.output, seen.detail) == (text, text)
        assert await repository.last_output(made.id, seen.state) == text
        (given,) = await repository.callbacks([opened[0].id])
        assert (given.input_text, answered.output_text) == (text, text)
        record = await commit(repository, CreateStateMachine(machine=machine(definition=text)))
        assert await repository.state_machine("orders") == record
        assert record.definition == text

    @pytest.mark.parametrize("text", PAYLOADS.values(), ids=PAYLOADS.keys())
    async def test_payloads_pass_through_batches_to_the_byte(self, repository: Repository, text: str) -> None:
        made = await start(repository)
        await commit(repository, advance(made, visit(made, output=text, state="Price"), end=ending(output_text=text)))
        for state in (None, "Price"):
            stored = await freeze(repository, source_state_name=state)
            (item,) = await repository.batch_items(stored.id, page=9)
            assert item.source_output == text

    @pytest.mark.parametrize("text", PROSE, ids=[repr(text[:12]) for text in PROSE])
    async def test_names_and_prose_come_back_to_the_character(self, repository: Repository, text: str) -> None:
        made = await start(repository, name=text, current_state=text[:99])
        failed = visit(made, state=text[:99], frame=text[:99], next=text[:99], output=None, error=text, cause=text)
        end = ending(ExecutionStatus.FAILED, error=text, cause=text)
        waiting = callback(made, activity=text[:99])
        await commit(repository, advance(made, failed, current_state=text[:99], end=end, opened=[waiting]))
        stored = await repository.execution_by_name("machine-a", text[:99]) if len(text) < 99 else None
        stored = stored or await repository.execution(made.id)
        assert stored is not None
        assert (stored.name, stored.error, stored.cause, stored.current_state) == (text, text, text, text[:99])
        assert list(await repository.visits(made.id)) == [failed]
        assert list(await repository.callbacks([waiting.id])) == [waiting]
        batch = await freeze(repository, name_prefix=text[:99])
        await commit(repository, FailBatchItem(batch_id=batch.id, index=0, error=text, cause=text))
        (item,) = await repository.batch_items(batch.id, page=9)
        assert (item.name, item.error, item.cause) == (f"{text[:99]}-{made.id}", text, text)

    @pytest.mark.parametrize("key", ["", "\x00", "a\x00", "\ud800", "\ufdd0", "' OR 1=1", "%", "x" * 999], ids=ascii)
    async def test_ids_that_nothing_bears_are_unknown(self, repository: Repository, key: str) -> None:
        made = await finish(repository)
        await freeze(repository)
        assert await repository.execution(key) is None
        assert await repository.execution_by_name(key, made.name) is None
        assert await repository.execution_by_name(made.state_machine_id, key) is None
        assert await repository.state_machine(key) is None
        assert await repository.batch(key) is None
        assert dict(await repository.statistics(key)) == {}
        found = [
            await repository.visits(key),
            await repository.links(source_execution_id=key, page=9),
            await repository.links(target_execution_id=key, target_state_machine_id=key, page=9),
            await repository.batches(state_machine_id=key, page=9),
            await repository.batch_items(key, page=9),
            await repository.callbacks([key]),
            await repository.claim(key, page=9),
        ]
        assert [list(each) for each in found] == [[]] * 7
        assert await repository.last_output(key, key) is None
        assert await repository.last_output(made.id, key) is None

    @pytest.mark.parametrize("key", ["", "\x00", "\ud800", "' OR 1=1 --"], ids=ascii)
    async def test_writes_to_ids_that_nothing_bears_are_refused(self, repository: Repository, key: str) -> None:
        made = await start(repository)
        aborted = BatchStatus.ABORTED
        writes: dict[Write[object], type] = {
            AnswerCallback(token_hash=key, output_text="1"): InvalidToken,
            HeartbeatCallback(token_hash=key, heartbeat=moment()): InvalidToken,
            CloseCallback(id=key): type(None),
            StopExecution(execution_id=key, end=ending(ExecutionStatus.ABORTED)): ExecutionNotFound,
            RedriveExecution(execution_id=key, owner="worker", redrive_count=0): ExecutionNotFound,
            EndBatch(batch_id=key, status=aborted, end_time=moment()): BatchNotFound,
        }
        for write, outcome in writes.items():
            # A refusal must not roll back its neighbours in the transaction.
            neighbour = advance(made, current_state="First")
            assert [type(each) for each in await repository.commit([write, neighbour])] == [outcome, type(None)]

    @pytest.mark.parametrize("at", TIMES, ids=str)
    async def test_times_come_back_to_the_microsecond(self, repository: Repository, at: datetime) -> None:
        source = await finish(repository)
        made = chained(source, start_time=at)
        await commit(repository, StartExecution(execution=made, owner="worker"))
        seen = visit(made, entered=at, exited=at + TICK)
        await commit(repository, advance(made, seen, end=ending(end_time=at + TICK)))
        stored = await repository.execution(made.id)
        assert stored is not None
        assert (stored.start_time, stored.end_time) == (at, at + TICK)
        # `==` alone would accept another time zone.
        assert stored.start_time.utcoffset() == timedelta(0)
        assert list(await repository.visits(made.id)) == [seen]
        (link,) = await repository.links(page=9)
        assert link.created == at
        batch = await freeze(repository, start_time=at)
        found = await repository.batch(batch.id)
        assert found is not None
        assert found.start_time == at
        record = await commit(repository, CreateStateMachine(machine=machine(created=at)))
        assert record.created == at


class DurabilityContract:
    """What was committed stays when the repository is closed."""

    async def test_what_was_committed_is_there_when_it_is_opened_again(
        self, repository: Repository, reopen: Callable[[], Awaitable[Repository]]
    ) -> None:
        record = await commit(repository, CreateStateMachine(machine=machine()))
        source = await start(repository)
        ended = await finish(repository, visit(source), of=source)
        target = chained(source)
        await commit(repository, StartExecution(execution=target, owner="worker"))
        waiting = callback(target)
        await commit(repository, advance(target, visit(target), current_state="Second", opened=[waiting]))
        await commit(repository, ReleaseExecution(execution_id=target.id, epoch=1, claims=0))
        batch = await freeze(repository)
        again = await reopen()
        assert await again.state_machine("orders") == record
        assert await again.execution(source.id) == ended
        assert list(await again.visits(source.id)) == [visit(source)]
        assert [link.target_execution_id for link in await again.links(page=9)] == [target.id]
        assert list(await again.callbacks([waiting.id])) == [waiting]
        assert await again.batch(batch.id) == batch
        assert await again.count_executions(ExecutionFilter()) == 2
        (claim,) = await again.claim("two", page=9)
        assert (claim.execution.current_state, claim.seq, claim.epoch) == ("Second", 1, 2)

    async def test_guards_hold_when_it_is_opened_again(
        self, repository: Repository, reopen: Callable[[], Awaitable[Repository]]
    ) -> None:
        made = execution()
        write = StartExecution(execution=made, owner="worker")
        await commit(repository, write)
        move = advance(made, visit(made), end=ending(end_time=moment(99)))
        await commit(repository, move)
        again = await reopen()
        # Both replies were lost with the process, say: its successor commits the same writes.
        assert await commit(again, write) == await again.execution(made.id)
        await commit(again, move)
        assert len(await again.visits(made.id)) == 1
