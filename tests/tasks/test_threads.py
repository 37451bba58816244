"""Plain ``def`` handlers: threads of the engine's own, bounded, whose calls alone count against a timeout."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from statechain import Engine, ExecutionStatus, Limits, TaskRegistry
from support.engine_harness import EngineHarness, machine, task

REQUEST: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="none")


class Handlers:
    """Handlers of which some hang until they are released."""

    def __init__(self) -> None:
        self.tasks = TaskRegistry()
        self.released = threading.Event()
        self.begun = 0
        self.ended = 0
        self.most = 0
        self._lock = threading.Lock()
        for name in ("slow", "fast", "name_thread", "read_request"):
            self.tasks.add(name, getattr(self, name))

    def slow(self, _value: Any) -> str:
        with self._lock:
            self.begun += 1
            self.most = max(self.most, self.begun - self.ended)
        self.released.wait(60)
        with self._lock:
            self.ended += 1
        return "slow"

    def fast(self, _value: Any) -> str:
        return "fast"

    def name_thread(self, _value: Any) -> list[Any]:
        return [threading.current_thread().name, threading.current_thread().daemon]

    def read_request(self, _value: Any) -> str:
        return REQUEST.get()

    async def hanging(self, count: int) -> None:
        async with asyncio.timeout(60):
            while self.begun < count:  # noqa: ASYNC110 -- threads have no event of this loop's
                await asyncio.sleep(0.001)


@pytest.fixture
def handlers() -> Iterator[Handlers]:
    made = Handlers()
    yield made
    made.released.set()


async def created(engine: Engine, name: str, **more: Any) -> Any:
    return await engine.create_state_machine(name.replace(":", ""), machine(Work=task(name, **more)))


async def test_a_timeout_counts_from_the_call_and_not_from_the_wait_for_a_thread(handlers: Handlers) -> None:
    async with Engine(tasks=handlers.tasks, limits=Limits(handler_threads=40)) as engine:
        slow, fast = await created(engine, "slow"), await created(engine, "fast", TimeoutSeconds=1)
        waiting = [await slow.start_execution() for _ in range(40)]
        await handlers.hanging(40)
        late = await fast.start_execution()
        await asyncio.sleep(1.5)
        handlers.released.set()
        assert (await late.wait()).output == "fast"
        assert {(await each.wait()).status for each in waiting} == {ExecutionStatus.SUCCEEDED}


async def test_calls_that_timed_out_count_against_the_bound_until_they_return(
    handlers: Handlers, caplog: pytest.LogCaptureFixture
) -> None:
    async with Engine(tasks=handlers.tasks, limits=Limits(handler_threads=2)) as engine:
        slow = await created(engine, "slow", TimeoutSeconds=1)
        ended = await asyncio.gather(*[(await slow.start_execution()).wait() for _ in range(2)])
        assert [each.error for each in ended] == ["States.Timeout", "States.Timeout"]
        late = await (await created(engine, "fast")).start_execution()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(late.wait()), 0.1)
        assert "still run: slow" in caplog.text
        handlers.released.set()
        assert (await late.wait()).output == "fast"
    assert handlers.most == 2


async def test_leaving_names_what_still_runs(handlers: Handlers, caplog: pytest.LogCaptureFixture) -> None:
    async with Engine(tasks=handlers.tasks) as engine:
        slow = await created(engine, "slow", TimeoutSeconds=1)
        assert (await (await slow.start_execution()).wait()).error == "States.Timeout"
    messages = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [message for message in messages if "'slow' still runs in a thread" in message]


async def test_the_threads_are_daemons_and_used_again(handlers: Handlers) -> None:
    async with Engine(tasks=handlers.tasks) as engine:
        one = await created(engine, "name_thread")
        names = [(await one.execute()).output for _ in range(5)]
    assert {is_daemon for _, is_daemon in names} == {True}
    assert len({name for name, _ in names}) == 1


async def test_the_context_of_the_call_is_carried_into_the_thread(handlers: Handlers) -> None:
    async with Engine(tasks=handlers.tasks) as engine:
        read = await created(engine, "read_request")
        REQUEST.set("request 7")
        assert (await read.execute()).output == "request 7"


async def test_idle_threads_end_with_the_engine(handlers: Handlers) -> None:
    before = set(threading.enumerate())
    async with Engine(tasks=handlers.tasks) as engine:
        await (await created(engine, "fast")).execute_bulk([None] * 20)
    async with asyncio.timeout(30):
        while left := {each for each in set(threading.enumerate()) - before if "handler" in each.name}:
            assert left
            await asyncio.sleep(0.001)


async def test_a_handler_that_raises_stop_iteration_fails_its_task() -> None:
    tasks = TaskRegistry()
    tasks.add("work", lambda _value: next(iter(())))
    async with Engine(tasks=tasks) as engine:
        ended = await (await (await created(engine, "work")).start_execution()).wait()
    assert ended.status is ExecutionStatus.FAILED


async def test_a_task_token_is_handed_to_a_plain_handler_in_a_thread(handlers: Handlers) -> None:
    tokens: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def ask(_value: Any, context: Any) -> None:
        loop.call_soon_threadsafe(tokens.put_nowait, context.task_token)

    handlers.tasks.add("ask", ask)
    async with Engine(tasks=handlers.tasks, limits=Limits(handler_threads=1)) as engine:
        asking = await created(engine, "ask.waitForTaskToken")
        waiting = [await asking.start_execution() for _ in range(3)]  # none keeps the thread while it waits
        for _ in waiting:
            await engine.send_task_success(await tokens.get(), "answered")
        assert [(await each.wait()).output for each in waiting] == ["answered"] * 3


async def test_a_task_token_is_handed_to_an_asynchronous_handler_while_all_threads_are_busy(handlers: Handlers) -> None:
    tokens: asyncio.Queue[str] = asyncio.Queue()

    async def ask(_value: Any, context: Any) -> None:
        tokens.put_nowait(context.task_token)

    handlers.tasks.add("ask", ask)
    async with asyncio.timeout(60), Engine(tasks=handlers.tasks, limits=Limits(handler_threads=1)) as engine:
        busy = await (await created(engine, "slow")).start_execution()
        await handlers.hanging(1)
        asked = await (await created(engine, "ask.waitForTaskToken")).start_execution()
        await engine.send_task_success(await tokens.get(), "answered")
        assert await asked.result() == "answered"
        handlers.released.set()
        assert await busy.result() == "slow"


async def test_a_plain_at_most_once_handler_is_not_called_again_with_another_token(
    harness: EngineHarness, handlers: Handlers
) -> None:
    harness.tasks.add("slow", handlers.slow, delivery="at_most_once")
    started = await harness.start(machine(Ask=task("slow.waitForTaskToken")))
    await handlers.hanging(1)
    await harness.reopen()
    ended = await harness.ended(started.id)
    assert (ended.error, handlers.begun) == ("States.TaskFailed", 1)


async def test_an_attempt_that_has_waited_since_before_a_crash_needs_no_thread(
    harness: EngineHarness, handlers: Handlers
) -> None:
    tokens: list[str] = []

    def ask(_value: Any, context: Any) -> None:
        tokens.append(context.task_token)
        harness.calls["ask"] += 1

    harness.tasks.add("ask", ask)
    harness.tasks.add("slow", handlers.slow)
    asks = await harness.engine.create_state_machine("asks", machine(Ask=task("ask.waitForTaskToken")))
    asked = await asks.start_execution()
    await harness.reached("ask")
    await harness.written(asked, 2)  # the token, and that the handler was called
    await harness.crash()
    await harness.open(limits=Limits(handler_threads=1), recovery=False)
    busy = await harness.start(machine(Slow=task("slow")))
    await handlers.hanging(1)
    await harness.engine.recover()
    await harness.engine.send_task_success(tokens[0], "answered")
    async with asyncio.timeout(60):
        assert (await harness.ended(asked.id)).output == "answered"
    handlers.released.set()
    assert (await busy.wait()).output == "slow"


def test_the_process_ends_although_a_handler_hangs() -> None:
    script = """
        import asyncio, threading
        from statechain import Engine, TaskRegistry

        tasks = TaskRegistry()
        tasks.add("hang", lambda value: threading.Event().wait())
        STATE = {"Type": "Task", "Resource": "hang", "TimeoutSeconds": 1, "End": True}

        async def main():
            async with Engine(tasks=tasks) as engine:
                machine = await engine.create_state_machine("hanging", {"StartAt": "Hang", "States": {"Hang": STATE}})
                print((await (await machine.start_execution()).wait()).error, flush=True)

        asyncio.run(main())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "States.Timeout\n"
    assert "'hang' still runs in a thread" in done.stderr
