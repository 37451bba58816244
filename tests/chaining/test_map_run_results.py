"""Results of shared Map Runs that are written to files: also of items that had no execution."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from statechain import Engine
from support.chaining.map_items import created, map_run_of, refusing

EngineFactory = Callable[..., Engine]


async def test_an_item_that_was_refused_is_written_with_its_cause(
    engine_factory: EngineFactory, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    writer = {"Resource": "arn:aws:states:::s3:putObject", "Parameters": {"Bucket": "data", "Prefix": "out"}}
    definition, value, limits = refusing(ResultWriter=writer)
    async with engine_factory(map_runs="shared", limits=limits, files=tmp_path) as engine:
        execution = await (await created(engine, definition)).execute(value)
        run = await map_run_of(engine, execution)
        (refused, _) = await engine.list_batch_results(run.id)
        (failed,) = json.loads((tmp_path / "data" / "out" / run.id / "FAILED_0.json").read_text())
    assert refused.execution_id is None
    assert refused.cause is not None
    assert (failed["Error"], failed["Cause"]) == (refused.error, refused.cause)
