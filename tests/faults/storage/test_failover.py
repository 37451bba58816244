"""Streaming replication: the primary is killed under load, the standby promoted, and the client led there.

Synchronous: nothing that was acknowledged is lost. Asynchronous: what was lost is run again, from what storage holds.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from statechain import Engine, ExecutionFilter, StateMachine, TaskContext, TaskRegistry
from support.faults.replication import Pair, fetch_value, replicated
from support.faults.tcp_proxy import Proxy
from support.postgres import NoPostgres
from support.summary import Figures

pytestmark = pytest.mark.timeout(600)

LEASE = timedelta(seconds=3)
TWO_TASKS = {
    "StartAt": "One",
    "States": {
        "One": {"Type": "Task", "Resource": "One", "Next": "Two"},
        "Two": {"Type": "Task", "Resource": "Two", "End": True},
    },
}


class Shop:
    """Handlers that wait until they may end."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.may_end = {"One": asyncio.Event(), "Two": asyncio.Event()}
        self.tasks = TaskRegistry()
        for name in self.may_end:
            self._add(name)

    def _add(self, name: str) -> None:
        async def work(value: object, context: TaskContext) -> object:
            self.calls[f"{name} {context.execution_id}"] += 1
            await self.may_end[name].wait()
            return value

        self.tasks.add(name, work)

    async def begun(self, name: str, count: int) -> None:
        async with asyncio.timeout(60):
            while sum(key.startswith(name) for key in self.calls) < count:  # noqa: ASYNC110 -- a Counter has no event
                await asyncio.sleep(0.01)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    try:
        async with replicated() as pair:
            yield pair
    except NoPostgres as missing:
        pytest.skip(str(missing))


async def test_after_an_asynchronous_failover_everything_goes_on(
    pair: Pair, figures: Figures, caplog: pytest.LogCaptureFixture
) -> None:
    count, shop = 20, Shop()
    caplog.set_level(logging.WARNING)
    async with Proxy(pair.primary.url(), {}) as proxy, Engine(proxy.url, tasks=shop.tasks, lease=LEASE) as engine:
        machine = await engine.create_state_machine("m", TWO_TASKS)
        handles = [await machine.start_execution(number) for number in range(count)]
        await shop.begun("One", count)
        await pair.caught_up()
        await asyncio.to_thread(pair.standby.cut_off)
        await pair.separated()
        shop.may_end["One"].set()  # these results are lost
        await shop.begun("Two", count)
        await pair.fail_over()
        proxy.lead_to(pair.standby.url())
        shop.may_end["Two"].set()
        async with asyncio.timeout(120):
            assert [await handle.result() for handle in handles] == list(range(count))
        assert await engine.count_executions(ExecutionFilter(status="RUNNING")) == 0
    found_out = sum("(BEHIND)" in record.getMessage() for record in caplog.records)
    figures(executions=count, found_behind=found_out, calls=shop.calls.total())
    assert found_out == count
    assert all(shop.calls[f"One {handle.id}"] == 2 for handle in handles)


async def test_a_synchronous_failover_under_load_loses_nothing(
    pair: Pair, figures: Figures, caplog: pytest.LogCaptureFixture, *, full: bool
) -> None:
    shop, started, ended = Shop(), list[str](), list[str]()
    for event in shop.may_end.values():
        event.set()
    pair.be_synchronous()

    async def submit(machine: StateMachine, count: int) -> None:
        for number in range(count):
            handle = await machine.start_execution(number)
            started.append(handle.id)
            assert await handle.result() == number
            ended.append(handle.id)

    async with Proxy(pair.primary.url(), {}) as proxy, Engine(proxy.url, tasks=shop.tasks, lease=LEASE) as engine:
        machine = await engine.create_state_machine("m", TWO_TASKS)
        clients, each = 10, 100 if full else 12
        async with asyncio.timeout(300), asyncio.TaskGroup() as load:
            for _ in range(clients):
                load.create_task(submit(machine, each))
            while len(ended) < clients * each // 3:  # noqa: ASYNC110 -- a list has no event
                await asyncio.sleep(0.005)
            await asyncio.to_thread(pair.primary.kill)
            acknowledged = tuple(started), tuple(ended)
            await asyncio.to_thread(pair.standby.promote)
            await _check_kept(pair, *acknowledged)
            proxy.lead_to(pair.standby.url())
        assert await engine.count_executions(ExecutionFilter(status="SUCCEEDED")) == clients * each
    figures(started_before=len(acknowledged[0]), ended_before=len(acknowledged[1]), executions=clients * each, lost=0)
    assert "(BEHIND)" not in caplog.text


async def _check_kept(pair: Pair, started: tuple[str, ...], ended: tuple[str, ...]) -> None:
    """Check that the standby has every start and every end that a caller learned of."""
    for ids, condition in ((started, "true"), (ended, "status = 'SUCCEEDED'")):
        named = ", ".join(f"'{each}'" for each in ids)
        question = f"SELECT count(*) FROM executions WHERE id IN ({named}) AND {condition}"
        assert await fetch_value(pair.standby.url(), question) == len(ids)
