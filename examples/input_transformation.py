"""Usage 4: map each source's output before it becomes an input."""

import asyncio
from datetime import UTC, datetime
from typing import Any

from orders import pipelines, place_orders, storage_url, tasks

from statechain import Engine, ExecutionFilter


def prioritize(order: dict[str, Any]) -> dict[str, Any]:
    """Add what the invoices want to know."""
    return {**order, "priority": "high", "processed_at": datetime.now(UTC).isoformat()}


async def main() -> None:
    """Invoice with priority."""
    async with Engine(storage_url(), tasks=tasks) as engine:
        orders, invoices = await pipelines(engine)
        await place_orders(orders)
        results = await invoices.execute_batch(
            ExecutionFilter(state_machine_id=orders.id, status="SUCCEEDED", limit=2),
            input_transformer=prioritize,
        )
        for result in results:
            order: Any = result.execution.input
            print(f"order {order['id']} -> {result.execution.output}")


if __name__ == "__main__":
    asyncio.run(main())
