"""The watchdog names what holds the event loop, where it is asked to."""

from __future__ import annotations

import re
import threading
import time
from typing import Any

import pytest

from statechain import Engine, Limits, TaskRegistry
from support.engine_harness import machine, task


def block(seconds: float) -> None:
    time.sleep(seconds)


@pytest.mark.parametrize(("type_", "bound"), [("STANDARD", {}), ("STANDARD", {"TimeoutSeconds": 60}), ("EXPRESS", {})])
async def test_a_handler_that_holds_the_loop_is_named(
    type_: Any, bound: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    tasks = TaskRegistry()

    async def greedy(_value: Any) -> None:
        block(1.0)

    tasks.add("greedy", greedy)
    async with Engine(tasks=tasks, limits=Limits(loop_hold_seconds=0.1)) as engine:
        created = await engine.create_state_machine("holding", machine(Work=task("greedy", **bound)), type=type_)
        execution = await created.execute()
    records = [record for record in caplog.records if "'greedy'" in record.getMessage()]
    assert {record.name for record in records} == {"statechain.worker.watchdog"}
    messages = [record.getMessage() for record in records]
    assert any("in block" in message for message in messages), messages
    assert all(execution.id in message for message in messages)
    assert all(vars(record)["statechain"] == {"handler": "greedy", "execution": execution.id} for record in records)
    (held,) = [found[1] for message in messages if (found := re.search(r"was held for (\S+) seconds", message))]
    assert 0.1 < float(held) < 60


async def test_nothing_is_watched_unless_asked(caplog: pytest.LogCaptureFixture) -> None:
    tasks = TaskRegistry()

    async def greedy(_value: Any) -> None:
        block(0.3)

    tasks.add("greedy", greedy)
    async with Engine(tasks=tasks) as engine:
        await (await engine.create_state_machine("holding", machine(Work=task("greedy")))).execute()
    assert "held" not in caplog.text


async def test_a_process_can_exit_whose_engine_was_never_left() -> None:
    async with Engine(tasks=TaskRegistry(), limits=Limits(loop_hold_seconds=10)):
        assert [each.daemon for each in threading.enumerate() if each.name == "statechain watchdog"] == [True]
