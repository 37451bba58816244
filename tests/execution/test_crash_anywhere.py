"""One execution of everything, struck down at each of its commits in turn: it ends the same every time."""

from __future__ import annotations

import functools
from collections import Counter
from itertools import count
from typing import Any

import pytest

from statechain import Execution, StatechainError, TaskContext, TaskError
from support.engine_harness import EngineHarness, engine_harness, machine, output, task, types

pytestmark = pytest.mark.slow  # crashes at every commit

DISTRIBUTED = {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}}
RETRY = [{"ErrorEquals": ["Flaky"], "IntervalSeconds": 2, "MaxAttempts": 3}]
START = "arn:aws:states:::states:startExecution.sync:2"
NESTED = {"StateMachineArn": "child", "Input": {"n": 3}}

EVERYTHING = machine(
    Begin={"Type": "Pass", "Assign": {"kept": "kept"}, "Result": {"items": [1, 2, 3], "round": 0}, "Next": "Fork"},
    Fork={
        "Type": "Parallel",
        "Branches": [
            machine(
                Each={
                    "Type": "Map",
                    "ItemsPath": "$.items",
                    "MaxConcurrency": 2,
                    "ItemProcessor": machine(
                        Try=task("Flaky", Retry=RETRY, Next="Nap"),
                        Nap={"Type": "Wait", "Seconds": 1, "Next": "Add"},
                        Add=task("Add"),
                    ),
                }
            ),
            machine(Pause={"Type": "Wait", "Seconds": 7, "Next": "Ask"}, Ask=task("Ask.waitForTaskToken")),
            machine(ChildExecutions=task(START, Parameters=NESTED, OutputPath="$.Output")),
        ],
        "ResultPath": "$.forked",
        "Next": "Spread",
    },
    Spread={
        "Type": "Map",
        "ItemsPath": "$.items",
        "ToleratedFailureCount": 1,
        "ItemProcessor": {**DISTRIBUTED, **machine(Pick=task("Picky", Next="Rest"), Rest={"Type": "Pass"})},
        "ResultPath": "$.spread",
        "Next": "Fall",
    },
    Fall=task("Fall", Catch=[{"ErrorEquals": ["States.ALL"], "ResultPath": "$.fell", "Next": "Count"}], Next="Count"),
    Count=task("Count", ResultPath="$.round", Next="Again"),
    Again={
        "Type": "Choice",
        "Choices": [{"Variable": "$.round", "NumericLessThan": 2, "Next": "Spread"}],
        "Default": "Finish",
    },
    Finish={"Type": "Pass", "Parameters": {"all.$": "$", "kept.$": "$kept"}},
)


def register(harness: EngineHarness) -> None:
    """Register handlers whose results depend on nothing but what they are given."""

    async def flaky(value: int, context: TaskContext) -> int:
        if value == 2 and context.attempt < 3:
            raise TaskError("Flaky")
        return value

    async def ask(_: Any, context: TaskContext) -> None:
        await harness.engine.send_task_success(context.task_token or "", "answered")

    async def picky(value: int) -> int:
        if value == 2:
            raise TaskError("Two")
        return value * 100

    async def fall(_: Any) -> None:
        raise TaskError("Fell")

    async def add(value: int) -> int:
        return value + 1

    async def tally(value: dict[str, int]) -> int:
        return value["round"] + 1

    handlers: dict[str, Any] = {"Flaky": flaky, "Ask": ask, "Picky": picky, "Fall": fall, "Add": add, "Count": tally}
    for name, handler in handlers.items():
        harness.tasks.add(name, counted(harness, handler))


def counted(harness: EngineHarness, handler: Any) -> Any:
    """Return a handler whose calls are counted together with all others'."""

    @functools.wraps(handler)
    async def count_and_call(*arguments: Any) -> Any:
        harness.calls["handlers"] += 1
        return await handler(*arguments)

    return count_and_call


async def play(
    harness: EngineHarness, deaths: list[int], *, keeps_last: bool
) -> tuple[Execution, list[dict[str, Any]]]:
    """Run everything, engines dying at a commit one after the other; return the end and the history."""
    register(harness)
    await harness.engine.create_state_machine("child", machine(Work=task("Picky", InputPath="$.n")))
    await harness.engine.create_state_machine("everything", EVERYTHING)
    while True:
        everything = await harness.engine.get_state_machine("everything")
        if deaths:
            harness.crash_at_commit(deaths.pop(0), keeps_last=keeps_last)
        try:
            ended = await (await everything.start_execution(None, name="one")).wait()
        except StatechainError:
            assert harness.is_struck
        if not harness.is_struck:
            return ended, await harness.history(ended)
        await harness.reopen()


AT_ONCE = 4
"""How many handlers may be under way at a moment, and so run again after a crash."""

EXPECTED = {
    "items": [1, 2, 3],
    "round": 2,
    "forked": [[2, 3, 4], "answered", 300],
    "spread": [100, 300],
    "fell": {"Error": "Fell", "Cause": ""},
}


@pytest.mark.usefixtures("copied_schema")
@pytest.mark.parametrize("keeps_last", [False, True], ids=["lost", "kept"])
@pytest.mark.parametrize(("url", "deaths"), [("memory://", 1), ("memory://", 2), ("memory://", 3), ("sqlite://", 1)])
async def test_it_ends_the_same_wherever_it_is_struck_down(url: str, deaths: int, *, keeps_last: bool) -> None:
    async with engine_harness(url) as harness:
        whole, told = await play(harness, [], keeps_last=False)
        assert output(whole) == {"all": EXPECTED, "kept": "kept"}
        calls = harness.calls["handlers"]
    for dies_at in count(1):
        async with engine_harness(url) as harness:
            ended, history = await play(harness, [dies_at, dies_at % 7 + 1, 2][:deaths], keeps_last=keeps_last)
            crashes = harness.crashes
            assert (ended.status, output(ended)) == ("SUCCEEDED", output(whole)), dies_at
            assert Counter(types(history)) == Counter(types(told)), dies_at
            assert [event["id"] for event in history] == list(range(1, len(history) + 1))
            assert all(event["previousEventId"] < event["id"] for event in history)
            children = [each for each in await harness.engine.list_executions() if each.name != "one"]
            assert [child.status for child in children] == ["SUCCEEDED"], dies_at
            assert calls <= harness.calls["handlers"] <= calls + crashes * AT_ONCE
        if not crashes:
            break
    assert dies_at > 20
