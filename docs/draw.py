"""Draws the pictures of the docs from an execution that runs here: `python docs/draw.py` writes docs/pictures."""

import asyncio
from datetime import timedelta
from pathlib import Path

from statechain import Engine, TaskContext, TaskError, TaskRegistry
from statechain.testing import VirtualClock

PICTURES = Path(__file__).parent / "pictures"
SECONDS = {"Check": 0.4, "Reserve": 0.9, "Charge": 1.2, "Notify": 0.3}

ORDER = {
    "StartAt": "Check",
    "States": {
        "Check": {"Type": "Task", "Resource": "Check", "Next": "IsInStock"},
        "IsInStock": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.stock", "NumericGreaterThan": 0, "Next": "Fulfil"}],
            "Default": "BackOrder",
        },
        "Fulfil": {
            "Type": "Parallel",
            "Branches": [
                {"StartAt": "Reserve", "States": {"Reserve": {"Type": "Task", "Resource": "Reserve", "End": True}}},
                {
                    "StartAt": "Charge",
                    "States": {
                        "Charge": {
                            "Type": "Task",
                            "Resource": "Charge",
                            "Retry": [{"ErrorEquals": ["Card.Busy"], "IntervalSeconds": 1, "MaxAttempts": 2}],
                            "End": True,
                        }
                    },
                },
            ],
            "Next": "Notify",
        },
        "Notify": {"Type": "Task", "Resource": "Notify", "End": True},
        "BackOrder": {"Type": "Fail", "Error": "Order.OutOfStock"},
    },
}


def handlers(clock: VirtualClock) -> TaskRegistry:
    """Return handlers that take their time on the virtual clock; the card is busy at the first attempt."""
    tasks = TaskRegistry()

    def add(name: str, seconds: float) -> None:
        async def handler(order: object, context: TaskContext) -> object:
            await clock.sleep_until(clock.now() + timedelta(seconds=seconds))
            if name == "Charge" and context.attempt == 1:
                raise TaskError("Card.Busy")
            return order

        tasks.add(name, handler)

    for name, seconds in SECONDS.items():
        add(name, seconds)
    return tasks


async def main() -> None:
    """Run the order, and draw it."""
    clock = VirtualClock()
    async with Engine("memory://", tasks=handlers(clock), clock=clock) as engine:
        machine = await engine.create_state_machine("order", ORDER)
        execution = await machine.execute({"stock": 3}, name="order-17")
        for name, picture in (
            ("definition.svg", machine.to_svg()),
            ("execution.svg", await engine.draw_execution(execution.id, "svg")),
            ("timeline.svg", await engine.draw_execution(execution.id, "timeline")),
        ):
            (PICTURES / name).write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(main())
