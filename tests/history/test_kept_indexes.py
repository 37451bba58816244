"""The index of a history that has ended is read once; of one that was redriven, anew."""

from __future__ import annotations

from typing import Any

import pytest

from statechain.history.kept import KeptIndexes
from support.engine_harness import EngineHarness, machine, task


async def test_a_long_history_that_has_ended_is_read_once_until_it_is_redriven(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = {"work"}

    def work(value: Any) -> Any:
        if broken:
            raise ValueError("broken")
        return value

    harness.tasks.add("work", work)
    each = {"Type": "Map", "ItemProcessor": machine(Pass={"Type": "Pass"}), "Next": "Work"}
    failed = await harness.run(machine(Each=each, Work=task("work")), [0] * 250)
    asked: list[int] = []
    read = harness.engine.repository.visit_outlines

    async def outlines(execution_id: str, *, after: int = 0, page: int) -> Any:
        asked.append(after)
        return await read(execution_id, after=after, page=page)

    monkeypatch.setattr(harness.engine.repository, "visit_outlines", outlines)
    first = await harness.engine.page_execution_history(failed.id, limit=2_000, failures=5)
    again = await harness.engine.page_execution_history(failed.id, limit=2_000, failures=5)
    assert len(asked) == 1
    assert first.total >= 1_000
    assert (again.events, again.failures, again.total) == (first.events, first.failures, first.total)
    broken.clear()
    ended = await (await harness.engine.redrive_execution(failed.id)).wait()
    assert ended.status == "SUCCEEDED"
    asked.clear()  # a redrive reads the visits, too
    redriven = await harness.engine.page_execution_history(failed.id, limit=2_000, failures=5)
    assert len(asked) == 1
    assert redriven.events[: len(first.events)] == first.events
    assert redriven.events[-1]["type"] == "ExecutionSucceeded"
    assert redriven.failures == first.failures


def test_the_indexes_that_were_used_last_are_kept_as_far_as_there_is_room() -> None:
    class Index:
        def __init__(self, size: int) -> None:
            self.ids = range(size)

    class Execution:
        redrive_count = 0

        def __init__(self, id_: str, end_time: object = 1) -> None:
            self.id, self.end_time = id_, end_time

    indexes: Any = KeptIndexes(most_events=5_000)
    short, running, first, second, third = (Execution(each) for each in "srabc")
    running.end_time = None
    for execution, size in ((short, 10), (running, 2_000), (first, 2_000), (second, 2_000)):
        indexes.keep(execution, Index(size))
    assert indexes.find(short) is indexes.find(running) is None
    assert indexes.find(first) is not None
    indexes.keep(third, Index(2_000))
    assert indexes.find(second) is None
    assert indexes.find(first) is not None
    assert indexes.find(third) is not None
