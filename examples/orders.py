"""What the examples share: an order pipeline and an invoicing pipeline, with handlers that do visible work."""

import asyncio
import logging
import os
from datetime import UTC, datetime
from typing import Any

from statechain import Engine, StateMachine, TaskRegistry

tasks = TaskRegistry()

# Some handlers of the examples fail on purpose; the library would log each failure with its traceback.
logging.getLogger("statechain.handlers").setLevel(logging.ERROR)

PRICES = {"lamp": 24.5, "desk": 180.0, "chair": 75.0}

ORDERS = {
    "StartAt": "PriceOrder",
    "States": {
        "PriceOrder": {"Type": "Task", "Resource": "PriceOrder", "Next": "IsLarge"},
        "IsLarge": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.total", "NumericGreaterThan": 200, "Next": "GrantDiscount"}],
            "Default": "Confirm",
        },
        "GrantDiscount": {"Type": "Task", "Resource": "GrantDiscount", "Next": "Confirm"},
        "Confirm": {
            "Type": "Pass",
            "Parameters": {"id.$": "$.id", "customer.$": "$.customer", "total.$": "$.total"},
            "End": True,
        },
    },
}

INVOICES = {
    "StartAt": "SendInvoice",
    "States": {"SendInvoice": {"Type": "Task", "Resource": "SendInvoice", "End": True}},
}


@tasks.register("PriceOrder")
async def price_order(order: dict[str, Any]) -> dict[str, Any]:
    """Add up the order's lines."""
    return {**order, "total": sum(PRICES[item] * count for item, count in order["lines"].items())}


@tasks.register("GrantDiscount")
async def grant_discount(order: dict[str, Any]) -> dict[str, Any]:
    """Take a tenth off a large order."""
    return {**order, "total": round(order["total"] * 0.9, 2)}


@tasks.register("SendInvoice")
async def send_invoice(order: dict[str, Any]) -> dict[str, Any]:
    """Refuse an order without a total; number an invoice for any other, and send it, which takes a moment."""
    if order["total"] <= 0:
        raise ValueError(f"order {order['id']} has nothing to invoice")
    await asyncio.sleep(0.5)
    return {"invoice": f"INV-{order['id']:04}", "amount": order["total"], "priority": order.get("priority", "normal")}


def storage_url() -> str:
    """Return what DATABASE_URL names, or the embedded default."""
    return os.environ.get("DATABASE_URL") or "sqlite:///orders.db"


async def pipelines(engine: Engine) -> tuple[StateMachine, StateMachine]:
    """Return the two state machines."""
    return (
        await engine.create_state_machine("orders", ORDERS),
        await engine.create_state_machine("invoices", INVOICES),
    )


async def place_orders(orders: StateMachine, count: int = 5) -> datetime:
    """Run some orders to their end; return when the first began."""
    began = datetime.now(UTC)
    for number in range(1, count + 1):
        lines = {"lamp": number, "chair": number % 2, "desk": number // 4}
        await orders.execute({"id": number, "customer": f"customer-{number}", "lines": lines})
    return began
