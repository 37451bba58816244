"""Redrives of executions with shared Map Runs: each reaches a Map Run once, whichever worker continues it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from statechain import Engine
from statechain.storage.repository import Advance
from support.chaining.map_items import Items, created, distributed
from support.engine_harness import EngineHarness


async def test_a_map_run_that_is_over_is_not_redriven_again_by_the_worker_that_takes_over(
    harness: EngineHarness,
) -> None:
    items = Items(0, 1)
    harness.tasks.add("Item", items.item)
    await harness.close()
    await harness.open(map_runs="shared")
    handle = await harness.start(distributed(ToleratedFailureCount=1), [0, 1])
    assert (await harness.ended(handle.id)).status == "FAILED"
    items.failing.remove(1)
    items.inputs.clear()
    held, gate = harness.hold(
        lambda write: isinstance(write, Advance) and write.execution_id == handle.id and write.end
    )
    await harness.engine.redrive_execution(handle.id)
    await held.wait()
    assert sorted(items.inputs) == [0, 1]
    harness.crash_at_commit(1, keeps_last=False)
    gate.set()
    await harness.reopen(map_runs="shared")
    ended = await harness.ended(handle.id)
    assert ended.output == [2]
    assert sorted(items.inputs) == [0, 1], "the one that failed again is tolerated"


async def test_the_items_of_a_map_run_that_is_stored_are_not_read_again(
    engine_factory: Callable[..., Engine], tmp_path: Path
) -> None:
    file = tmp_path / "data" / "items.json"
    file.parent.mkdir()
    file.write_text("[1, 2]")
    reader = {
        "Resource": "arn:aws:states:::s3:getObject",
        "ReaderConfig": {"InputType": "JSON"},
        "Parameters": {"Bucket": "data", "Key": "items.json"},
    }
    one, two = Items(2), Items()
    async with engine_factory(tasks=one.tasks, map_runs="shared", files=tmp_path) as first:
        machine = await created(first, distributed(MaxConcurrency=1, ItemReader=reader))
        handle = await machine.start_execution(None)
        assert (await handle.wait()).status == "FAILED"
    assert one.inputs == [1, 2]
    file.unlink()
    async with engine_factory(tasks=two.tasks, map_runs="shared", files=tmp_path) as second:
        assert (await (await second.redrive_execution(handle.id)).wait()).output == [2, 4]
    assert two.inputs == [2]
