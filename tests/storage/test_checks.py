"""A check finds what is damaged in a storage and repairs it, beside live workers; it finds nothing in a sound one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from statechain import Engine, Repository, TaskRegistry
from statechain.records.callbacks import CallbackStatus
from statechain.records.executions import ExecutionStatus
from statechain.storage.findings import Checkable, Finding
from statechain.storage.repository import StartExecution
from statechain.testing.contract.samples import (
    advance,
    callback,
    chained,
    commit,
    ending,
    finish,
    freeze,
    start,
    visit,
)
from support.storage.damage import TOO_LATE, Damage

pytestmark = pytest.mark.slow  # a damaged database for each check


async def found(repository: Repository, *, repair: bool = False) -> list[Finding]:
    assert isinstance(repository, Checkable)
    return [finding async for finding in repository.check(repair=repair)]


async def stored(repository: Repository) -> dict[str, Any]:
    """Store something of everything."""
    source = await finish(repository)
    running = await start(repository)
    await commit(repository, advance(running, visit(running, 0), visit(running, 1), opened=[callback(running)]))
    await commit(repository, StartExecution(execution=chained(source), owner=None))
    batch = await freeze(repository)
    ended = await finish(repository)
    three = await start(repository)
    await commit(repository, advance(three, *(visit(three, number) for number in range(3)), end=ending()))
    return {"source": source, "running": running, "batch": batch, "ended": ended, "three": three}


async def test_nothing_is_found_in_a_sound_storage(repository: Repository) -> None:
    await stored(repository)
    assert await found(repository) == []


DAMAGES = {
    "a run of nothing": ("INSERT INTO runs (execution_id, epoch, seq, claims) VALUES ('x', 1, 0, 0)", None, "runs"),
    "a run of what has ended": (
        "INSERT INTO runs (execution_id, epoch, seq, claims) VALUES (?, 1, 0, 0)", "ended", "runs",
    ),
    "no run": ("DELETE FROM runs WHERE execution_id = ?", "running", "executions"),
    "a run that counts other visits": ("DELETE FROM visits WHERE seq = 1 AND execution_id = ?", "running", "runs"),
    "a gap": ("DELETE FROM visits WHERE seq = 2 AND execution_id = ?", "three", "visits"),
    "a visit before the first": ("UPDATE visits SET seq = 0 WHERE seq = 3 AND execution_id = ?", "three", "visits"),
    "an unknown status": ("UPDATE executions SET status = 'LOST' WHERE id = ?", "running", "executions"),
    "an unknown end": ("UPDATE executions SET status = 'LOST' WHERE id = ?", "ended", "executions"),
    "no end time": ("UPDATE executions SET end_time = NULL WHERE id = ?", "ended", "executions"),
    "an end time": ("UPDATE executions SET end_time = 1 WHERE id = ?", "running", "executions"),
    "a late start": (f"UPDATE executions SET start_time = {TOO_LATE} WHERE id = ?", "ended", "executions"),
    "a late end": (f"UPDATE executions SET end_time = {TOO_LATE} WHERE id = ?", "ended", "executions"),
    "an input": ("UPDATE executions SET input = '{' WHERE id = ?", "running", "executions"),
    "an output": ("UPDATE visits SET output = '{' WHERE seq = 1 AND execution_id = ?", "running", "visits"),
    "a detail": ("UPDATE visits SET detail = 'x' WHERE seq = 1 AND execution_id = ?", "three", "visits"),
    "a late visit": (f"UPDATE visits SET exited = {TOO_LATE} WHERE seq = 1 AND execution_id = ?", "three", "visits"),
    "visits of nothing": ("UPDATE visits SET execution_id = 'x' WHERE execution_id = ?", "three", "visits"),
    "a callback of nothing": ("UPDATE callbacks SET execution_id = 'x'", None, "callbacks"),
    "a callback's status": ("UPDATE callbacks SET status = 'LOST'", None, "callbacks"),
    "a link from nothing": ("UPDATE links SET source_execution_id = 'x'", None, "links"),
    "a link to nothing": ("UPDATE links SET target_execution_id = 'x'", None, "links"),
    "a late link": (f"UPDATE links SET created = {TOO_LATE}", None, "links"),
    "a batch's options": ("UPDATE batches SET options = '['", None, "batches"),
    "a batch's status": ("UPDATE batches SET status = 'LOST'", None, "batches"),
    "items of nothing": ("DELETE FROM batches", None, "batch_items"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGES)
async def test_each_damage_is_found_and_repaired(repository: Repository, damage: Damage, kind: str) -> None:
    statement, which, table = DAMAGES[kind]
    made = await stored(repository)
    await damage(statement, *([made[which].id] if which else []))
    before = await found(repository)
    assert before
    assert {finding.table for finding in before} == {table}
    assert not any(finding.is_repaired for finding in before)
    assert await found(repository) == before
    repaired = await found(repository, repair=True)
    assert all(finding.is_repaired for finding in repaired)
    assert await found(repository) == []
    for each in ("source", "running", "ended", "three"):
        execution = await repository.execution(made[each].id)
        assert execution is not None
        await repository.visits(execution.id)
        if execution.status is ExecutionStatus.FAILED and each == which:
            assert execution.error == "States.Runtime"
            assert "statechain doctor" in str(execution.cause) or "could not be read" in str(execution.cause)
        elif each != which:
            assert execution == made[each] or each in {"three", "running"}


async def test_a_running_execution_without_a_run_ends_failed_and_can_be_redriven(url: str, damage: Damage) -> None:
    release = asyncio.Event()
    tasks = TaskRegistry()
    tasks.add("work", lambda value: release.wait())
    work = {"StartAt": "Work", "States": {"Work": {"Type": "Task", "Resource": "work", "End": True}}}
    async with Engine(url, tasks=tasks) as engine:
        machine = await engine.create_state_machine("work", work)
        lost, kept = await machine.start_execution(), await machine.start_execution()
        await damage("DELETE FROM runs WHERE execution_id = ?", lost.id)
        (finding,) = await found(engine.repository, repair=True)
        assert (finding.table, finding.key) == ("executions", (lost.id,))
        ended = await engine.get_execution(lost.id)
        assert (ended.status, ended.error) == ("FAILED", "States.Runtime")
        release.set()
        assert (await kept.wait()).status == "SUCCEEDED"
    async with Engine(url, tasks=tasks) as engine:
        redriven = await engine.redrive_execution(lost.id)
        assert (await redriven.wait()).status == "SUCCEEDED"


async def test_a_check_beside_live_workers_finds_and_changes_nothing(url: str) -> None:
    tasks = TaskRegistry()

    async def work(value: Any) -> Any:
        await asyncio.sleep(0)
        return value

    tasks.add("work", work)
    steps = {f"S{number}": {"Type": "Task", "Resource": "work", "Next": f"S{number + 1}"} for number in range(5)}
    definition = {"StartAt": "S0", "States": {**steps, "S5": {"Type": "Succeed"}}}
    async with Engine(url, tasks=tasks) as engine:
        machine = await engine.create_state_machine("busy", definition)
        handles = [await machine.start_execution({"n": number}) for number in range(40)]
        checking = asyncio.create_task(found(engine.repository, repair=True))
        ended = [await handle.wait() for handle in handles]
        assert await checking == []
        assert {each.status for each in ended} == {"SUCCEEDED"}


async def test_a_closed_callback_is_what_an_unknown_status_becomes(repository: Repository, damage: Damage) -> None:
    made = await stored(repository)
    await damage("UPDATE callbacks SET status = 'LOST'")
    await found(repository, repair=True)
    (closed,) = await repository.callbacks([callback(made["running"]).id])
    assert closed.status is CallbackStatus.CLOSED


async def test_a_definition_that_is_no_json_is_found_and_left(url: str, damage: Damage) -> None:
    async with Engine(url) as engine:
        await engine.create_state_machine("any", {"StartAt": "End", "States": {"End": {"Type": "Succeed"}}})
        await damage("UPDATE state_machines SET definition = '{'")
        (finding,) = await found(engine.repository, repair=True)
        assert (finding.table, finding.repair, finding.is_repaired) == ("state_machines", None, False)
