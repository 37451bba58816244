"""Two processes that change different limits of one machine at the same time leave both as they were asked for."""

from __future__ import annotations

import asyncio

from statechain import Engine, MemoryRepository
from statechain.records.queues import MachineLimits
from statechain.storage.repository import LimitStateMachine
from support.faulty_repository import FaultyRepository, as_repository

PASS = {"StartAt": "Pass", "States": {"Pass": {"Type": "Pass", "End": True}}}


async def test_a_pause_stays_while_a_service_that_starts_sets_its_rate() -> None:
    async with MemoryRepository() as storage:
        slow = FaultyRepository(storage)
        async with Engine(as_repository(slow)) as service, Engine(storage) as operator:
            machine = await operator.create_state_machine("calls", PASS)
            slow.hold(lambda write: isinstance(write, LimitStateMachine))
            async with asyncio.TaskGroup() as group:
                starting = group.create_task(service.create_state_machine("calls", PASS, rate=(5, 1)))
                await slow.held.wait()  # it has read the limits, of which there are none
                await operator.set_machine_limits(machine, max_concurrency=0)
                slow.gate.set()
            await starting
            assert await operator.get_machine_limits(machine) == MachineLimits(max_concurrency=0, rate=(5, 1.0))
