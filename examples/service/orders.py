"""What the service runs: an order is reserved, a large one approved by a person, and then packed."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from statechain import TaskContext, TaskRegistry

tasks = TaskRegistry()

OUTBOX = Path(os.environ.get("OUTBOX") or "outbox.jsonl")
PACK_SECONDS = float(os.environ.get("PACK_SECONDS") or 1)

ORDERS = {
    "StartAt": "Reserve",
    "States": {
        "Reserve": {"Type": "Task", "Resource": "reserve", "ResultPath": "$.reservation", "Next": "IsLarge"},
        "IsLarge": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.total", "NumericGreaterThan": 1000, "Next": "Approve"}],
            "Default": "Pack",
        },
        "Approve": {
            "Type": "Task",
            "Resource": "ask_approval.waitForTaskToken",
            "Parameters": {"order.$": "$.id", "total.$": "$.total", "token.$": "$$.Task.Token"},
            "ResultPath": "$.approval",
            "TimeoutSeconds": 604800,
            "Next": "Pack",
        },
        "Pack": {"Type": "Task", "Resource": "pack", "End": True},
    },
}


@tasks.register
async def reserve(order: dict[str, Any], context: TaskContext) -> str:
    """Reserve the goods; the key is the same if this ever runs again, so that nothing is reserved twice."""
    send({"kind": "reserved", "order": order["id"]})
    return f"reservation {context.idempotency_key}"


@tasks.register
async def ask_approval(request: dict[str, Any]) -> None:
    """Send the token to the approver; the answer comes back by POST /approvals, to any process."""
    send({"kind": "please approve", **request})


@tasks.register
async def pack(order: dict[str, Any]) -> dict[str, Any]:
    """Pack, which takes a while."""
    await asyncio.sleep(PACK_SECONDS)
    return {"id": order["id"], "packed": True, "approval": order.get("approval")}


def send(message: dict[str, Any]) -> None:
    """Send a message: in this example, append it to a file."""
    with OUTBOX.open("a") as outbox:
        outbox.write(json.dumps(message) + "\n")
