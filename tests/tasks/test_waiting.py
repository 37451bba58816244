"""Activities whose worker gives up as it is given a task, and whom the asking for answers is about."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from statechain.logs import here
from statechain.records.callbacks import Callback
from statechain.storage.repository import TakeActivity
from support.engine_harness import EngineHarness, machine, task

PAINT = machine(Paint=task("arn:aws:states:eu-west-1:123456789012:activity:paint"))


async def cancelled_taker(harness: EngineHarness) -> None:
    """Take a task, and be cancelled while that is being committed."""
    held, released = harness.hold(lambda write: isinstance(write, TakeActivity))
    taking = asyncio.create_task(harness.engine.get_activity_task("paint"))
    await held.wait()
    taking.cancel()
    await asyncio.sleep(0)
    released.set()
    with pytest.raises(asyncio.CancelledError):
        await taking


async def test_a_task_taken_for_a_cancelled_worker_goes_to_the_next(harness: EngineHarness) -> None:
    started = await harness.start(PAINT, "red")
    await harness.written(started, 1)
    await cancelled_taker(harness)
    taken = await harness.engine.get_activity_task("paint", patience=10)
    assert taken is not None
    assert taken.input == "red"
    assert await harness.engine.get_activity_task("paint", patience=0) is None
    await harness.engine.send_task_success(taken.token, "done")
    assert (await started.wait()).output == "done"


async def test_a_task_taken_for_a_cancelled_worker_wakes_who_waits_for_one(quick: EngineHarness) -> None:
    started = await quick.start(PAINT, "red")
    await quick.written(started, 1)
    held, released = quick.hold(lambda write: isinstance(write, TakeActivity))
    first = asyncio.create_task(quick.engine.get_activity_task("paint"))
    await held.wait()
    second = asyncio.create_task(quick.engine.get_activity_task("paint", patience=30))
    await asyncio.sleep(0)
    first.cancel()
    released.set()
    taken = await second
    assert taken is not None
    await quick.engine.send_task_success(taken.token, "done")
    assert (await started.wait()).output == "done"


async def test_a_task_given_back_that_nobody_waits_for_any_more_is_not_handed_out(harness: EngineHarness) -> None:
    started = await harness.start(PAINT, "red")
    await harness.written(started, 1)
    await cancelled_taker(harness)
    await started.stop()
    assert await harness.engine.get_activity_task("paint", patience=0) is None
    again = await harness.start(PAINT, "blue")
    taken = await harness.engine.get_activity_task("paint", patience=10)
    assert taken is not None
    assert taken.input == "blue"
    await again.stop()


async def test_asking_for_answers_is_not_about_the_one_that_waited_first(
    quick: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = quick.engine.repository
    ask, about = repository.callbacks, list[Any]()

    async def callbacks(ids: Sequence[str]) -> Sequence[Callback]:
        about.append(here().get("execution_name"))
        return await ask(ids)

    async def hand(_value: Any) -> None:
        quick.calls["Hand"] += 1

    monkeypatch.setattr(repository, "callbacks", callbacks)
    quick.tasks.add("Hand", hand)
    started = await quick.start(machine(Ask=task("Hand.waitForTaskToken")))
    await quick.reached("Hand")
    async with asyncio.timeout(30):
        while not about:  # noqa: ASYNC110 -- a turn of the loop is all that is awaited
            await asyncio.sleep(0.01)
    await started.stop()
    assert set(about) == {None}
