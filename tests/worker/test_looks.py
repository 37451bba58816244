"""What a worker looks at with each period of its lease, what it asks of storage then, and when it looks again."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Self

import pytest

from statechain import Engine, ExecutionStatus, MemoryRepository, RepositoryUnavailable, TaskRegistry
from statechain.observers import Fact, QueueCounted
from statechain.storage.leases import LeaseRenewer, WorkerLease
from statechain.storage.repository import StartExecution
from statechain.testing.contract.samples import execution
from support.engine_harness import machine, task
from support.faulty_repository import FaultyRepository, as_repository
from support.virtual_loop import run_virtually

TURNS = 20
WORKS = machine(Work=task("work"))


class Recorded(FaultyRepository):
    """Keeps what it was asked for, by the names of the calls."""

    def __init__(self, inner: MemoryRepository) -> None:
        super().__init__(inner)
        self.asked_for: defaultdict[str, list[Any]] = defaultdict(list)

    def __getattr__(self, name: str) -> Any:
        found = super().__getattr__(name)
        if not asyncio.iscoroutinefunction(found):
            return found

        async def call(*arguments: Any, **named: Any) -> Any:
            self.asked_for[name].append(named or arguments)
            return await found(*arguments, **named)

        return call

    async def is_asked_for(self, name: str, times: int) -> None:
        """Return once it was asked for that so many times more."""
        former = len(self.asked_for[name])
        while len(self.asked_for[name]) < former + times:  # noqa: ASYNC110 -- a list has no event
            await asyncio.sleep(0.01)


def working(work: Any = str) -> TaskRegistry:
    tasks = TaskRegistry()
    tasks.add("work", work)
    return tasks


async def lapse(faulty: FaultyRepository, inner: MemoryRepository) -> None:
    """Have the leases of all workers end unrenewed, and be renewed from then on."""
    faulty.cut_off()
    while not all(lease.is_over for lease in await inner.workers()):  # noqa: ASYNC110 -- storage has no event
        await asyncio.sleep(0.01)
    faulty.cut_off(whether=False)


# The leases of others


async def test_a_worker_takes_neither_itself_for_dead_nor_asks_for_a_release_where_no_other_is() -> None:
    async with MemoryRepository() as inner, asyncio.timeout(20):
        recorded = Recorded(inner)
        async with Engine(as_repository(recorded), lease=0.3):
            recorded.fall_silent()  # so that it sees its own lease unchanged for the whole length
            while not all(lease.is_over for lease in await inner.workers()):  # noqa: ASYNC110 -- storage has no event
                await asyncio.sleep(0.01)
            await recorded.is_asked_for("workers", 3)
    assert recorded.asked_for["release_dead"] == []


async def test_a_worker_claims_between_its_looks_beside_another_one(caplog: pytest.LogCaptureFixture) -> None:
    async with MemoryRepository() as inner, asyncio.timeout(20):
        recorded = Recorded(inner)
        async with Engine(inner, lease=600), Engine(as_repository(recorded), lease=600):
            await recorded.is_asked_for("claim", 3)
    assert caplog.records == []


@pytest.mark.parametrize("is_later", [False, True])
async def test_what_an_owner_without_a_lease_has_is_taken_over_once_that_was_missed_for_its_length(
    *, is_later: bool
) -> None:
    """Also where the lease was lost after the first looks: now and then there is another sweep."""
    async with MemoryRepository() as inner, asyncio.timeout(20):
        async with Engine(inner, role="client") as client:
            created = await client.create_state_machine("works", WORKS)
        stray = execution(state_machine_id=created.id, current_state="Work")
        begun = StartExecution(execution=stray, owner="gone")
        recorded = Recorded(inner)
        if not is_later:
            await inner.commit([begun])
        async with Engine(as_repository(recorded), tasks=working(), lease=0.15) as engine:
            if is_later:
                await recorded.is_asked_for("workers", 2)
                await inner.commit([begun])
            assert (await (await engine.get_handle(stray.id)).wait()).status is ExecutionStatus.SUCCEEDED


@pytest.mark.parametrize("reason", ["a lapse", "an outage"])
async def test_owners_without_a_lease_are_looked_for_with_the_next_look_after_a_lapse_or_an_outage(reason: str) -> None:
    async with MemoryRepository() as inner, asyncio.timeout(20):
        recorded = Recorded(inner)
        async with Engine(as_repository(recorded), lease=0.3):
            await recorded.is_asked_for("workers", 2)
            sweeps = len(recorded.asked_for["strays"])
            if reason == "a lapse":
                await lapse(recorded, inner)
            else:
                recorded.fail_all()
                await recorded.is_asked_for("workers", 1)
                recorded.fail_all(whether=False)
            looks = len(recorded.asked_for["workers"])
            while len(recorded.asked_for["strays"]) == sweeps:  # noqa: ASYNC110 -- a list has no event
                await asyncio.sleep(0.01)
            assert len(recorded.asked_for["workers"]) - looks < 10


# What is this worker's own


async def test_a_worker_reconciles_what_it_owns_once_for_each_doubt() -> None:
    async with MemoryRepository() as inner, asyncio.timeout(20):
        recorded = Recorded(inner)
        async with Engine(as_repository(recorded), lease=0.3) as engine:
            lease = engine._supervisor._lease
            await recorded.is_asked_for("claim", 2)
            assert len(recorded.asked_for["retain"]) <= lease.doubts
            await lapse(recorded, inner)
            await recorded.is_asked_for("retain", 1)
            await recorded.is_asked_for("claim", lease.doubts + 2)
            assert len(recorded.asked_for["retain"]) <= lease.doubts


async def test_an_engine_without_recovery_gives_up_after_a_lapse_what_it_owns_and_does_not_run() -> None:
    async with MemoryRepository() as inner, asyncio.timeout(20):
        faulty = FaultyRepository(inner)
        async with Engine(as_repository(faulty), lease=0.3, recovery=False) as engine:
            created = await engine.create_state_machine("works", WORKS)
            # As a failover leaves it that lost its end.
            lost = execution(state_machine_id=created.id, current_state="Work")
            await inner.commit([StartExecution(execution=lost, owner=engine.worker.id)])
            await lapse(faulty, inner)
            while await inner.owned(engine.worker.id):  # noqa: ASYNC110 -- storage has no event
                await asyncio.sleep(0.01)


async def test_the_handler_of_an_execution_that_another_worker_took_over_is_cancelled_with_the_next_look() -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def wait(_value: Any) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with MemoryRepository() as inner, asyncio.timeout(20):
        async with Engine(inner, tasks=working(wait), lease=0.3, recovery=False) as engine:
            handle = await (await engine.create_state_machine("works", WORKS)).start_execution(1)
            await begun.wait()
            await inner.release(engine.worker.id)
            (claim,) = await inner.claim("another", page=1)
            await cancelled.wait()
        assert list(await inner.owned("another")) == [claim.execution.id] == [handle.id]


async def test_what_an_execution_waits_for_that_is_stopped_through_another_process_is_stopped_with_it() -> None:
    begun = asyncio.Event()

    async def wait(_value: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    call = task("arn:aws:states:::states:startExecution.sync:2", Parameters={"StateMachineArn": "works"})
    async with (
        MemoryRepository() as inner,
        asyncio.timeout(20),
        Engine(inner, tasks=working(wait), lease=0.3, recovery=False) as engine,
        Engine(inner, role="client") as operator,
    ):
        await engine.create_state_machine("works", WORKS)
        parent = await (await engine.create_state_machine("calls", machine(Call=call))).start_execution(1)
        await begun.wait()
        (child,) = [id_ for id_ in await operator.list_execution_ids() if id_ != parent.id]
        assert (await operator.stop_execution(parent.id)).status is ExecutionStatus.ABORTED
        assert (await (await operator.get_handle(child)).wait()).status is ExecutionStatus.ABORTED


async def test_an_engine_without_recovery_asks_what_it_lost_and_not_how_much_waits() -> None:
    gate, facts = asyncio.Event(), list[Fact]()

    class Observer:
        def observe(self, fact: Fact) -> None:
            facts.append(fact)

    async def wait(_value: Any) -> None:
        await gate.wait()

    async with MemoryRepository() as inner, asyncio.timeout(20):
        recorded = Recorded(inner)
        options: dict[str, Any] = {"tasks": working(wait), "lease": 0.3, "observers": [Observer()], "recovery": False}
        async with Engine(as_repository(recorded), **options) as engine:
            created = await engine.create_state_machine("works", WORKS)
            ids = {(await created.start_execution(number)).id for number in range(2)}
            await engine.create_state_machine("limited", WORKS, max_concurrency=1)
            recorded.asked_for.clear()
            await recorded.is_asked_for("epochs", 3)
            gate.set()
    # All that it runs with one question, each time.
    assert [set(page) for (page,) in recorded.asked_for["epochs"][:3]] == [ids] * 3
    assert recorded.asked_for["queues"] == []
    assert not any(isinstance(fact, QueueCounted) for fact in facts)


# Claims


@pytest.mark.parametrize("reason", ["it is asked to recover", "it waits for it"])
async def test_nothing_is_claimed_while_the_renewal_of_the_lease_takes_too_long(reason: str) -> None:
    answers = threading.Event()

    class Hangs:
        def __init__(self, inner: LeaseRenewer) -> None:
            self.inner = inner

        async def __aenter__(self) -> Self:
            await self.inner.__aenter__()
            return self

        async def __aexit__(self, *exception: object) -> None:
            await self.inner.__aexit__(*exception)  # type: ignore[arg-type]

        async def renew(self) -> bool:
            answers.wait()
            return await self.inner.renew()

    class HangsInRenewals(Recorded):
        def lease_renewer(self, worker_id: str, lease: Any) -> Any:
            return Hangs(self._inner.lease_renewer(worker_id, lease))

    async with MemoryRepository() as inner, asyncio.timeout(20):
        recorded = HangsInRenewals(inner)
        async with Engine(as_repository(recorded), tasks=working(), lease=0.3, recovery=False) as engine:
            try:
                async with Engine(inner, role="client") as client:
                    created = await client.create_state_machine("works", WORKS, max_concurrency=1)
                    handle = await created.start_execution(1)
                while engine._supervisor.has_lease:  # noqa: ASYNC110 -- it is time that ends it
                    await asyncio.sleep(0.01)
                here = await engine.get_handle(handle.id)
                claiming = asyncio.create_task(engine.recover() if reason == "it is asked to recover" else here.wait())
                for _ in range(TURNS):
                    await asyncio.sleep(0)
                assert recorded.asked_for["claim"] == []
            finally:
                answers.set()
            await claiming
            assert (await here.wait()).status is ExecutionStatus.SUCCEEDED


async def test_what_an_engine_without_recovery_waits_for_is_its_own_while_it_runs() -> None:
    owned: list[str] = []

    async def work(_value: Any) -> None:
        owned.extend(await repository.owned(engine.worker.id))

    async with (
        MemoryRepository() as repository,
        asyncio.timeout(20),
        Engine(repository, tasks=working(work), recovery=False) as engine,
    ):
        created = await engine.create_state_machine("works", WORKS, max_concurrency=1)
        handle = await created.start_execution(1)
        assert (await handle.wait()).status is ExecutionStatus.SUCCEEDED
    assert owned == [handle.id]


async def test_what_an_engine_without_recovery_waits_for_is_claimed_at_once_however_late() -> None:
    async with (
        MemoryRepository() as repository,
        asyncio.timeout(20),
        # A long lease: the next look is far away.
        Engine(repository, tasks=working(), lease=600, recovery=False) as engine,
    ):
        created = await engine.create_state_machine("works", WORKS, max_concurrency=1)
        handle = await created.start_execution(1)
        for _ in range(TURNS):  # in which recovery finds that nothing is waited for
            await asyncio.sleep(0)
        assert (await handle.wait()).status is ExecutionStatus.SUCCEEDED


async def test_what_an_engine_without_recovery_waits_for_and_cannot_run_is_claimed_once_between_two_looks() -> None:
    async with MemoryRepository() as inner, asyncio.timeout(20):
        async with Engine(inner, role="client") as client:
            await client.create_state_machine("works", WORKS, max_concurrency=1)
        recorded = Recorded(inner)
        async with Engine(as_repository(recorded), lease=600, recovery=False) as engine:
            handle = await (await engine.get_state_machine("works")).start_execution(1)
            waiting = asyncio.create_task(handle.wait())
            await recorded.is_asked_for("claim", 4)
            assert await inner.epochs([handle.id]) == {handle.id: 1}
            waiting.cancel()


def test_what_waits_for_a_slot_is_claimed_in_the_instant_in_which_one_is_free() -> None:
    async def run() -> list[float]:
        begun: list[float] = []

        async def work(_value: Any) -> None:
            begun.append(asyncio.get_running_loop().time())
            await asyncio.sleep(1)

        async with MemoryRepository() as repository:
            async with Engine(repository, role="client") as client:
                created = await client.create_state_machine("works", WORKS)
                handles = [await created.start_execution(number) for number in range(4)]
            options: dict[str, Any] = {"tasks": working(work), "lease": 3600, "max_concurrent_executions": 1}
            async with Engine(repository, **options) as engine, asyncio.timeout(60):
                for each in handles:
                    await (await engine.get_handle(each.id)).wait()
        return begun

    assert run_virtually(run()) == [0, 1, 2, 3]


# Looks that fail


@pytest.mark.parametrize(
    ("error", "reason"),
    [(RepositoryUnavailable("storage is away"), "storage is away"), (ZeroDivisionError("secret"), "ZeroDivisionError")],
)
def test_looks_that_fail_are_put_off_for_longer_each_time_and_logged_with_their_reason(
    error: Exception, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Away(FaultyRepository):
        async def workers(self) -> Sequence[WorkerLease]:
            moments.append(round(asyncio.get_running_loop().time(), 1))
            raise error

    async def look() -> None:
        async with MemoryRepository() as inner, Engine(as_repository(Away(inner)), lease=3600):
            await asyncio.sleep(60)

    moments: list[float] = []
    run_virtually(look())
    # As the engine opens, a quarter of a second later, and from then on after pauses that double.
    assert moments == [0, 0.2, 1.0, 2.2, 4.5, 8.8, 17.0, 33.2]
    assert {record.getMessage() for record in caplog.records if record.levelno == logging.WARNING} == {
        f"executions could not be recovered, trying again: {reason}"
    }
