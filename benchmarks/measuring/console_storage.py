"""What the console's benchmark shows pages of: a million executions, long histories, batches, tasks that wait.

The database makes what is many; the engine runs the long histories: one in the branches of a Map, one in a loop, and
one in a loop that fails at its end, where it was redriven.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs

from measuring.machines import PAYLOAD, chain_of, tasks
from measuring.sources import execute, load_running
from statechain import Engine
from statechain.clock import to_micros
from statechain.codec import encode

__all__ = ["BATCHES", "MACHINES", "Sizes", "fill"]

MACHINES = 10
BATCHES = ("load-batch-0", "load-batch-1")
SPREAD = timedelta(days=30)
ITEM_EVENTS, ROUND_EVENTS = 7, 9
"""How many events an item of the Map has, and a round of the loop."""

ELSEWHERE = "a-worker-elsewhere"


@attrs.frozen
class Sizes:
    """How many executions have ended, events each long history has, tasks wait, and executions wait for a limit."""

    executions: int
    events: int
    waiting: int


def fan_out() -> dict[str, Any]:
    """Return a Map of a Task, over the items that it is given."""
    step = {"StartAt": "Step", "States": {"Step": {"Type": "Task", "Resource": "step", "End": True}}}
    each = {"Type": "Map", "MaxConcurrency": 100, "ItemProcessor": step, "End": True}
    return {"StartAt": "Each", "States": {"Each": each}}


def loop(count: int, end: Mapping[str, str]) -> dict[str, Any]:
    """Return a Task in a loop of some rounds, before its last state."""
    again = {"Variable": "$", "NumericLessThan": count, "Next": "Step"}
    return {
        "StartAt": "Step",
        "States": {
            "Step": {"Type": "Task", "Resource": "step", "Next": "Count"},
            "Count": {"Type": "Pass", "InputPath": "$", "Parameters": {"n.$": "States.MathAdd($, 1)"},
                      "OutputPath": "$.n", "Next": "IsEnough"},
            "IsEnough": {"Type": "Choice", "Choices": [again], "Default": "Done"},
            "Done": dict(end),
        },
    }  # fmt: skip


ASK = {
    "StartAt": "Ask",
    "States": {
        "Ask": {
            "Type": "Task",
            "Resource": "step.waitForTaskToken",
            "Parameters": {"token.$": "$$.Task.Token"},
            "End": True,
        }
    },
}

# One statement makes the executions of all machines, one in fifty FAILED; others make a batch of those of the first.
EXECUTIONS = """
INSERT INTO executions (id, name, state_machine_id, state_machine_revision, status, input, output, error, cause,
                        start_time, end_time, current_state, redrive_count, epoch)
WITH RECURSIVE numbers(number) AS (
    SELECT 0 UNION ALL SELECT number + 1 FROM numbers WHERE number < {count} - 1
)
SELECT 'load-' || CAST(1000000000 + number AS TEXT), 'order-' || CAST(number AS TEXT),
       CASE number % {machines} {whens} END, 1,
       CASE WHEN number % 50 = 0 THEN 'FAILED' ELSE 'SUCCEEDED' END, '{payload}',
       CASE WHEN number % 50 = 0 THEN NULL ELSE '{payload}' END,
       CASE WHEN number % 50 = 0 THEN 'Out.OfStock' END, CASE WHEN number % 50 = 0 THEN 'none are left' END,
       {begin} + CAST({step} AS BIGINT) * number,
       {begin} + CAST({step} AS BIGINT) * number + 500 + number % 997, 'Step0', 0, 1
FROM numbers
"""
BATCH = """
INSERT INTO batches (id, name_prefix, state_machine_id, state_machine_revision, filter, options, status,
                     start_time, end_time)
VALUES ('{batch}', 'order', '{first}', 1, '{{}}', '{{}}', 'SUCCEEDED', {begin}, {end})
"""
ITEMS = """
INSERT INTO batch_items (batch_id, "index", source_execution_id, name)
WITH RECURSIVE numbers(number) AS (
    SELECT 0 UNION ALL SELECT number + 1 FROM numbers WHERE number < {items} - 1
)
SELECT '{batch}', number, 'load-' || CAST(1000000000 + number AS TEXT),
       'order-' || CAST(number * {machines} AS TEXT)
FROM numbers
"""
TASKS = """
INSERT INTO callbacks (id, execution_id, redrive_count, token_hash, status, state, since)
SELECT id || '#0', id, 0, id, 'WAITING', 'Ask', start_time FROM executions WHERE state_machine_id = '{asks}'
"""


async def fill(url: str, sizes: Sizes) -> None:
    """Fill a storage, unless that was done before."""
    rounds = sizes.events // ROUND_EVENTS
    async with Engine(url, tasks=tasks) as engine:
        if await engine.repository.state_machine("loop") is not None:
            return
        machines = [await engine.create_state_machine(f"orders-{place}", chain_of(1)) for place in range(MACHINES)]
        fanned = await engine.create_state_machine("fan-out", fan_out())
        await (await fanned.start_execution(list(range(sizes.events // ITEM_EVENTS)), name="fanned")).wait()
        ended = await engine.create_state_machine("loop", loop(rounds, {"Type": "Succeed"}))
        failing = await engine.create_state_machine(
            "failing loop", loop(rounds, {"Type": "Fail", "Error": "Loop.Over"})
        )
        await (await ended.start_execution(0, name="looped")).wait()
        redriven = await (await failing.start_execution(0, name="redriven")).wait()
        await (await engine.redrive_execution(redriven.id)).wait()
        asks = await engine.create_state_machine("asks", ASK)
        queued = await engine.create_state_machine("calls", chain_of(1), max_concurrency=0)
    await _load(url, sizes.executions, [machine.id for machine in machines])
    await load_running(url, asks, sizes.waiting, "asking", ELSEWHERE)
    await load_running(url, queued, sizes.waiting, "queued", None, is_limited=True)
    await execute(url, TASKS.format(asks=asks.id))


async def _load(url: str, count: int, machines: Sequence[str]) -> None:
    """Let the database make the executions that have ended, and the batches."""
    now = datetime.now(UTC)
    begin = to_micros(now - SPREAD)
    known: dict[str, Any] = {"count": count, "machines": len(machines), "first": machines[0], "begin": begin}
    known["whens"] = " ".join(f"WHEN {place} THEN '{id_}'" for place, id_ in enumerate(machines))
    known |= {"end": to_micros(now), "step": (to_micros(now) - begin) // count, "payload": encode(PAYLOAD)}
    statements = [EXECUTIONS.format(**known)]
    for batch in BATCHES:
        statements += [text.format(**known, items=count // MACHINES, batch=batch) for text in (BATCH, ITEMS)]
    await execute(url, *statements)
