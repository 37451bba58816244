"""A Map Run on the console: a batch that leads to its execution, and is resumed with that alone."""

from __future__ import annotations

from statechain import Engine
from statechain.console import ADMINISTRATOR
from support.console.office import as_user, client

EACH = {
    "StartAt": "a/b",
    "States": {
        "a/b": {
            "Type": "Map",
            "ItemProcessor": {
                "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
                "StartAt": "Refuse",
                "States": {"Refuse": {"Type": "Fail", "Error": "Odd"}},
            },
            "End": True,
        }
    },
}


async def test_a_map_run_and_its_execution_lead_to_each_other() -> None:
    async with Engine("memory://", map_runs="shared") as engine:
        machine = await engine.create_state_machine("each", EACH)
        parent = await (await machine.start_execution([1, 2])).wait()
        (run,) = await engine.list_batches(parent_execution_id=parent.id)
        async with client(engine, as_user(*ADMINISTRATOR)) as web:
            of_parent = (await web.get(f"/executions/{parent.id}")).text
            assert f'href="/batches/{run.id}"' in of_parent
            shown = (await web.get(f"/batches/{run.id}")).text
            assert f'<dt>Map Run of</dt><dd><a href="/executions/{parent.id}">' in shown
            assert "Redrive what failed" not in shown
            assert "Odd" in shown
            (item, *_) = await engine.list_batch_results(run.id)
            assert f'href="/executions/{item.execution_id}"' in shown
            of_item = (await web.get(f"/executions/{item.execution_id}")).text
            assert "each/a/b" in of_item
            assert "Map Runs" not in of_item
