"""Use case, a data pipeline: clean each batch of readings, then summarise what was cleaned."""

import asyncio
from typing import Any

from orders import storage_url

from statechain import BatchExecutionOptions, Engine, ExecutionFilter, TaskRegistry

tasks = TaskRegistry()

CLEAN = {
    "QueryLanguage": "JSONata",
    "StartAt": "Convert",
    "States": {
        "Convert": {
            "Type": "Map",
            "Items": "{% $states.input.readings[celsius > -90] %}",
            "MaxConcurrency": 10,
            "ItemProcessor": {
                "StartAt": "ToKelvin",
                "States": {"ToKelvin": {"Type": "Task", "Resource": "to_kelvin", "End": True}},
            },
            "Output": {"station": "{% $states.input.station %}", "kelvin": "{% $states.result %}"},
            "End": True,
        }
    },
}
SUMMARISE = {"StartAt": "Mean", "States": {"Mean": {"Type": "Task", "Resource": "mean", "End": True}}}


@tasks.register
async def to_kelvin(reading: dict[str, Any]) -> float:
    """Convert one reading."""
    return round(float(reading["celsius"]) + 273.15, 2)


@tasks.register
async def mean(cleaned: dict[str, Any]) -> dict[str, Any]:
    """Summarise one station."""
    return {"station": cleaned["station"], "mean": round(sum(cleaned["kelvin"]) / len(cleaned["kelvin"]), 2)}


async def main() -> None:
    """Run both steps; the second begins from what the first has stored."""
    batches: list[dict[str, Any]] = [
        {"station": f"S{n}", "readings": [{"celsius": t} for t in (n, n + 2, -999)]} for n in range(1, 4)
    ]
    async with Engine(storage_url(), tasks=tasks) as engine:
        clean = await engine.create_state_machine("clean", CLEAN)
        summarise = await engine.create_state_machine("summarise", SUMMARISE)
        await clean.execute_bulk(batches, options=BatchExecutionOptions(concurrent_batches=3))
        cleaned = ExecutionFilter(
            state_machine_id=clean.id, status="SUCCEEDED", unchained_to=summarise, order="oldest_first"
        )
        async with summarise.stream_batch(cleaned, options=BatchExecutionOptions(concurrent_batches=3)) as summaries:
            async for summary in summaries:
                print(summary.execution.output)


if __name__ == "__main__":
    asyncio.run(main())
