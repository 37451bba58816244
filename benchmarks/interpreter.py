"""Transitions a second in memory, one execution at a time: Tasks, a Pass and Choice loop, JSONPath, JSONata.

EXPRESS executions journal no visit, so that this measures the interpreter; `--type STANDARD` measures it with the
journal (in memory) behind it.
"""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

from jsonata.jsonata import Jsonata
from measuring.harness import run, storage_parser

from statechain import Engine, Limits, TaskRegistry

tasks = TaskRegistry()
LENGTH = 500
"""How many states the machines have in a row, unless `--states` says otherwise."""


@tasks.register("step")
async def step(value: Any) -> Any:
    """Do nothing."""
    return value


def row(state: Callable[[int], dict[str, Any]], length: int, **more: Any) -> dict[str, Any]:
    """Return a definition of many states in a row."""
    states = {f"S{place}": {**state(place), "Next": f"S{place + 1}"} for place in range(length)}
    return {**more, "StartAt": "S0", "States": {**states, f"S{length}": {"Type": "Succeed"}}}


def task(_place: int) -> dict[str, Any]:
    """Return a Task that does nothing."""
    return {"Type": "Task", "Resource": "step"}


def choice(place: int) -> dict[str, Any]:
    """Return a Pass, or a Choice that compares by JSONPath."""
    if place % 2:
        return {"Type": "Pass"}
    rule = {"Variable": "$.order.total", "NumericGreaterThan": 10, "Next": f"S{place + 1}"}
    return {"Type": "Choice", "Choices": [rule], "Default": f"S{place + 1}"}


def jsonpath(_place: int) -> dict[str, Any]:
    """Return a Pass that builds a payload by paths and intrinsic functions."""
    made = {
        "id.$": "$.order.id",
        "label.$": "States.Format('{}-{}', $.order.id, $.order.customer)",
        "first.$": "$.order.lines[0]",
        "total.$": "States.MathAdd($.order.id, 1)",
    }
    return {"Type": "Pass", "Parameters": made, "ResultPath": "$.made"}


EXPRESSIONS = {
    "order": "$states.input.order",
    "total": "$sum($states.input.order.lines) * 2",
    "label": "$string($states.input.order.id) & '-' & $uppercase($states.input.order.customer)",
}


def jsonata(_place: int) -> dict[str, Any]:
    """Return a Pass that builds a payload by JSONata."""
    return {"Type": "Pass", "Output": {name: f"{{% {text} %}}" for name, text in EXPRESSIONS.items()}}


def by_library(times: int) -> float:
    """Evaluate what a JSONata state does by its library alone, so often; return the seconds."""
    expressions = [Jsonata(text) for text in EXPRESSIONS.values()]
    for expression in expressions:
        expression.assign("states", {"input": ORDER})
    began = time.perf_counter()
    for _ in range(times):
        for expression in expressions:
            expression.evaluate(None)
    return time.perf_counter() - began


def without_next(definition: dict[str, Any]) -> dict[str, Any]:
    """Remove what a Choice does not have."""
    for state in definition["States"].values():
        if state["Type"] == "Choice":
            del state["Next"]
    return definition


ORDER = {"order": {"id": 7, "customer": "ada", "lines": [1, 2, 3], "total": 12}}
KINDS: dict[str, tuple[Callable[[int], dict[str, Any]], Any]] = {
    "Task": (task, {"id": 7}),
    "Task, 200 bytes": (task, {**ORDER, "note": "n" * 140}),
    "Pass and Choice": (choice, ORDER),
    "JSONPath": (jsonpath, ORDER),
    "JSONata": (jsonata, ORDER),
}


def machine_of(kind: str, length: int) -> tuple[dict[str, Any], Any]:
    """Return the definition of a kind, and what it is given."""
    state, value = KINDS[kind]
    language = {"QueryLanguage": "JSONata"} if kind == "JSONata" else {}
    return without_next(row(state, length, **language)), value


async def measure(_url: str) -> list[dict[str, Any]]:
    """Measure every machine."""
    rows = []
    limits = Limits(history_events=10_000_000)
    async with Engine("memory://", tasks=tasks, limits=limits) as engine:
        for name in options.only:
            definition, value = machine_of(name, options.states)
            machine = await engine.create_state_machine(name, definition, type=options.type)
            await machine.execute(value)
            rates, used = [], []
            transitions = options.executions * options.states
            for _ in range(options.rounds):
                began, processor = time.perf_counter(), time.process_time()
                for _ in range(options.executions):
                    await machine.execute(value)
                rates.append(transitions / (time.perf_counter() - began))
                used.append(1e6 * (time.process_time() - processor) / transitions)
            figures = {"states": name, "transitions/s": median(rates), "us each": 1e6 / median(rates)}
            rows.append({**figures, "processor us each": median(used)})
    if "JSONata" in options.only:
        times = options.executions * options.states // 5
        rates = [times / by_library(times) for _ in range(options.rounds)]
        rows.append({"states": "JSONata, its library", "transitions/s": median(rates), "us each": 1e6 / median(rates)})
    return rows


if __name__ == "__main__":
    arguments = storage_parser(__doc__)
    arguments.add_argument("--executions", type=int, default=20)
    arguments.add_argument("--only", choices=list(KINDS), nargs="+", default=list(KINDS))
    arguments.add_argument("--states", type=int, default=LENGTH, help=f"states in a row (default: {LENGTH})")
    arguments.add_argument("--type", choices=["EXPRESS", "STANDARD"], default="EXPRESS")
    options = arguments.parse_args()
    options.url = "memory://"  # journaled or not, it is the interpreter that is measured
    run(options, measure)
