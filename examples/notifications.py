"""Use case, notifications: inform customers about the ends of their orders, each once, however often this runs."""

import asyncio
from typing import Any

from orders import pipelines, place_orders, storage_url, tasks

from statechain import BatchExecutionOptions, Engine, ExecutionFilter

NOTIFY = {"StartAt": "Send", "States": {"Send": {"Type": "Task", "Resource": "notify", "End": True}}}
ALERT = {"StartAt": "Send", "States": {"Send": {"Type": "Task", "Resource": "alert", "End": True}}}


@tasks.register
async def notify(order: dict[str, Any]) -> str:
    """Send a customer the total."""
    return f"to {order['customer']}: your order comes to {order['total']:.2f}"


@tasks.register
async def alert(failure: dict[str, Any]) -> str:
    """Alert the operator about an order that failed."""
    return f"to the operator: {failure['name']} failed with {failure['error']}"


async def main() -> None:
    """Notify of what succeeded in a batch; alert of what failed, which has no output to chain from, in bulk."""
    async with Engine(storage_url(), tasks=tasks) as engine:
        orders, _ = await pipelines(engine)
        notices = await engine.create_state_machine("notices", NOTIFY)
        alerts = await engine.create_state_machine("alerts", ALERT)
        await place_orders(orders, 2)
        await (await orders.start_execution({"id": 3, "lines": {"sofa": 1}}, name="order-of-a-sofa")).wait()

        untold = ExecutionFilter(state_machine_id=orders.id, status="SUCCEEDED", unchained_to=notices)
        for result in await notices.execute_batch(untold, options=BatchExecutionOptions(concurrent_batches=10)):
            print(result.execution.output)

        failed = await engine.list_executions(ExecutionFilter(state_machine_id=orders.id, status="FAILED"))
        for order in failed:  # the name makes it one alert for each failure
            sent = await alerts.execute({"name": order.name, "error": order.error}, name=f"alert-{order.id}")
            print(sent.output)


if __name__ == "__main__":
    asyncio.run(main())
