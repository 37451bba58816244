"""Branches and iterations of a state that is visited again: each visit has its own in the history, and no others."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from statechain import StatechainError, TaskError
from support.engine_harness import EngineHarness, engine_harness, machine, task, types

MORE = {"Type": "Choice", "Choices": [{"Variable": "$.turn", "NumericLessThan": 3, "Next": "Do"}], "Default": "End"}
COUNT = {"Type": "Pass", "Parameters": {"turn.$": "States.MathAdd($.turn, 1)"}, "Next": "More"}
EACH = {
    "Type": "Map",
    "ItemsPath": "$$.Execution.Input.items",
    "ItemSelector": {"turn.$": "$.turn"},
    "ItemProcessor": machine(Work=task("Work")),
}
BOTH = {"Type": "Parallel", "Branches": [machine(Work=task("Work")), machine(Pass={"Type": "Pass"})]}
RETRY = [{"ErrorEquals": ["Again"], "IntervalSeconds": 1}]


def looped(state: dict[str, Any]) -> dict[str, Any]:
    """Return a machine that visits a state three times."""
    return machine(
        Do={**state, "ResultPath": "$.done", "Next": "Count"}, Count=COUNT, More=MORE, End={"Type": "Succeed"}
    )


def within(inner: dict[str, Any]) -> dict[str, Any]:
    """Return a machine that runs another one in each of two iterations."""
    return machine(Around={"Type": "Map", "ItemsPath": "$.items", "ItemSelector": {"turn": 0}, "ItemProcessor": inner})


def retried(inner: dict[str, Any]) -> dict[str, Any]:
    """Return a machine that runs another one in a Parallel, and once more where it fails."""
    return machine(Around={"Type": "Parallel", "Branches": [inner], "Retry": RETRY})


CASES: dict[str, tuple[dict[str, Any], int]] = {
    "a Map in a loop": (looped(EACH), 6),
    "a Parallel in a loop": (looped(BOTH), 3),
    "a Map in a loop in a Map": (within(looped(EACH)), 12),
    "a Map in what is retried": (retried(machine(Do=EACH)), 4),
    "a Map in a Map in a loop": (looped({**EACH, "ItemProcessor": machine(Do2={**EACH})}), 12),
}


@pytest.mark.parametrize(("definition", "calls"), CASES.values(), ids=CASES)
async def test_each_visit_has_its_own_branches(quick: EngineHarness, definition: dict[str, Any], calls: int) -> None:
    given: list[Any] = []

    async def work(value: dict[str, Any]) -> dict[str, Any]:
        given.append(value)
        if "Retry" in definition["States"].get("Around", {}) and len(given) == 2:
            raise TaskError("Again")
        return value

    quick.tasks.add("Work", work)
    ended = await quick.run(definition, {"turn": 0, "items": [1, 2]})
    assert (ended.status, len(given)) == ("SUCCEEDED", calls)
    events = await quick.history(ended)
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    counts = Counter(types(events))
    assert counts["TaskStateEntered"] == counts["TaskScheduled"] == calls
    assert all(event["previousEventId"] < event["id"] for event in events)
    shown = [event["taskScheduledEventDetails"]["parameters"] for event in events if event["type"] == "TaskScheduled"]
    turns = [value["turn"] for value in given]
    assert [text.partition('"turn":')[2][:1] for text in shown] == [str(turn) for turn in turns]
    for event in events:
        assert await quick.engine.get_execution_history(ended.id, after=event["id"] - 1, limit=1) == [event]


@pytest.mark.parametrize("failing", [0, 1])
async def test_an_iteration_that_had_failed_before_a_crash_is_shown_once(failing: int) -> None:
    each = {
        "Type": "Map",
        "ItemsPath": "$.items",
        "ItemProcessor": machine(
            First=task("Pass", Next="Second"), Second=task("Fail", Next="Last"), Last=task("Pass")
        ),
        "Catch": [{"ErrorEquals": ["No"], "Next": "End"}],
    }
    both = {"Type": "Parallel", "Branches": [machine(Each=each, End={"Type": "Pass"}), machine(Side=task("Pass"))]}

    async def play(dies_at: int) -> tuple[list[dict[str, Any]], int]:
        async with engine_harness("memory://") as harness:

            async def fail(value: int) -> int:
                if value == failing:
                    raise TaskError("No")
                return value

            harness.tasks.add("Pass", lambda value: value)
            harness.tasks.add("Fail", fail)
            started = await harness.start(machine(Both=both), {"items": [0, 1]})
            harness.crash_at_commit(dies_at, keeps_last=True)
            try:
                ended = await started.wait()
            except StatechainError:
                await harness.reopen()
                ended = await harness.ended(started.id)
            assert ended.status == "SUCCEEDED"
            return await harness.history(ended), harness.crashes

    dies_at, crashes = 0, 1
    while crashes:
        dies_at += 1
        events, crashes = await play(dies_at)
        assert [event["id"] for event in events] == list(range(1, len(events) + 1)), dies_at
        assert Counter(types(events))["MapIterationStarted"] == 2, dies_at
    assert dies_at > 3
