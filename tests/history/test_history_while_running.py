"""A history that is read while its execution runs: what it shows is what it will show at the end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from statechain import TaskContext, TaskError
from support.engine_harness import EngineHarness, machine, task
from support.recorded.service_model import violations

NAP = {"Type": "Wait", "Seconds": 5}
RETRY = [{"ErrorEquals": ["Once"], "IntervalSeconds": 1}]
LOOK = task("Look", Retry=RETRY)


def fork(*branches: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a Parallel state."""
    return {"Type": "Parallel", "Branches": list(branches), **more}


def each(processor: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a Map over three items."""
    return {"Type": "Map", "ItemsPath": "$.items", "ItemProcessor": processor, **more}


DEFINITIONS = {
    "a chain": machine(A={"Type": "Pass", "Next": "B"}, B={**LOOK, "Next": "C"}, C={**NAP, "Next": "D"}, D=LOOK),
    "a Parallel": machine(
        P=fork(
            machine(A={**LOOK, "Next": "A2"}, A2=LOOK),
            machine(B={**NAP, "Next": "B2"}, B2={**LOOK, "Next": "B3"}, B3={"Type": "Pass"}),
            machine(C=task("Slow")),
        )
    ),
    "a Map": machine(M=each(machine(A={**LOOK, "Next": "B"}, B={**NAP, "Next": "C"}, C=LOOK), MaxConcurrency=2)),
    "a Parallel in a Map": machine(M=each(machine(P=fork(machine(A=LOOK), machine(B={**NAP, "Next": "C"}, C=LOOK))))),
}


@pytest.mark.parametrize("definition", DEFINITIONS.values(), ids=DEFINITIONS)
async def test_an_event_is_the_same_whenever_it_is_read(harness: EngineHarness, definition: dict[str, Any]) -> None:
    seen: list[dict[str, Any]] = []

    async def look(value: Any, context: TaskContext) -> Any:
        seen.extend(await harness.engine.get_execution_history(context.execution_id))
        if context.attempt == 1:
            raise TaskError("Once")
        return value

    async def slow(value: Any) -> Any:
        await asyncio.sleep(0.05)
        return value

    harness.tasks.add("Look", look)
    harness.tasks.add("Slow", slow)
    ended = await harness.run(definition, {"items": [1, 2, 3]})
    assert ended.status == "SUCCEEDED"
    history = await harness.history(ended)
    assert len(seen) > 10
    assert [event for event in seen if event not in history] == []
    assert [found for event in seen for found in violations(event)] == []
    assert all(event["previousEventId"] < event["id"] for event in seen)


async def test_pages_of_a_history_go_by_the_ids_of_its_events(quick: EngineHarness) -> None:
    async def look(_: Any, context: TaskContext) -> list[Any]:
        engine, found = quick.engine, context.execution_id
        whole = await engine.get_execution_history(found)
        ids = [event["id"] for event in whole]
        pages = []
        for id_ in range(ids[-1] + 2):
            after = await engine.get_execution_history(found, after=id_, limit=2)
            before = await engine.get_execution_history(found, after=id_, limit=2, reverse=True) if id_ else []
            pages.append(([event["id"] for event in after], [event["id"] for event in before]))
        return [ids, pages]

    async def wait_for_it(value: Any) -> Any:
        await asyncio.sleep(0.05)
        return value

    quick.tasks.add("Look", look)
    quick.tasks.add("Slow", wait_for_it)
    branches = [machine(A=task("Slow")), machine(B={**NAP, "Next": "C"}, C=task("Look"))]
    _, (ids, pages) = (await quick.run(machine(P=fork(*branches)))).output
    for id_, (after, before) in enumerate(pages):
        assert after == [each for each in ids if each > id_][:2]
        if id_:
            assert before == [each for each in ids if each < id_][::-1][:2]
