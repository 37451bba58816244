"""Usage 3: chain from what one state put out, instead of the final output."""

import asyncio
from typing import Any

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
            invoice: Any = result.output
            order: Any = (await engine.get_execution(str(result.source_execution_id))).output
            print(f"listed {invoice['amount']:.2f}, sold for {order['total']:.2f}")


if __name__ == "__main__":
    asyncio.run(main())
