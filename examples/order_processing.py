"""Use case, orders: validate, enrich and fulfil them; retry what is flaky, and route what cannot be fulfilled."""

import asyncio
from typing import Any

from orders import storage_url

from statechain import Engine, TaskContext, TaskError, TaskRegistry

tasks = TaskRegistry()

STOCK = {"lamp": 5, "desk": 0}
PRICES = {"lamp": 24.5, "desk": 180.0}
FULFIL = {
    "StartAt": "Validate",
    "States": {
        "Validate": {"Type": "Task", "Resource": "validate", "Next": "Enrich"},
        "Enrich": {
            "Type": "Parallel",
            "Branches": [
                {"StartAt": "Price", "States": {"Price": {"Type": "Task", "Resource": "price", "End": True}}},
                {"StartAt": "Address", "States": {"Address": {"Type": "Task", "Resource": "address", "End": True}}},
            ],
            "ResultSelector": {"price.$": "$[0]", "address.$": "$[1]"},
            "ResultPath": "$.facts",
            "Next": "Ship",
        },
        "Ship": {
            "Type": "Task",
            "Resource": "ship",
            "Retry": [{"ErrorEquals": ["Carrier.Busy"], "IntervalSeconds": 1, "MaxAttempts": 3, "BackoffRate": 1}],
            "Catch": [{"ErrorEquals": ["Stock.Empty"], "ResultPath": "$.problem", "Next": "BackOrder"}],
            "End": True,
        },
        "BackOrder": {"Type": "Pass", "Result": "on back order", "ResultPath": "$.status", "End": True},
    },
}


@tasks.register
async def validate(order: dict[str, Any]) -> dict[str, Any]:
    """Refuse an order for nothing."""
    if order["count"] < 1:
        raise TaskError("Order.Empty", cause=f"order {order['id']} is for nothing")
    return order


@tasks.register
async def price(order: dict[str, Any]) -> float:
    """Look up the price."""
    return PRICES[order["item"]] * int(order["count"])


@tasks.register
async def address(order: dict[str, Any]) -> str:
    """Look up where the customer lives."""
    return f"{order['id']} Main Street"


@tasks.register
async def ship(order: dict[str, Any], context: TaskContext) -> dict[str, Any]:
    """Ship it; the carrier is busy at first. The idempotency key is the same for each attempt of this visit."""
    if not STOCK[order["item"]]:
        raise TaskError("Stock.Empty", cause=f"no {order['item']} in stock")
    if context.attempt == 1:
        raise TaskError("Carrier.Busy", cause="call again")
    return {**order, "status": "shipped", "parcel": context.idempotency_key[-8:]}


async def main() -> None:
    """Process two orders."""
    async with Engine(storage_url(), tasks=tasks) as engine:
        fulfil = await engine.create_state_machine("fulfil", FULFIL)
        for number, item in enumerate(["lamp", "desk"], 1):
            done = await fulfil.execute({"id": number, "item": item, "count": 1})
            order: Any = done.output
            print(number, order["status"], order["facts"])


if __name__ == "__main__":
    asyncio.run(main())
