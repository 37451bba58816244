"""A server that accepts connections and never answers: what has a time limit keeps it.

The deadlines here are hang guards with slack for a busy machine: what is promised is said beside each of them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from statechain import Engine, ExecutionFilter, RepositoryError, StateMachine, TaskRegistry
from statechain.errors import RepositoryUnavailable
from support.postgres import Postgres, PrivateServer

pytestmark = pytest.mark.timeout(600)

LEAVING = 20.0
"""Ten seconds are promised."""

RETURNING = 8.0
"""One second after its own timeout is promised of a call, and two of a stream."""

TIMEOUT = 0.5
GATED = {"StartAt": "Wait", "States": {"Wait": {"Type": "Task", "Resource": "wait", "End": True}}}
PASS = {"StartAt": "Begin", "States": {"Begin": {"Type": "Pass", "End": True}}}
FAIL = {"StartAt": "Lost", "States": {"Lost": {"Type": "Fail"}}}


@contextmanager
def unanswering(server: Postgres) -> Iterator[None]:
    """Stop every process of a server, as a machine that is out of memory or disk does; the system still accepts."""
    if not isinstance(server, PrivateServer) or server.pid is None or not Path("/proc/self/task").exists():
        pytest.skip("the server was not started here, or this is not Linux: it cannot be stopped")
    stopped = [server.pid]
    os.kill(server.pid, signal.SIGSTOP)
    for task in Path(f"/proc/{server.pid}/task").iterdir():
        stopped += map(int, (task / "children").read_text().split())
    for pid in stopped[1:]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in reversed(stopped):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


class _Left(Exception):
    """Leaves an engine by exception."""


async def endless(_value: object) -> None:
    await asyncio.Event().wait()


def handlers() -> TaskRegistry:
    tasks = TaskRegistry()
    tasks.add("wait", endless)
    return tasks


@pytest.mark.parametrize("busy", [False, True], ids=["resting", "writing"])
async def test_an_engine_is_left_by_exception_within_its_bound(
    postgres_server: Postgres, postgres_url: str, *, busy: bool
) -> None:
    began = 0.0
    with suppress(_Left):
        async with Engine(postgres_url, tasks=handlers(), lease=3) as engine:
            machine = await engine.create_state_machine("gated", GATED)
            held = [await machine.start_execution(number) for number in range(20)]
            starting: list[asyncio.Task[Any]] = []
            stopped = unanswering(postgres_server)
            stopped.__enter__()
            if busy:
                starting = [asyncio.create_task(machine.start_execution(number)) for number in range(20)]
                await asyncio.sleep(1.5)  # past the renewal of the lease, so that it hangs, too
            began = time.monotonic()
            raise _Left
    seconds = time.monotonic() - began
    stopped.__exit__(None, None, None)
    assert seconds < LEAVING
    outcomes = await asyncio.gather(*starting, return_exceptions=True)
    assert all(isinstance(each, Exception) for each in outcomes)
    async with asyncio.timeout(60), Engine(postgres_url, tasks=handlers(), recovery=False) as engine:
        for each in held:
            assert (await engine.stop_execution(each.id)).status == "ABORTED"


CALLS: dict[str, Callable[[Engine, StateMachine, str], Awaitable[object]]] = {
    "start": lambda _engine, machine, _failed: machine.start_execution(1),
    "execute": lambda _engine, machine, _failed: machine.execute(1),
    "create": lambda engine, _machine, _failed: engine.create_state_machine("another", PASS),
    "stop": lambda engine, _machine, failed: engine.stop_execution(failed),
    "redrive": lambda engine, _machine, failed: engine.redrive_execution(failed),
    "get": lambda engine, _machine, failed: engine.get_execution(failed),
    "list": lambda engine, _machine, _failed: engine.list_executions(),
    "recover": lambda engine, _machine, _failed: engine.recover(),
    "delete": lambda engine, _machine, _failed: engine.delete_executions(ExecutionFilter()),
    "answer": lambda engine, _machine, _failed: engine.send_task_success("token", 1),
    "activity": lambda engine, _machine, _failed: engine.get_activity_task("work"),
    "batch": lambda _engine, machine, _failed: machine.execute_batch(ExecutionFilter()),
    "bulk": lambda _engine, machine, _failed: machine.execute_bulk(range(3)),
}


async def test_a_callers_own_timeout_fires_whatever_it_calls(postgres_server: Postgres, postgres_url: str) -> None:
    late, returned = dict[str, float](), set[str]()
    async with Engine(postgres_url, tasks=handlers()) as engine:
        machine = await engine.create_state_machine("pass", PASS)
        failing = await engine.create_state_machine("failing", FAIL)
        failed = [await (await failing.start_execution()).wait() for _ in CALLS]
        with unanswering(postgres_server):
            for (name, call), execution in zip(CALLS.items(), failed, strict=True):
                asked = time.monotonic()
                with suppress(TimeoutError):
                    await asyncio.wait_for(call(engine, machine, execution.id), TIMEOUT)
                    returned.add(name)
                if (seconds := time.monotonic() - asked) > RETURNING:
                    late[name] = seconds
        assert not late
        assert not returned
    async with asyncio.timeout(60), Engine(postgres_url, recovery=False) as engine:
        for status in ("RUNNING", "TIMED_OUT"):
            assert not await engine.list_executions(ExecutionFilter(status=status))
        assert not [batch for batch in await engine.list_batches() if batch.status == "RUNNING"]


async def test_what_a_cancelled_call_had_begun_is_ended_once_storage_answers(
    postgres_server: Postgres, postgres_url: str
) -> None:
    async with asyncio.timeout(120), Engine(postgres_url, tasks=handlers()) as engine:
        machine = await engine.create_state_machine("gated", GATED)
        with unanswering(postgres_server), pytest.raises(TimeoutError):
            await asyncio.wait_for(machine.start_execution(1, name="late"), TIMEOUT)
        while not (found := await engine.list_executions(ExecutionFilter(state_machine_id=machine.id))):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert (await (await engine.get_handle(found[0].id)).wait()).status == "ABORTED"


@asynccontextmanager
async def black_hole() -> AsyncIterator[str]:
    """Yield the URL of a server that accepts and says nothing."""

    handlers: list[asyncio.Task[None]] = []

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            await reader.read()
        writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.append(asyncio.create_task(swallow(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        yield f"postgresql://scott:tiger@127.0.0.1:{server.sockets[0].getsockname()[1]}/shop"
    await asyncio.gather(*handlers)  # each ends once its client is gone


async def test_an_engine_that_is_not_answered_gives_up_at_its_time_limit(caplog: pytest.LogCaptureFixture) -> None:
    async with black_hole() as url:
        began = time.monotonic()
        with pytest.raises(RepositoryUnavailable, match="storage was away for 1 s") as caught:
            await Engine(url, connect_timeout=1).__aenter__()
        assert time.monotonic() - began < RETURNING
    assert "tiger" not in f"{caught.value} {caplog.text}"


async def test_an_engine_waits_for_storage_that_is_away_and_says_so(
    postgres_server: Postgres, postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    if not isinstance(postgres_server, PrivateServer):
        pytest.skip("the server was not started here: it cannot be stopped")
    postgres_server.stop()
    try:
        with caplog.at_level(logging.WARNING, logger="statechain"):
            opening = asyncio.create_task(Engine(postgres_url).__aenter__())
            while not caplog.messages:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            assert not opening.done()
    finally:
        await asyncio.to_thread(postgres_server.restart)
    async with asyncio.timeout(60):
        engine = await opening
    await engine.__aexit__(None, None, None)
    first, last = caplog.messages
    assert first.startswith("storage cannot be reached, trying for 30 s more: PostgreSQL: the server cannot be reached")
    assert last.startswith("storage can be reached after")


async def test_what_is_wrong_for_good_is_raised_at_once(postgres_server: Postgres) -> None:
    async with asyncio.timeout(20):
        with pytest.raises(RepositoryError, match="does not exist"):
            await Engine(postgres_server.url("nowhere")).__aenter__()


async def test_an_engine_that_is_being_opened_can_be_cancelled(postgres_server: Postgres, postgres_url: str) -> None:
    with unanswering(postgres_server):
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(Engine(postgres_url).__aenter__(), TIMEOUT)
        assert time.monotonic() - began < RETURNING
