"""The watchdog names what holds the event loop, where it is asked to."""

from __future__ import annotations

import time
from typing import Any

import pytest

from statechain import Engine, Limits, TaskRegistry
from support.engine_harness import machine, task


def block(seconds: float) -> None:
    time.sleep(seconds)


@pytest.mark.parametrize("type_", ["STANDARD", "EXPRESS"])
async def test_a_handler_that_holds_the_loop_is_named(type_: Any, caplog: pytest.LogCaptureFixture) -> None:
    tasks = TaskRegistry()

    async def greedy(_value: Any) -> None:
        block(1.0)

    tasks.add("greedy", greedy)
    async with Engine(tasks=tasks, limits=Limits(loop_hold_seconds=0.1)) as engine:
        created = await engine.create_state_machine("holding", machine(Work=task("greedy")), type=type_)
        execution = await created.execute()
    messages = [record.getMessage() for record in caplog.records if record.name == "statechain.worker.watchdog"]
    held = [message for message in messages if "'greedy'" in message]
    assert any("in block" in message for message in held), messages
    assert all(execution.id in message for message in held)


async def test_nothing_is_watched_unless_asked(caplog: pytest.LogCaptureFixture) -> None:
    tasks = TaskRegistry()

    async def greedy(_value: Any) -> None:
        block(0.3)

    tasks.add("greedy", greedy)
    async with Engine(tasks=tasks) as engine:
        await (await engine.create_state_machine("holding", machine(Work=task("greedy")))).execute()
    assert "held" not in caplog.text
