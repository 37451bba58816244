"""Usage 2: chain from the orders of the last hour."""

import asyncio
from datetime import UTC, datetime, timedelta

from orders import pipelines, place_orders, storage_url, tasks

from statechain import Engine, ExecutionFilter


async def main() -> None:
    """Invoice what was ordered within the hour."""
    async with Engine(storage_url(), tasks=tasks) as engine:
        orders, invoices = await pipelines(engine)
        await place_orders(orders)
        last_hour = ExecutionFilter(
            state_machine_id=orders.id,
            status="SUCCEEDED",
            start_after=datetime.now(UTC) - timedelta(hours=1),
            limit=100,
        )
        results = await invoices.execute_batch(last_hour)
        print(f"{len(results)} invoices for the last hour's orders")


if __name__ == "__main__":
    asyncio.run(main())
