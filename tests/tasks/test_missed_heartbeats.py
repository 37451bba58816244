"""A missed heartbeat is reported as States.Timeout, as AWS does; Retry and Catch match it as a heartbeat's, too."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from statechain import StatechainError
from support.engine_harness import EngineHarness, machine, task, types

ACTIVITY = "arn:aws:states:eu-west-1:123456789012:activity:paint"
SILENT = task("Silent.waitForTaskToken", TimeoutSeconds=1000, HeartbeatSeconds=5)


def silent(harness: EngineHarness) -> None:
    """Register a handler that hands the token out to no one who would answer."""

    async def ask(_: Any) -> None:
        harness.calls["Silent"] += 1

    harness.tasks.add("Silent", ask)


async def test_its_event_and_the_execution_name_the_timeout(harness: EngineHarness) -> None:
    silent(harness)
    ended = await harness.run(machine(Silent=SILENT))
    assert (ended.status, ended.error, ended.cause) == ("FAILED", "States.Timeout", None)
    timed_out = (await harness.history(ended))[-2]
    assert timed_out["type"] == "TaskTimedOut"
    assert timed_out["taskTimedOutEventDetails"]["error"] == "States.Timeout"


async def test_an_activitys_event_names_the_timeout(quick: EngineHarness) -> None:
    started = await quick.start(machine(Paint=task(ACTIVITY, HeartbeatSeconds=5)))
    assert await quick.engine.get_activity_task("paint") is not None
    ended = await started.wait()
    assert ended.error == "States.Timeout"
    timed_out = (await quick.history(ended))[-2]
    assert (timed_out["type"], timed_out["activityTimedOutEventDetails"]) == (
        "ActivityTimedOut",
        {"error": "States.Timeout"},
    )


@pytest.mark.parametrize(
    ("name", "is_caught"),
    [
        ("States.HeartbeatTimeout", True),
        ("States.Timeout", True),
        ("States.ALL", True),
        ("States.TaskFailed", False),
    ],
)
async def test_catch_matches_it_by_either_name(quick: EngineHarness, name: str, *, is_caught: bool) -> None:
    silent(quick)
    catch = [{"ErrorEquals": [name], "Next": "Caught"}]
    ended = await quick.run(machine(Silent={**SILENT, "Catch": catch}, Caught={"Type": "Pass"}))
    assert (ended.status == "SUCCEEDED") is is_caught
    if is_caught:
        assert ended.output == {"Error": "States.Timeout", "Cause": ""}


async def test_retry_matches_it_by_its_own_name(quick: EngineHarness) -> None:
    silent(quick)
    retry = [{"ErrorEquals": ["States.HeartbeatTimeout"], "MaxAttempts": 2}]
    await quick.run(machine(Silent={**SILENT, "Retry": retry}))
    assert quick.calls["Silent"] == 3


async def test_the_tasks_own_timeout_is_no_missed_heartbeat(quick: EngineHarness) -> None:
    silent(quick)
    catch = [{"ErrorEquals": ["States.HeartbeatTimeout"], "Next": "Caught"}]
    state = task("Silent.waitForTaskToken", TimeoutSeconds=5, Catch=catch)
    ended = await quick.run(machine(Silent=state, Caught={"Type": "Pass"}))
    assert (ended.status, ended.error) == ("FAILED", "States.Timeout")


async def test_a_branchs_is_known_as_one_after_a_crash(harness: EngineHarness) -> None:
    silent(harness)
    catch = [{"ErrorEquals": ["States.HeartbeatTimeout"], "Next": "Caught"}]
    branch = machine(Silent=SILENT)
    fork = {"Type": "Parallel", "Branches": [branch], "Catch": catch}
    definition = machine(Fork=fork, Caught={"Type": "Pass"})
    for dies_at in range(1, 12):
        started = await harness.start(definition)
        harness.crash_at_commit(dies_at, keeps_last=True)
        with contextlib.suppress(StatechainError):
            await started.wait()
        if not harness.is_struck:
            break
        await harness.reopen()
        ended = await harness.ended(started.id)
        assert (ended.status, ended.output) == ("SUCCEEDED", {"Error": "States.Timeout", "Cause": ""})
        assert types(await harness.history(ended)).count("TaskTimedOut") == 1
    assert dies_at > 3
