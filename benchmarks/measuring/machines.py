"""The state machines that the benchmarks run: no-op tasks over a payload of about 200 bytes."""

from typing import Any

from statechain import TaskRegistry

PAYLOAD: Any = {"id": 1, "customer": "c" * 40, "lines": [1, 2, 3], "note": "n" * 80, "total": 12.5}

tasks = TaskRegistry()


@tasks.register("step")
async def step(value: Any) -> Any:
    """Do nothing."""
    return value


def chain_of(count: int) -> dict[str, Any]:
    """Return a definition of a number of Task states in a row."""
    states: dict[str, Any] = {
        f"Step{number}": {"Type": "Task", "Resource": "step", "Next": f"Step{number + 1}"} for number in range(count)
    }
    states[f"Step{count - 1}"] = {"Type": "Task", "Resource": "step", "End": True}
    return {"StartAt": "Step0", "States": states}
