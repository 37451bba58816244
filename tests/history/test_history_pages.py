"""A history is read in pages of any size: together they have the events of the whole, in little memory."""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import Any

import pytest

from support.engine_harness import EngineHarness, machine, task, types

pytestmark = pytest.mark.slow  # histories of many pages

FAILS_ONCE: dict[str, Any] = {"Retry": [{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 1}]}
EACH = machine(
    Price={"Type": "Pass", "Assign": {"price.$": "$"}, "Next": "Pay"},
    Pay=task("flaky", **FAILS_ONCE, Parameters={"price.$": "$price", "order.$": "$order"}),
)
BRANCHES = [machine(Left={"Type": "Pass", "Result": 1}), machine(Right=task("work", Next="Last"), Last=task("work"))]
DEFINITION = machine(
    Order={"Type": "Pass", "Assign": {"order.$": "$.order"}, "Next": "Note"},
    Note={"Type": "Pass", "Assign": {"note.$": "$.items"}, "Next": "Each"},
    Each={"Type": "Map", "ItemsPath": "$.items", "ItemProcessor": EACH, "ResultPath": "$.paid", "Next": "Both"},
    Both={"Type": "Parallel", "Branches": BRANCHES, "ResultPath": "$.both", "Next": "Refuse"},
    Refuse=task("refuse", Catch=[{"ErrorEquals": ["States.ALL"], "Next": "End"}]),
    End={"Type": "Succeed"},
)


@pytest.fixture
async def played(harness: EngineHarness) -> str:
    """An execution that has a Map, a Parallel, retries, variables and a caught error."""
    failed: set[str] = set()

    async def flaky(value: Any) -> Any:
        if str(value) not in failed:
            failed.add(str(value))
            raise ValueError("x" * 300)
        return value

    def refuse(_value: Any) -> Any:
        raise ValueError("no")

    harness.tasks.add("flaky", flaky)
    harness.tasks.add("refuse", refuse)
    harness.tasks.add("work", lambda value: value)
    ended = await harness.run(DEFINITION, {"order": 7, "items": ["a" * 3000, "b", "c", "d"]})
    assert ended.status == "SUCCEEDED"
    return ended.id


async def test_each_page_is_a_slice_of_the_whole(harness: EngineHarness, played: str) -> None:
    engine = harness.engine
    whole = await engine.get_execution_history(played)
    assert [event["id"] for event in whole] == list(range(1, len(whole) + 1))
    assert types(whole)[0] == "ExecutionStarted"
    assert types(whole)[-1] == "ExecutionSucceeded"
    for after in range(0, len(whole) + 2, 5):
        for limit in (7, 1000):
            page = await engine.get_execution_history(played, after=after, limit=limit)
            assert page == whole[after:][:limit]
            page = await engine.get_execution_history(played, after=after, limit=limit, reverse=True)
            assert page == (whole[: after - 1] if after else whole)[::-1][:limit]
    assert await engine.get_execution_history(played, reverse=True) == whole[::-1]
    assert await engine.get_execution_history(played, limit=0) == []


async def test_pages_lead_from_one_to_the_next(harness: EngineHarness, played: str) -> None:
    whole = await harness.engine.get_execution_history(played)
    for reverse in (False, True):
        found: list[dict[str, Any]] = []
        while page := await harness.engine.get_execution_history(
            played, after=found[-1]["id"] if found else 0, limit=5, reverse=reverse
        ):
            found += page
            if page[-1]["id"] == 1:
                break
        assert found == (whole[::-1] if reverse else whole)


async def test_events_are_iterated(harness: EngineHarness, played: str) -> None:
    whole = await harness.engine.get_execution_history(played)
    assert [event async for event in harness.engine.iterate_execution_history(played)] == whole
    backwards = harness.engine.iterate_execution_history(played, after=9, limit=4, reverse=True)
    assert [event["id"] async for event in backwards] == [8, 7, 6, 5]


async def test_a_page_that_cannot_be_is_refused(harness: EngineHarness, played: str) -> None:
    for wrong in ({"after": -1}, {"limit": -1}):
        with pytest.raises(ValueError, match="must not be negative"):
            await harness.engine.get_execution_history(played, **wrong)


async def test_iterating_a_history_holds_few_of_its_payloads(harness: EngineHarness) -> None:
    """The states put out 10 MB, and each output is shown twice: as an output, and as the next input."""
    size, turns = 100_000, 100
    harness.tasks.add("fill", lambda value: {"n": value["n"] + 1, "data": chr(97 + value["n"] % 26) * size})
    loop = machine(
        Fill=task("fill", Next="Again"),
        Again={
            "Type": "Choice",
            "Choices": [{"Variable": "$.n", "NumericLessThan": turns, "Next": "Fill"}],
            "Default": "End",
        },
        End={"Type": "Pass", "Result": "done"},
    )
    ended = await harness.run(loop, {"n": 0})
    for reverse in (False, True):
        tracemalloc.start()
        events = 0
        async for _ in harness.engine.iterate_execution_history(ended.id, reverse=reverse):
            events += 1
            await asyncio.sleep(0)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert events > 7 * turns
        assert peak < size * turns / 2
