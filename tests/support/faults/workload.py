"""The machine that the harnesses torture, its handlers, and what a calm run of it comes to.

Every kind of durable step is in it: plain Tasks, a Wait, a Parallel, a Map, and a Task whose first attempt fails.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from statechain import ExecutionFilter, TaskError, TaskRegistry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from statechain import Engine, StateMachine, TaskContext
    from support.faults.ledger import Ledger

__all__ = ["EXITS", "SOURCES", "TARGETS", "WIDTH", "expected", "make_sources", "make_tasks", "select_sources"]

SOURCES = {"StartAt": "Begin", "States": {"Begin": {"Type": "Pass", "End": True}}}


def _task(resource: str, **fields: Any) -> dict[str, Any]:
    return {"Type": "Task", "Resource": resource, **({} if "Next" in fields else {"End": True}), **fields}


_END = {"Type": "Pass", "End": True}

TARGETS: dict[str, Any] = {
    "StartAt": "Reserve",
    "States": {
        "Reserve": _task("Reserve", Next="Rest"),
        "Rest": {"Type": "Wait", "TimestampPath": "$.until", "Next": "Sides"},
        "Sides": {
            "Type": "Parallel",
            "Branches": [
                {"StartAt": "Pick", "States": {"Pick": _task("Pick", Next="Note"), "Note": _END}},
                {"StartAt": "Label", "States": {"Label": _task("Label")}},
            ],
            "ResultPath": "$.sides",
            "Next": "Each",
        },
        "Each": {
            "Type": "Map",
            "ItemsPath": "$.items",
            "ItemProcessor": {"StartAt": "Pack", "States": {"Pack": _task("Pack")}},
            "ResultPath": "$.packed",
            "Next": "Charge",
        },
        "Charge": _task(
            "Charge",
            Retry=[{"ErrorEquals": ["Declined"], "IntervalSeconds": 1, "MaxAttempts": 2, "JitterStrategy": "FULL"}],
            ResultPath="$.charged",
            Next="Route",
        ),
        "Route": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.n", "NumericGreaterThanEquals": 0, "Next": "Book"}],
            "Default": "Lost",
        },
        "Book": _task("Book", ResultPath=None, Next="Print"),
        "Print": _task("Print", ResultPath=None, Next="Ship"),
        "Ship": _task("Ship"),
        "Lost": {"Type": "Fail"},
    },
}

AT_ONCE = {"Book", "Print", "Ship"}
"""The handlers that take no time: their executions spend it on writing, which is where a kill is to hit them."""

ITEMS = 3
WIDTH = ITEMS
"""The most handlers of one execution that run at once."""

EXITS = Counter(
    {
        ("", "Reserve"): 1,
        ("", "Rest"): 1,
        ("Sides[0]", "Pick"): 1,
        ("Sides[0]", "Note"): 1,
        ("Sides[1]", "Label"): 1,
        ("", "Sides"): 1,
        **{(f"Each[{index}]", "Pack"): 1 for index in range(ITEMS)},
        ("", "Each"): 1,
        ("", "Charge"): 1,
        ("", "Route"): 1,
        ("", "Book"): 1,
        ("", "Print"): 1,
        ("", "Ship"): 1,
    }
)
"""How often each line of control leaves each state, no matter what happens to its workers."""


def expected(number: int) -> dict[str, Any]:
    """Return the output of the target that was chained from the source with a number."""
    packed = [number * 10 + index for index in range(ITEMS)]
    return {"n": number, "sides": [number + 1, number + 2], "packed": packed, "charged": 2}


def make_tasks(ledger: Ledger, *, seconds: float = 0.0) -> TaskRegistry:
    """Return the handlers: each writes its line, takes its time, and answers by its input alone."""
    tasks = TaskRegistry()
    answers: dict[str, Callable[[Any, TaskContext], Any]] = {
        "Reserve": _reserve,
        "Pick": lambda value, _: value["n"] + 1,
        "Label": lambda value, _: value["n"] + 2,
        "Pack": lambda value, _: value,
        "Charge": _charge,
        "Book": lambda value, _: value["n"],
        "Print": lambda value, _: value["n"],
        "Ship": lambda value, _: {name: value[name] for name in ("n", "sides", "packed", "charged")},
    }

    def add(name: str) -> None:
        async def handle(value: Any, context: TaskContext) -> Any:
            ledger.call(context)
            await asyncio.sleep(0 if name in AT_ONCE else seconds)
            return answers[name](value, context)

        tasks.add(name, handle)

    for name in answers:
        add(name)
    return tasks


def _reserve(value: Mapping[str, Any], _context: TaskContext) -> dict[str, Any]:
    number = value["n"]
    until = datetime.now(UTC) + timedelta(milliseconds=30)
    items = [number * 10 + index for index in range(ITEMS)]
    return {"n": number, "items": items, "until": until.strftime("%Y-%m-%dT%H:%M:%S.%fZ")}


def _charge(_value: object, context: TaskContext) -> int:
    if context.attempt == 1:
        raise TaskError("Declined", cause="the first attempt always is")
    return context.attempt


async def make_sources(engine: Engine, count: int) -> StateMachine:
    """Finish this many sources, numbered from 0."""
    sources = await engine.create_state_machine("sources", SOURCES)
    await sources.execute_bulk([{"n": number} for number in range(count)])
    return sources


def select_sources(sources: StateMachine) -> ExecutionFilter:
    """Return the filter that means all sources that succeeded."""
    return ExecutionFilter(state_machine_id=sources.id, status="SUCCEEDED", order="oldest_first")
