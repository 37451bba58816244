"""The state machines that the benchmarks run: no-op tasks over a payload of about 200 bytes."""

from collections.abc import Callable
from typing import Any

from statechain import TaskRegistry

PAYLOAD: Any = {"id": 1, "customer": "c" * 40, "lines": [1, 2, 3], "note": "n" * 80, "total": 12.5}

tasks = TaskRegistry()


@tasks.register("step")
async def step(value: Any) -> Any:
    """Do nothing."""
    return value


RETRY = [{"ErrorEquals": ["States.TaskFailed"], "MaxAttempts": 3}]
CATCH = [{"ErrorEquals": ["States.ALL"], "Next": "Failed"}]


def chain_of(count: int, **fields: Any) -> dict[str, Any]:
    """Return a definition of a number of Task states in a row, each of which has these fields, too."""
    each = {"Type": "Task", "Resource": "step", **fields}
    states: dict[str, Any] = {f"Step{number}": {**each, "Next": f"Step{number + 1}"} for number in range(count)}
    states[f"Step{count - 1}"] = {**each, "End": True}
    return {"StartAt": "Step0", "States": states}


def caught(count: int) -> dict[str, Any]:
    """Return a chain of Tasks each of which has Retry and Catch, as real definitions have."""
    definition = chain_of(count, Retry=RETRY, Catch=CATCH)
    definition["States"]["Failed"] = {"Type": "Fail"}
    return definition


def branched(count: int) -> dict[str, Any]:
    """Return a Parallel state with a branch of one Task for each of them."""
    state = {"Type": "Task", "Resource": "step", "End": True}
    branches = [{"StartAt": f"Step{number}", "States": {f"Step{number}": state}} for number in range(count)]
    return {"StartAt": "All", "States": {"All": {"Type": "Parallel", "Branches": branches, "End": True}}}


def mapped(count: int) -> dict[str, Any]:
    """Return a Map state that runs one Task for each of some items."""
    items = {"Type": "Pass", "Result": [PAYLOAD] * count, "Next": "All"}
    each = {"Type": "Map", "ItemProcessor": chain_of(1), "End": True}
    return {"StartAt": "Items", "States": {"Items": items, "All": each}}


SHAPES: dict[str, Callable[[int], dict[str, Any]]] = {
    "chain": chain_of,
    "caught": caught,
    "parallel": branched,
    "map": mapped,
}
"""Definitions of a number of Task states, by how these are arranged."""
