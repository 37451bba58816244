"""Usage 6: stop a batch at its first failure; what runs beside it is cancelled and recorded ABORTED."""

import asyncio

from orders import pipelines, place_orders, storage_url, tasks

from statechain import BatchExecutionOptions, BatchStopped, Engine, ExecutionFailed, ExecutionFilter


async def main() -> None:
    """Invoice the orders until one fails."""
    async with Engine(storage_url(), tasks=tasks) as engine:
        orders, invoices = await pipelines(engine)
        await place_orders(orders, 2)
        await orders.execute({"id": 99, "customer": "nobody", "lines": {}})
        await place_orders(orders, 2)
        try:
            await invoices.execute_batch(
                ExecutionFilter(state_machine_id=orders.id, status="SUCCEEDED", limit=5),
                options=BatchExecutionOptions(concurrent_batches=3, stop_on_error=True),
            )
        except BatchStopped as stop:
            first = stop.__cause__
            if isinstance(first, ExecutionFailed):
                print(f"stopped: {first.error}, {first.cause}")
            for result in stop.results:
                print(f"[{result.index}] {result.execution.status}")


if __name__ == "__main__":
    asyncio.run(main())
