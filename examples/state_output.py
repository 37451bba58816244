"""Usage 3: chain from what one state put out, instead of the final output."""

import asyncio

from orders import pipelines, place_orders, storage_url, tasks

from statechain import BatchExecutionOptions, Engine, ExecutionFilter


async def main() -> None:
    """Invoice the price before any discount."""
    async with Engine(storage_url(), tasks=tasks) as engine:
        orders, invoices = await pipelines(engine)
        await place_orders(orders)
        results = await invoices.execute_batch(
            ExecutionFilter(state_machine_id=orders.id, status="SUCCEEDED", limit=5),
            "PriceOrder",
            options=BatchExecutionOptions(concurrent_batches=5),
        )
        for result in results:
            source = await engine.get_execution(result.source_execution_id)
            print(f"listed {result.execution.output['amount']:.2f}, sold for {source.output['total']:.2f}")


if __name__ == "__main__":
    asyncio.run(main())
