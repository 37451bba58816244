"""Whatever a Parallel's branches are made of: as lines and as tasks they come to the same end, history and rows."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from itertools import count, pairwise
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statechain import Engine, MemoryRepository, TaskRegistry
from statechain.testing import VirtualClock
from support.engine_harness import task
from support.lines import turn_lines_off

pytestmark = pytest.mark.timeout(1800)  # at full size it runs two thousand executions

ALL = ["States.ALL"]
ITEMS = [{"n": 1}, {"n": 2}, {"n": 3}]
ITEM = "$$.Map.Item.Value"
SECONDS = st.integers(0, 2)


def one_in(many: int) -> st.SearchStrategy[bool]:
    """Return a strategy of what is True that seldom."""
    return st.integers(1, many).map(lambda drawn: drawn == many)


@st.composite
def tasks(draw: st.DrawFn, name: str, number: int, *, is_iteration: bool) -> dict[str, Any]:
    """Draw a Task, plain or not, whose handler may fail."""
    given = {"key": name, "number": number, "seconds": draw(SECONDS), "fails": draw(st.sampled_from([0, 0, 0, 1, 9]))}
    state = task("work", Parameters={**given, "item.$": ITEM if is_iteration else "$$.Execution.Input.none"})
    if draw(one_in(2)):
        state["Retry"] = [{"ErrorEquals": ALL, "MaxAttempts": 1, "IntervalSeconds": draw(st.integers(1, 3))}]
    if draw(one_in(4)):
        state["TimeoutSeconds"] = draw(st.integers(1, 3))
    if draw(one_in(4)):
        state["Assign"] = {f"of{name}.$": "$.list"}
    if draw(one_in(3)):
        state["ResultPath"] = draw(st.sampled_from(["$.result", None]))
    return state


@st.composite
def bodies(draw: st.DrawFn, numbers: Iterator[int], depth: int, *, is_iteration: bool = False) -> dict[str, Any]:
    """Draw a chain of states, those that fan out included."""
    kinds = ["Task", "Task", "Task", "Pass", "Wait", *(["Parallel", "Map"] if depth else [])]
    states: dict[str, dict[str, Any]] = {}
    for _ in range(draw(st.integers(1, 3))):
        number = next(numbers)
        name, kind = f"S{number}", draw(st.sampled_from(kinds))
        state: dict[str, Any] = {"Type": kind}
        if kind == "Task":
            state = draw(tasks(name, number, is_iteration=is_iteration))
        elif kind == "Wait":
            state["Seconds"] = draw(SECONDS)
        elif kind == "Parallel":
            below = bodies(numbers, depth - 1, is_iteration=is_iteration)
            state |= {"Branches": draw(st.lists(below, min_size=1, max_size=3)), "ResultPath": "$.all"}
        elif kind == "Map":
            below = bodies(numbers, depth - 1, is_iteration=True)
            state |= {"ItemsPath": "$$.Execution.Input.items", "MaxConcurrency": draw(st.integers(0, 3))}
            state |= {"ItemProcessor": draw(below), "ResultPath": "$.all"}
        if kind not in {"Pass", "Wait"} and draw(one_in(4)):
            state["Catch"] = [{"ErrorEquals": ALL, "Next": "Caught", "ResultPath": "$.error"}]
        states[name] = state
    return _linked(states, f"Caught{next(numbers)}")


def _linked(states: dict[str, dict[str, Any]], caught: str) -> dict[str, Any]:
    for name, following in pairwise([*states, None]):
        states[name or ""] |= {"Next": following} if following else {"End": True}
    catchers = [catcher for state in states.values() for catcher in state.get("Catch", ())]
    for catcher in catchers:
        catcher["Next"] = caught
    return {"StartAt": next(iter(states)), "States": states | ({caught: {"Type": "Succeed"}} if catchers else {})}


@st.composite
def definitions(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a Parallel of several branches, which may be cancelled."""
    numbers = count(1)
    branches = draw(st.lists(bodies(numbers, 2), min_size=2, max_size=4))
    definition = _linked({"All": {"Type": "Parallel", "Branches": branches}}, "Caught")
    return {**definition, "TimeoutSeconds": draw(st.integers(1, 5))} if draw(one_in(4)) else definition


def handlers(clock: VirtualClock) -> TaskRegistry:
    """Return a handler whose calls all end at different moments: what comes at the same one has no order."""
    registry, calls = TaskRegistry(), Counter[str]()

    @registry.register
    async def work(value: dict[str, Any]) -> Any:
        key, number = f"{value['key']} {value['item'].get('n')}", value["number"]
        calls[key] += 1
        apart = (101 * number + 7 * number**2 + 17 * value["item"].get("n", 0)) * calls[key] / 10_000
        await clock.sleep_until(clock.now() + timedelta(seconds=value["seconds"] + apart))
        if calls[key] <= value["fails"]:
            raise ValueError(key)
        value["item"]["n"] = "changed"
        return {"list": [key]}

    return registry


async def played(definition: dict[str, Any]) -> tuple[Any, ...]:
    """Run a definition; return its outcome, its events and rows, without numbers that follow from their order."""
    clock, repository = VirtualClock(grace=0.001), MemoryRepository()
    async with Engine(repository, tasks=handlers(clock), clock=clock) as engine:
        machine = await engine.create_state_machine("same", definition)
        ended = await (await machine.start_execution({"items": ITEMS, "list": [0], "none": {}}, name="one")).wait()
        events = await engine.get_execution_history(ended.id)
    rows = [attrs.asdict(row) for row in await repository.visits(ended.id)]
    return (
        (ended.status, ended.output_text, ended.error, ended.cause),
        _without(events, "id", "previousEventId"),
        _without(rows, "execution_id", "number", "entered_event", "exited_event", "detail"),
    )


def _without(facts: list[dict[str, Any]], *names: str) -> list[str]:
    return sorted(repr({name: value for name, value in fact.items() if name not in names}) for fact in facts)


@given(definitions())
def test_branches_as_lines_and_as_tasks_come_to_the_same(definition: dict[str, Any]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        turn_lines_off(patch)
        expected = asyncio.run(played(definition))
    assert asyncio.run(played(definition)) == expected
