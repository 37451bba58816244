"""Input transformers of DISTRIBUTED batches: names, which the workers that have them look up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from statechain import (
    BatchExecutionOptions,
    Engine,
    ExecutionFilter,
    InputTransformerError,
)
from statechain.records.batches import BatchStatus
from support.chaining.shared_batches import SHARED, Calls, sources, target

EngineFactory = Callable[..., Engine]


async def test_functions_are_refused(engine_factory: EngineFactory) -> None:
    async with engine_factory(tasks=Calls().tasks) as engine:
        machine = await target(engine)
        with pytest.raises(ValueError, match=r"input_transformer.*register .*@tasks\.transformer"):
            machine.stream_batch(ExecutionFilter(), options=SHARED, input_transformer=lambda value: value)


async def test_a_transformer_is_named_and_a_worker_without_it_leaves_the_batch(engine_factory: EngineFactory) -> None:
    without, having = Calls(), Calls()

    @having.tasks.transformer
    async def hundredfold(value: int) -> int:
        return value * 100

    async with engine_factory(tasks=without.tasks) as other, engine_factory(role="client") as client:
        found = await sources(client, 5)
        machine = await target(client)
        handle = await machine.start_batch(found, options=SHARED, input_transformer="hundredfold")
        await asyncio.sleep(1.2)
        assert list(await other.repository.shards(handle.id)) == []
        async with engine_factory(tasks=having.tasks):
            results = [result async for result in handle.results()]
            assert (await handle.wait()).status is BatchStatus.SUCCEEDED
    assert sorted(result.output for result in results) == [200 * number for number in range(5)]
    assert without.inputs == []


async def test_a_transformer_that_raises_fails_its_item(engine_factory: EngineFactory) -> None:
    calls = Calls()

    @calls.tasks.transformer("Odd")
    def odd(value: int) -> int:
        if value % 2 == 0:
            raise ValueError(f"{value} is even")
        return value

    async with engine_factory(tasks=calls.tasks) as engine:
        found = await sources(engine, 4)
        results = await (await target(engine)).execute_batch(found, options=SHARED, input_transformer="Odd")
    assert [type(result.error) for result in results] == [InputTransformerError, type(None)] * 2
    assert "2 is even" in str(results[2].error)
    assert sorted(calls.inputs) == [1, 3]


async def test_a_name_that_is_not_registered_is_refused(engine_factory: EngineFactory) -> None:
    async with engine_factory(tasks=Calls().tasks) as engine:
        machine, found = await target(engine), ExecutionFilter()
        refused = pytest.raises(ValueError, match=r"no input_transformer is registered under the name 'Absent'")
        with refused:
            await machine.start_batch(found, input_transformer="Absent")
        for mode in ("INLINE", "DISTRIBUTED"):
            with refused:
                machine.stream_batch(found, options=BatchExecutionOptions(mode=mode), input_transformer="Absent")
        with refused:
            await engine.start_batch(machine, found, input_transformer="Absent")
