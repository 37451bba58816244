"""The type of history events names each key that the history writes."""

from __future__ import annotations

from typing import Any

import pytest

from statechain import Engine, HistoryEvent, TaskRegistry

KEYS = frozenset(HistoryEvent.__annotations__)
FAILING = {"Type": "Task", "Resource": "Fail", "End": True}
MAP = {
    "StartAt": "Each",
    "States": {
        "Each": {
            "Type": "Map",
            "ItemProcessor": {"StartAt": "Call", "States": {"Call": FAILING}},
            "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Wait"}],
            "End": True,
        },
        "Wait": {"Type": "Wait", "Seconds": 0, "Next": "Stop"},
        "Stop": {"Type": "Fail", "Error": "No"},
    },
}
TASK = {"StartAt": "Call", "States": {"Call": {"Type": "Task", "Resource": "Answer", "End": True}}}


@pytest.mark.parametrize("definition", [MAP, TASK], ids=["map", "task"])
async def test_every_key_of_an_event_is_in_its_type(definition: dict[str, Any]) -> None:
    tasks = TaskRegistry()

    @tasks.register("Fail")
    async def fail(_: object) -> None:
        raise ValueError("no")

    tasks.add("Answer", lambda value: value)
    async with Engine("memory://", tasks=tasks) as engine:
        machine = await engine.create_state_machine("machine", definition)
        ended = await (await machine.start_execution([1, 2])).wait()
        history = await engine.get_execution_history(ended.id)
    assert len({key for event in history for key in event}) > 6
    for event in history:
        assert set(event) <= KEYS, event["type"]
