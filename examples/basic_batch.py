"""Usage 1: chain an invoice from every order that succeeded."""

import asyncio

from orders import pipelines, place_orders, storage_url, tasks

from statechain import BatchExecutionOptions, Engine, ExecutionFilter


async def main() -> None:
    """Invoice the orders."""
    async with Engine(storage_url(), tasks=tasks) as engine:
        orders, invoices = await pipelines(engine)
        await place_orders(orders)
        results = await invoices.execute_batch(
            ExecutionFilter(state_machine_id=orders.id, status="SUCCEEDED", limit=50, unchained_to=invoices),
            options=BatchExecutionOptions(name_prefix="batch-process", concurrent_batches=3),
        )
        for result in results:
            print(result.index, result.execution.output)


if __name__ == "__main__":
    asyncio.run(main())
