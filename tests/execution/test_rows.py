"""What is stored of each visit: its row says where it was, what became of it, and what a history needs beside that."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import attrs

from statechain import TaskError
from statechain.records.executions import Visit
from support.engine_harness import EngineHarness, machine, task

BEGAN = datetime(2025, 1, 1, tzinfo=UTC)


def failing(harness: EngineHarness, name: str = "Fail") -> None:
    async def fail(_value: Any) -> None:
        raise TaskError("Broken", cause="in two")

    harness.tasks.add(name, fail)


async def test_the_rows_of_an_execution_say_where_it_was_and_what_became_of_it(harness: EngineHarness) -> None:
    failing(harness)
    retry = [{"ErrorEquals": ["Broken"], "MaxAttempts": 2, "IntervalSeconds": 10, "BackoffRate": 1}]
    catch = [{"ErrorEquals": ["Broken"], "Next": "Branch", "ResultPath": "$.error"}]
    inner = machine(Pause={"Type": "Wait", "Seconds": 5, "Next": "Again"}, Again=task("Fail", Retry=retry))
    ended = await harness.run(
        machine(
            First={"Type": "Pass", "Next": "Try"},
            Try=task("Fail", Catch=catch, End=True),
            Branch={"Type": "Parallel", "Branches": [inner]},
        ),
        {"n": 1},
    )
    rows = await harness.repository.visits(ended.id)
    later = [BEGAN + timedelta(seconds=seconds) for seconds in (0, 5, 15, 25)]
    broken: dict[str, Any] = {"error": "Broken", "cause": "in two"}
    caught = '{"n":1,"error":{"Error":"Broken","Cause":"in two"}}'

    def row(frame: str, number: int, state: str, type_: str, *times_and_events: Any, **more: Any) -> Visit:
        entered, exited, entered_event, exited_event = times_and_events
        return Visit(
            execution_id=ended.id,
            frame=frame,
            number=number,
            state=state,
            type=type_,
            entered=entered,
            exited=exited,
            entered_event=entered_event,
            exited_event=exited_event,
            **more,
        )

    expected = [
        row("", 0, "First", "Pass", BEGAN, BEGAN, 2, 3, output='{"n":1}', next="Try"),
        row("", 1, "Try", "Task", BEGAN, BEGAN, 4, 8, output=caught, next="Branch", **broken),
        row("", 2, "Branch", "Parallel", BEGAN, None, 9, 0),
        row("Branch[0]", 3, "Pause", "Wait", BEGAN, None, 11, 0),
        row("Branch[0]", 3, "Pause", "Wait", BEGAN, later[1], 11, 12, output=caught, next="Again"),
        row("Branch[0]", 4, "Again", "Task", later[1], None, 13, 0),
        row("Branch[0]", 4, "Again", "Task", later[1], None, 13, 0),
        row("Branch[0]", 4, "Again", "Task", later[1], later[3], 13, 0, **broken),
        row("", 2, "Branch", "Parallel", BEGAN, later[3], 9, 0, **broken),
    ]
    assert [attrs.evolve(each, detail=None) for each in rows] == expected
    assert [each.retries for each in rows] == [0, 0, 0, 0, 0, 1, 2, 2, 0]
