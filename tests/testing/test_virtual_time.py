"""An engine in virtual time: waits, retries, timeouts and tokens take no real time, and come in order."""

import asyncio
import time
from datetime import timedelta
from typing import Any

from statechain import Engine, ExecutionStatus, TaskRegistry
from statechain.testing import VirtualClock
from support.moments import START, at


def machine(**states: dict[str, Any]) -> dict[str, Any]:
    return {"StartAt": next(iter(states)), "States": states}


async def run(definition: dict[str, Any], tasks: TaskRegistry, clock: VirtualClock) -> tuple[Any, float]:
    """Return the execution as it ended, and the virtual seconds it took."""
    async with Engine("memory://", tasks=tasks, clock=clock) as engine:
        handle = await (await engine.create_state_machine("machine", definition)).start_execution({})
        ended = await handle.wait()
        assert ended.end_time is not None
        return ended, (ended.end_time - ended.start_time).total_seconds()


async def test_waits_and_retries_of_an_engine_take_no_real_time() -> None:
    tasks = TaskRegistry()
    attempts = []

    @tasks.register("Flaky")
    async def flaky(_input: Any) -> str:
        await asyncio.sleep(0.001)
        attempts.append(1)
        if len(attempts) < 4:
            raise ConnectionError("away")
        return "there"

    retry = {"ErrorEquals": ["ConnectionError"], "IntervalSeconds": 60, "BackoffRate": 2, "MaxAttempts": 5}
    began = time.monotonic()
    ended, seconds = await run(
        machine(
            Rest={"Type": "Wait", "Seconds": 86_400, "Next": "Call"},
            Call={"Type": "Task", "Resource": "Flaky", "Retry": [retry], "End": True},
        ),
        tasks,
        VirtualClock(),
    )
    assert (ended.output, seconds) == ("there", 86_400 + 60 + 120 + 240)
    assert time.monotonic() - began < 60


async def test_a_handler_that_takes_a_moment_is_not_timed_out_and_one_that_hangs_is() -> None:
    tasks = TaskRegistry()

    @tasks.register("Brief")
    async def brief(_input: Any) -> str:
        await asyncio.sleep(0.02)
        return "in time"

    @tasks.register("Threaded")
    def threaded(_input: Any) -> str:
        time.sleep(0.2)
        return "in time"

    @tasks.register("Hung")
    async def hung(_input: Any) -> None:
        await asyncio.Event().wait()

    for resource in ("Brief", "Threaded"):
        state = {"Type": "Task", "Resource": resource, "TimeoutSeconds": 5, "HeartbeatSeconds": 2, "End": True}
        ended, seconds = await run(machine(Call=state), tasks, VirtualClock(grace=30))
        assert (ended.output, seconds) == ("in time", 0)
    state = {"Type": "Task", "Resource": "Hung", "TimeoutSeconds": 5, "End": True}
    ended, seconds = await run(machine(Call=state), tasks, VirtualClock(grace=0.01))
    assert (ended.status, ended.error, seconds) == (ExecutionStatus.FAILED, "States.Timeout", 5)
    state["HeartbeatSeconds"] = 2
    ended, seconds = await run(machine(Call=state), tasks, VirtualClock(grace=0.01))
    assert (ended.status, ended.error, seconds) == (ExecutionStatus.FAILED, "States.Timeout", 2)


async def test_no_time_passes_while_a_handler_of_an_express_execution_runs() -> None:
    tasks = TaskRegistry()

    @tasks.register("Brief")
    async def brief(_input: Any) -> str:
        await asyncio.sleep(0.02)
        return "done"

    async with Engine("memory://", tasks=tasks, clock=VirtualClock(grace=30)) as engine:
        rest = machine(Rest={"Type": "Wait", "Seconds": 86_400, "End": True})
        call = machine(Call={"Type": "Task", "Resource": "Brief", "End": True})
        resting = await (await engine.create_state_machine("rest", rest)).start_execution({})
        ended = await (await engine.create_state_machine("call", call, type="EXPRESS")).execute({})
        assert (ended.output, ended.end_time) == ("done", ended.start_time)
        await resting.stop()


async def test_the_timeout_of_a_whole_execution_takes_no_real_time() -> None:
    definition = {**machine(Rest={"Type": "Wait", "Seconds": 86_400, "End": True}), "TimeoutSeconds": 3600}
    ended, seconds = await run(definition, TaskRegistry(), VirtualClock(grace=0.01))
    assert (ended.status, seconds) == (ExecutionStatus.TIMED_OUT, 3600)


async def test_a_task_token_is_answered_in_time_or_times_out_in_virtual_time(repository_url: str) -> None:
    tasks = TaskRegistry()
    tokens: list[str] = []
    tasks.add("Hand", lambda payload: tokens.append(payload["token"]))
    state = {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
        "Parameters": {"FunctionName": "Hand", "Payload": {"token.$": "$$.Task.Token"}},
        "TimeoutSeconds": 3600,
        "End": True,
    }
    clock = VirtualClock(grace=30)
    async with Engine(repository_url, tasks=tasks, clock=clock) as engine:
        waiting = await engine.create_state_machine("token", machine(Ask=state))
        answered = await waiting.start_execution({})
        while not tokens:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
        await engine.send_task_success(tokens[0], {"approved": True})
        ended = await answered.wait()
        assert (ended.output, clock.now()) == ({"approved": True}, START)
    clock = VirtualClock(grace=0.01)
    async with Engine(repository_url, tasks=tasks, clock=clock) as engine:
        waiting = await engine.create_state_machine("token", machine(Ask=state))
        forgotten = await (await waiting.start_execution({})).wait()
        assert (forgotten.error, clock.now()) == ("States.Timeout", at(3600))


async def test_time_is_advanced_by_hand_through_an_engine(repository_url: str) -> None:
    clock = VirtualClock(auto=False)
    naps = machine(
        First={"Type": "Wait", "Seconds": 60, "Next": "Second"}, Second={"Type": "Wait", "Seconds": 30, "End": True}
    )
    async with Engine(repository_url, clock=clock) as engine:
        handle = await (await engine.create_state_machine("naps", naps)).start_execution({})

        async def state() -> tuple[str | None, str]:
            execution = await engine.get_execution(handle.id)
            return execution.current_state, str(execution.status)

        await clock.advance(59)
        assert await state() == ("First", "RUNNING")
        await clock.advance(1)
        assert await state() == ("Second", "RUNNING")
        await clock.advance(timedelta(minutes=5))
        assert await state() == ("Second", "SUCCEEDED")
        ended = await handle.wait()
        assert ended.end_time == at(90)
        assert clock.now() == at(360)


async def test_lines_of_control_share_virtual_time(repository_url: str) -> None:
    def branch(name: str, seconds: int) -> dict[str, Any]:
        return machine(**{name: {"Type": "Wait", "Seconds": seconds, "End": True}})

    branches = [branch("Long", 500), branch("Short", 20), branch("Middle", 90)]
    fork = {"Type": "Parallel", "Branches": branches, "End": True}
    async with Engine(repository_url, clock=VirtualClock()) as engine:
        ended = await (await engine.create_state_machine("fork", machine(Fork=fork))).execute({})
        history = await engine.get_execution_history(ended.id)
    left = [event for event in history if event["type"] == "WaitStateExited"]
    assert [event["stateExitedEventDetails"]["name"] for event in left] == ["Short", "Middle", "Long"]
    assert [event["timestamp"] for event in left] == [at(20), at(90), at(500)]
