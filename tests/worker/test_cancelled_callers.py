"""A caller that is cancelled while its engine is left, and storage does not answer, ends by its cancellation."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from statechain import Engine, Limits, MemoryRepository, StateMachine
from statechain.storage.repository import StartExecution
from support.faulty_repository import FaultyRepository, as_repository

PASS = {"StartAt": "Pass", "States": {"Pass": {"Type": "Pass", "End": True}}}


class _Left(Exception):
    pass


@pytest.mark.parametrize("role", ["client", "worker"])
@pytest.mark.parametrize("call", [StateMachine.start_execution, StateMachine.execute], ids=["start", "execute"])
async def test_a_start_that_is_cancelled_as_its_engine_is_left_ends_cancelled(role: Any, call: Any) -> None:
    async with MemoryRepository() as inner:
        faulty = FaultyRepository(inner)
        with suppress(_Left):
            async with Engine(as_repository(faulty), role=role, limits=Limits(drain_seconds=0.1)) as engine:
                machine = await engine.create_state_machine("pass", PASS)
                faulty.hold(lambda write: isinstance(write, StartExecution))
                caller = asyncio.create_task(call(machine, {}))
                await faulty.held.wait()
                caller.cancel()
                await asyncio.sleep(0)
                raise _Left
        await asyncio.wait([caller])
        assert caller.cancelled()
