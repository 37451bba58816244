"""What leaving an engine waits for: what was started here, and nothing that other workers left behind."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from statechain import Engine, ExecutionFilter, ExecutionStatus, StatechainError, TaskRegistry
from statechain.worker.leaving import wait_and_log
from support.virtual_loop import run_virtually

if TYPE_CHECKING:
    from support.engine_harness import EngineFactory

WORK = {"StartAt": "Work", "States": {"Work": {"Type": "Task", "Resource": "Work", "End": True}}}
PARENT = {
    "StartAt": "ChildExecutions",
    "States": {
        "ChildExecutions": {
            "Type": "Task",
            "Resource": "arn:aws:states:::states:startExecution.sync:2",
            "Parameters": {"StateMachineArn": "work", "Input.$": "$", "Name": "child"},
            "End": True,
        }
    },
}
GUARD = 60


class Approvals:
    """Handlers whose answer comes when the test gives it."""

    def __init__(self) -> None:
        self.given = asyncio.Event()
        self.tasks = TaskRegistry()
        self.tasks.add("Work", self._work)

    async def _work(self, _value: object) -> str:
        await self.given.wait()
        return "approved"


class _Killed(Exception):
    pass


async def leave_behind(make: EngineFactory, *names: str, definition: dict[str, Any] = WORK) -> list[str]:
    """Start executions that wait for an approval, and leave them RUNNING without a worker."""
    ids: list[str] = []
    try:
        async with make(tasks=Approvals().tasks) as engine:
            await engine.create_state_machine("work", WORK)
            machine = await engine.create_state_machine("parent" if definition is PARENT else "work", definition)
            ids = [(await machine.start_execution(name=name)).id for name in names]
            begun = len(names) * (2 if definition is PARENT else 1)
            while await engine.count_executions(ExecutionFilter(status="RUNNING")) < begun:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            raise _Killed  # noqa: TRY301
    except _Killed:
        return ids


async def is_running_without_a_worker(make: EngineFactory, ids: list[str]) -> bool:
    """Return whether these executions can be taken over at once."""
    approvals = Approvals()
    approvals.given.set()
    async with make(tasks=approvals.tasks, recovery=False, wait_for="all") as heir:
        return sorted(await heir.recover()) == sorted(ids)


async def test_what_was_taken_over_is_handed_over_at_once(engine_factory: EngineFactory) -> None:
    left = await leave_behind(engine_factory, "one", "two")
    async with asyncio.timeout(GUARD):
        async with engine_factory(tasks=Approvals().tasks) as engine:
            assert len(engine.worker) == 2
        assert await is_running_without_a_worker(engine_factory, left)


async def test_what_is_handed_over_can_be_claimed_while_the_engine_still_waits(engine_factory: EngineFactory) -> None:
    (left,) = await leave_behind(engine_factory, "taken")
    approvals = Approvals()
    async with asyncio.timeout(GUARD):
        engine = engine_factory(tasks=approvals.tasks)
        async with engine_factory(tasks=approvals.tasks, recovery=False, wait_for="all") as heir:
            await engine.__aenter__()
            machine = await engine.get_state_machine("work")
            own = await machine.start_execution(name="own")
            async with asyncio.TaskGroup() as group:
                leaving_it = group.create_task(engine.__aexit__(None, None, None))
                while await heir.recover() != [left]:  # noqa: ASYNC110 -- another engine has no event to wait for
                    await asyncio.sleep(0.01)
                assert not leaving_it.done()
                approvals.given.set()
        async with engine_factory() as engine:
            assert (await engine.get_execution(own.id)).output == "approved"
            assert (await engine.get_execution(left)).output == "approved"


async def test_leaving_can_wait_for_all(engine_factory: EngineFactory) -> None:
    (left,) = await leave_behind(engine_factory, "taken")
    approvals = Approvals()
    async with asyncio.timeout(GUARD):
        async with engine_factory(tasks=approvals.tasks, wait_for="all"):
            asyncio.get_running_loop().call_later(0.05, approvals.given.set)
        async with engine_factory(recovery=False) as engine:
            assert (await engine.get_execution(left)).status is ExecutionStatus.SUCCEEDED


async def test_what_was_taken_over_and_is_started_again_by_its_name_is_waited_for(
    engine_factory: EngineFactory,
) -> None:
    (left,) = await leave_behind(engine_factory, "taken")
    approvals = Approvals()
    async with asyncio.timeout(GUARD):
        async with engine_factory(tasks=approvals.tasks) as engine:
            machine = await engine.get_state_machine("work")
            assert (await machine.start_execution(name="taken")).id == left
            asyncio.get_running_loop().call_later(0.05, approvals.given.set)
        async with engine_factory(recovery=False) as engine:
            assert (await engine.get_execution(left)).status is ExecutionStatus.SUCCEEDED


async def test_a_nested_execution_that_was_taken_over_is_handed_over_with_its_parent(
    engine_factory: EngineFactory,
) -> None:
    await leave_behind(engine_factory, "parent", definition=PARENT)
    async with asyncio.timeout(GUARD):
        async with engine_factory(tasks=Approvals().tasks) as engine:
            ids = await engine.list_execution_ids(ExecutionFilter(status="RUNNING"))
            assert len(ids) == 2
            while len(engine.worker) > 2:  # noqa: ASYNC110 -- the parent may just be starting its child again
                await asyncio.sleep(0.01)
        assert await is_running_without_a_worker(engine_factory, ids)


async def test_what_leaving_waits_for_is_logged_by_name(
    engine_factory: EngineFactory, caplog: pytest.LogCaptureFixture
) -> None:
    approvals = Approvals()
    with caplog.at_level(logging.INFO, logger="statechain.worker"):
        async with asyncio.timeout(GUARD), engine_factory(tasks=approvals.tasks) as engine:
            machine = await engine.create_state_machine("work", WORK)
            for number in range(7):
                await machine.start_execution(name=f"order-{number}")
            asyncio.get_running_loop().call_later(0.1, approvals.given.set)
    told = [record for record in caplog.records if "leaving the engine" in record.message]
    assert told[0].levelno == logging.INFO
    assert "7 executions: order-0, order-1, order-2, order-3, order-4 and 2 more" in told[0].message


async def test_after_the_first_message_reminders_are_warnings(caplog: pytest.LogCaptureFixture) -> None:
    reminded = asyncio.Event()

    def waited_for() -> list[str]:
        if len(caplog.records) > 1:
            reminded.set()
        return ["order-0"]

    with caplog.at_level(logging.INFO, logger="statechain.worker"):
        async with asyncio.timeout(GUARD):
            await wait_and_log(asyncio.create_task(reminded.wait()), waited_for, first_reminder=0.01)
    assert [record.levelno for record in caplog.records][:2] == [logging.INFO, logging.WARNING]
    assert all("waiting for 1 execution: order-0" in record.message for record in caplog.records)


def test_reminders_come_after_twice_as_long_each_time_up_to_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    async def leave() -> list[float]:
        loop, reminded = asyncio.get_running_loop(), list[float]()

        def waited_for() -> list[str]:
            reminded.append(loop.time())
            return ["order-0"]

        await wait_and_log(asyncio.create_task(asyncio.sleep(250)), waited_for)
        return reminded

    with caplog.at_level(logging.INFO, logger="statechain.worker"):
        assert run_virtually(leave()) == [0, 5, 10, 20, 40, 80, 140, 200]
    said = [
        record.message.removeprefix("leaving the engine: waiting for 1 execution: order-0") for record in caplog.records
    ]
    assert said == ["", *[f" (for {seconds} s)" for seconds in (5, 10, 20, 40, 80, 140, 200)]]


@pytest.mark.parametrize(("seconds", "said"), [(0.99, ""), (1.0, " (for 1 s)")])
def test_reminders_say_for_how_long_once_that_is_a_second(
    seconds: float, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def leave() -> None:
        engine = asyncio.create_task(asyncio.sleep(1.5 * seconds))
        await wait_and_log(engine, lambda: ["order-0"], first_reminder=seconds)

    run_virtually(leave())
    assert [record.message for record in caplog.records] == [
        f"leaving the engine: waiting for 1 execution: order-0{said}"
    ]


@pytest.mark.parametrize(
    ("count", "listed"),
    [(5, "5 executions: 0, 1, 2, 3, 4"), (6, "6 executions: 0, 1, 2, 3, 4 and 1 more")],
)
async def test_the_names_of_five_executions_are_logged_and_the_count_of_the_others(
    count: int, listed: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="statechain.worker"):
        await wait_and_log(asyncio.create_task(asyncio.sleep(0)), lambda: [str(n) for n in range(count)])
    assert [record.message for record in caplog.records] == [f"leaving the engine: waiting for {listed}"]


async def test_an_engine_that_reads_registers_no_worker_and_claims_nothing(engine_factory: EngineFactory) -> None:
    (left,) = await leave_behind(engine_factory, "taken")
    async with engine_factory(role="reader") as reader:
        assert (await reader.get_execution(left)).status is ExecutionStatus.RUNNING
        assert await reader.get_execution_history(left)
        machine = await reader.get_state_machine("work")
        for writing in (
            machine.start_execution(),
            machine.execute_batch(ExecutionFilter()),
            reader.create_state_machine("other", WORK),
            reader.stop_execution(left),
            reader.recover(),
        ):
            with pytest.raises(StatechainError, match="only reads"):
                await writing
    assert await is_running_without_a_worker(engine_factory, [left])


@pytest.mark.parametrize("argument", ["role", "wait_for"])
def test_an_unknown_choice_is_refused(argument: str) -> None:
    with pytest.raises(ValueError, match=argument):
        Engine("memory://", **{argument: "everything"})  # type: ignore[arg-type]
