"""A plan gives the same history on every storage."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from statechain import Engine, TaskRegistry
from statechain.testing import VirtualClock

tasks = TaskRegistry()


@tasks.register
async def add(value: dict[str, Any]) -> dict[str, Any]:
    return {**value, "n": value["n"] + 1}


@tasks.register
async def refuse(value: dict[str, Any]) -> None:
    raise ValueError(f"{value['n']} is refused")


RETRY = [{"ErrorEquals": ["ValueError"], "IntervalSeconds": 3, "MaxAttempts": 2}]
CATCH = [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "Next"}]
MADE = {"n.$": "States.MathAdd($.n, 2)", "items.$": "$.items"}
STATES: dict[str, dict[str, Any]] = {
    "task": {"Type": "Task", "Resource": "add"},
    "pass": {"Type": "Pass", "Parameters": {**MADE, "é\u0000'": "ü\ud800"}},
    "assign": {"Type": "Pass", "Assign": {"kept.$": "$.n"}},
    "wait": {"Type": "Wait", "Seconds": 5},
    "fail": {"Type": "Task", "Resource": "refuse", "Retry": RETRY, "Catch": CATCH},
    "map": {"Type": "Map", "ItemsPath": "$.items", "ResultPath": "$.mapped", "MaxConcurrency": 1},
    "parallel": {"Type": "Parallel", "ResultPath": "$.both"},
}


def inner(name: str, place: int) -> dict[str, Any]:
    """Return a machine of one state, whose name is its own in the whole definition."""
    return {"StartAt": f"{name}{place}", "States": {f"{name}{place}": {**STATES["task"], "End": True}}}


def definition(kinds: list[str]) -> dict[str, Any]:
    """Return a definition of these states in a row."""
    states: dict[str, Any] = {}
    for place, kind in enumerate(kinds):
        state = {**STATES[kind], "Next": f"S{place + 1}"}
        if kind == "map":
            state["ItemProcessor"] = inner("Item", place)
        elif kind == "parallel":
            state["Branches"] = [inner("One", place)]
        elif kind == "fail":
            state["Catch"] = [{**CATCH[0], "Next": f"S{place + 1}"}]
        states[f"S{place}"] = state
    return {"StartAt": "S0", "States": {**states, f"S{len(kinds)}": {"Type": "Succeed"}}}


async def history(url: str, machine: dict[str, Any]) -> list[dict[str, Any]]:
    """Run an execution in virtual time; return its events, but for their times."""
    async with Engine(url, tasks=tasks, clock=VirtualClock()) as engine:
        made = await engine.create_state_machine(f"m-{uuid4()}", machine)
        execution = await made.execute({"n": 1, "items": [{"n": 1}, {"n": 2}]})
        events = await engine.get_execution_history(execution.id)
        return [{name: item for name, item in event.items() if name != "timestamp"} for event in events]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kinds=st.lists(st.sampled_from(sorted(STATES)), min_size=1, max_size=6))
def test_a_plan_gives_the_same_history_on_every_storage(sqlite_url: str, postgres_url: str, kinds: list[str]) -> None:
    machine = definition(kinds)
    in_memory = asyncio.run(history("memory://", machine))
    assert in_memory[-1]["type"] == "ExecutionSucceeded"
    assert asyncio.run(history(sqlite_url, machine)) == in_memory
    assert asyncio.run(history(postgres_url, machine)) == in_memory
