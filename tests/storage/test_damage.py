"""A row that cannot be read touches only its own execution: lists leave it out, claims end it, its neighbours go on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from statechain import Engine, ExecutionFilter, Repository, TaskRegistry, open_repository
from statechain.errors import DamagedRow, TaskTimedOut
from statechain.records.executions import ExecutionStatus
from statechain.storage.repository import StartExecution, StopExecution
from statechain.testing.contract.samples import advance, chained, commit, ending, finish, freeze, start, visit
from support.storage.damage import TOO_LATE, Damage

ONE_TASK = {"StartAt": "Work", "States": {"Work": {"Type": "Task", "Resource": "work", "End": True}}}
TWO_TASKS = {
    "StartAt": "First",
    "States": {
        "First": {"Type": "Task", "Resource": "count", "Next": "Work"},
        "Work": {"Type": "Task", "Resource": "work", "End": True},
    },
}


async def test_a_list_leaves_a_damaged_execution_out(
    repository: Repository, damage: Damage, caplog: pytest.LogCaptureFixture
) -> None:
    made = [await start(repository) for _ in range(7)]
    for bad in made[1:5]:
        await damage("UPDATE executions SET start_time = ? WHERE id = ?", TOO_LATE, bad.id)
    async with Engine(repository, recovery=False) as engine:
        with caplog.at_level(logging.WARNING):
            found = await engine.list_executions(ExecutionFilter(order="oldest_first"))
        assert [each.id for each in found] == [made[place].id for place in (0, 5, 6)]
        assert made[1].id in caplog.text
        assert "doctor" in caplog.text
        for size in (1, 2, 3):
            pages = engine.iterate_executions(ExecutionFilter(order="newest_first"), page_size=size)
            assert [each.id async for each in pages] == [made[place].id for place in (6, 5, 0)]
        two = ExecutionFilter(order="oldest_first", limit=2)
        assert await engine.list_execution_ids(two) == [made[0].id, made[5].id]
        with pytest.raises(DamagedRow, match=r"executions cannot be read: start_time is 4\d+ microseconds"):
            await engine.get_execution(made[1].id)


async def test_a_claim_ends_what_cannot_be_read_and_returns_the_rest(
    repository: Repository, damage: Damage, caplog: pytest.LogCaptureFixture
) -> None:
    made = [await start(repository, owner="dead") for _ in range(4)]
    await damage("UPDATE executions SET start_time = ? WHERE id = ?", TOO_LATE, made[2].id)
    await repository.release("dead")
    with caplog.at_level(logging.WARNING):
        claims = await repository.claim("worker", page=10)
    assert {claim.execution.id for claim in claims} == {made[place].id for place in (0, 1, 3)}
    assert made[2].id in caplog.text
    await damage("UPDATE executions SET start_time = ? WHERE id = ?", 0, made[2].id)
    ended = await repository.execution(made[2].id)
    assert ended is not None
    assert (ended.status, ended.error) == (ExecutionStatus.FAILED, "States.Runtime")
    assert ended.cause is not None
    assert made[2].id in ended.cause
    assert "start_time" in ended.cause


async def test_a_damaged_row_fails_only_its_own_write(repository: Repository, damage: Damage) -> None:
    bad, good = await start(repository), await start(repository)
    await damage("UPDATE executions SET start_time = ? WHERE id = ?", TOO_LATE, bad.id)
    end = ending(status=ExecutionStatus.ABORTED)
    outcomes = await repository.commit([StopExecution(execution_id=each.id, end=end) for each in (bad, good)])
    assert isinstance(outcomes[0], DamagedRow)
    assert await repository.execution(good.id) == outcomes[1]


async def test_an_unknown_status_is_damage(repository: Repository, damage: Damage) -> None:
    made = await start(repository)
    await damage("UPDATE executions SET status = 'LOST' WHERE id = ?", made.id)
    with pytest.raises(DamagedRow, match="status is 'LOST', which is unknown"):
        await repository.execution(made.id)


async def test_other_rows_that_cannot_be_read_are_named(repository: Repository, damage: Damage) -> None:
    source = await start(repository)
    await commit(repository, advance(source, visit(source, 0), visit(source, 1)))
    target = chained(source)
    await commit(repository, StartExecution(execution=target, owner="worker"))
    await damage("UPDATE visits SET entered = ? WHERE execution_id = ? AND seq = 2", TOO_LATE, source.id)
    with pytest.raises(DamagedRow, match=r"row '.*', 2 of visits"):
        await repository.visits(source.id)
    with pytest.raises(DamagedRow, match=r"row '.*', 2 of visits"):
        await repository.visit_outlines(source.id, page=10)
    await damage("UPDATE links SET created = ? WHERE target_execution_id = ?", TOO_LATE, target.id)
    assert list(await repository.links(source_execution_id=source.id, page=10)) == []


async def test_a_damaged_batch_or_item_is_left_out(repository: Repository, damage: Damage) -> None:
    sources = [await finish(repository) for _ in range(3)]
    frozen = [await freeze(repository, name_prefix=name) for name in ("one", "two")]
    await damage("UPDATE batches SET options = '{' WHERE id = ?", frozen[0].id)
    assert [each.id for each in await repository.batches(page=10)] == [frozen[1].id]
    with pytest.raises(DamagedRow, match="options is not JSON"):
        await repository.batch(frozen[0].id)
    await damage("UPDATE executions SET status = 'LOST' WHERE id = ?", sources[1].id)
    items = await repository.batch_items(frozen[1].id, page=10)
    broken = [item for item in items if item.source_execution_id == sources[1].id]
    assert [item.error for item in broken] == ["DamagedRow"]
    assert len(items) == 3


@pytest.mark.parametrize("damaged", ["definition = '{'", f"created = {TOO_LATE}"])
async def test_an_execution_whose_machine_cannot_be_read_ends_failed(url: str, damage: Damage, damaged: str) -> None:
    tasks = TaskRegistry()
    tasks.add("work", lambda value: value)
    async with Engine(url, tasks=tasks, recovery=False) as engine:
        bad = await engine.create_state_machine("bad", ONE_TASK)
        good = await engine.create_state_machine("good", ONE_TASK)
        async with open_repository(url) as repository:
            made = [await start(repository, owner=None, state_machine_id=each.id) for each in (bad, good)]
    await damage(f"UPDATE state_machines SET {damaged} WHERE id = ?", bad.id)
    async with Engine(url, tasks=tasks) as engine:
        failed, succeeded = [await (await engine.get_handle(each.id)).wait() for each in made]
        assert (failed.status, failed.error, succeeded.status) == ("FAILED", "States.Runtime", "SUCCEEDED")
        assert "of state_machines cannot be read" in str(failed.cause)
        assert [each.name for each in await engine.list_state_machines()] == ["good"]


async def test_a_task_whose_callback_is_damaged_fails(url: str, damage: Damage) -> None:
    tokens: list[str] = []
    tasks = TaskRegistry()
    tasks.add("ask", tokens.append)
    asking = {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
        "Parameters": {"FunctionName": "ask", "Payload.$": "$$.Task.Token"},
        "End": True,
    }
    async with Engine(url, tasks=tasks) as engine:
        machine = await engine.create_state_machine("asks", {"StartAt": "Ask", "States": {"Ask": asking}})
        bad, good = [await machine.start_execution() for _ in range(2)]
        async with asyncio.timeout(30):
            while len(tokens) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await damage("UPDATE callbacks SET status = 'LOST' WHERE execution_id = ?", bad.id)
        async with asyncio.timeout(30):
            ended = await bad.wait()
        assert (ended.status, ended.error) == ("FAILED", "States.Runtime")
        assert "callbacks cannot be read: status is 'LOST'" in str(ended.cause)
        for token in tokens:
            with contextlib.suppress(DamagedRow, TaskTimedOut):
                await engine.send_task_success(token, 1)
        assert (await good.wait()).status == "SUCCEEDED"


async def test_values_of_a_wrong_type_are_damage(sqlite_url: str) -> None:
    async with open_repository(sqlite_url) as repository:
        for column, value in {"name": 5.5, "input": b"{}", "start_time": "noon", "redrive_count": "x"}.items():
            made = await start(repository)
            with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as connection, connection:
                connection.execute(f"UPDATE executions SET {column} = ? WHERE id = ?", (value, made.id))
            connection.close()
            if column == "name":
                continue  # SQLite makes text of a number in a text column
            with pytest.raises(DamagedRow, match=f"{column} is"):
                await repository.execution(made.id)


@pytest.mark.parametrize(
    ("statement", "values", "named"),
    [
        ("UPDATE visits SET entered = ? WHERE seq = 1 AND execution_id = ?", [TOO_LATE], "1 of visits"),
        ("UPDATE visits SET output = '{' WHERE seq = 1 AND execution_id = ?", [], "1 of visits"),
        ("UPDATE visits SET detail = '[' WHERE seq = 1 AND execution_id = ?", [], "1 of visits"),
        ("UPDATE executions SET input = '{' WHERE id = ?", [], "of executions"),
        ("UPDATE executions SET start_time = ? WHERE id = ?", [-TOO_LATE], "of executions"),
    ],
)
async def test_an_execution_whose_row_is_damaged_ends_failed_and_its_neighbours_go_on(
    url: str, damage: Damage, statement: str, values: list[int], named: str
) -> None:
    begun, release = asyncio.Event(), asyncio.Event()
    calls: list[Any] = []

    async def work(value: object) -> object:
        calls.append(value)
        if len(calls) == 3:
            begun.set()
        await release.wait()
        return value

    tasks = TaskRegistry()
    tasks.add("work", work)
    tasks.add("count", lambda value: {"counted": value["n"]})
    ids: list[str] = []
    with contextlib.suppress(ZeroDivisionError):
        async with Engine(url, tasks=tasks) as engine:
            machine = await engine.create_state_machine("two", TWO_TASKS)
            ids += [(await machine.start_execution({"n": number})).id for number in range(3)]
            await begun.wait()
            raise ZeroDivisionError  # to leave by an exception interrupts what runs
    release.set()
    await damage(statement, *values, ids[1])
    async with Engine(url, tasks=tasks) as engine:
        for each in (ids[0], ids[2]):
            assert (await (await engine.get_handle(each)).wait()).status == "SUCCEEDED"
        async with asyncio.timeout(30):
            while await engine.repository.epochs([ids[1]]):  # noqa: ASYNC110 -- storage has no event
                await asyncio.sleep(0.01)
    await damage("UPDATE executions SET start_time = 0 WHERE id = ?", ids[1])
    async with open_repository(url) as repository:
        ended = await repository.execution(ids[1])
    assert ended is not None
    assert (ended.status, ended.error) == ("FAILED", "States.Runtime")
    assert named in str(ended.cause)
    assert ids[1] in str(ended.cause)
