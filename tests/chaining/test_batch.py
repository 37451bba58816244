"""A batch: one execution for each source that matched, each once, in order, whatever fails or is in the way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from statechain import (
    BatchExecutionOptions,
    BatchStatus,
    ExecutionFailed,
    ExecutionFilter,
    ExecutionNotFound,
    ExecutionStatus,
    InputTransformerError,
    Source,
    SourceStateNotFound,
)
from workshop import Workshop, numbers, statuses

SUCCEEDED, FAILED = ExecutionStatus.SUCCEEDED, ExecutionStatus.FAILED


# The set


async def test_every_source_that_matches_is_chained_once_in_the_filters_order(workshop: Workshop) -> None:
    sources = await workshop.finish(*range(5))
    results = await workshop.batch(name_prefix="invoice")
    assert [result.index for result in results] == [0, 1, 2, 3, 4]
    assert [result.source_execution_id for result in results] == [source.id for source in sources]
    assert numbers(results) == [0, 1, 2, 3, 4]
    for result in results:
        assert result.error is None
        assert result.execution is not None
        assert result.execution.name == f"invoice-{result.source_execution_id}"
        assert result.execution.source == Source(str(result.source_execution_id))
        assert result.execution.output == {"done": result.index}
    newest = workshop.select(order="newest_first")
    assert numbers(await workshop.targets.execute_batch(newest)) == [4, 3, 2, 1, 0]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"limit": 0}, []),
        ({"limit": 2}, [0, 1]),
        ({"limit": 3, "order": "newest_first"}, [4, 3, 2]),
        ({"offset": 3}, [3, 4]),
        ({"offset": 1, "limit": 2}, [1, 2]),
        ({"offset": 9}, []),
        ({"name": "source-3"}, [3]),
        ({"status": "FAILED"}, []),
    ],
)
async def test_limit_offset_order_and_name_choose_the_set(
    workshop: Workshop, fields: dict[str, Any], expected: list[int]
) -> None:
    await workshop.finish(*range(5))
    options = BatchExecutionOptions(page_size=2)
    results = await workshop.targets.execute_batch(workshop.select(**fields), options=options)
    assert numbers(results) == expected
    assert [result.index for result in results] == list(range(len(expected)))


@pytest.mark.parametrize("page_size", [1, 2, 3, 100])
async def test_what_comes_while_the_batch_runs_is_not_in_it(workshop: Workshop, page_size: int) -> None:
    await workshop.finish(*range(6))

    async def finish_another(value: dict[str, Any]) -> Any:
        await workshop.finish(100 + value["n"])
        return await workshop.work.answer(value)

    workshop.work.does = finish_another
    assert numbers(await workshop.batch(page_size=page_size, concurrent_batches=2)) == list(range(6))
    assert await workshop.engine.count_executions(workshop.select()) == 12


async def test_a_batch_over_its_own_machine_does_not_feed_itself(workshop: Workshop) -> None:
    await workshop.finish(*range(4))
    own = workshop.select()
    results = await workshop.sources.execute_batch(own, options=BatchExecutionOptions(page_size=1))
    assert numbers(results) == [0, 1, 2, 3]
    assert await workshop.engine.count_executions(own) == 8


async def test_a_source_that_is_deleted_meanwhile_is_a_result_with_an_error(workshop: Workshop) -> None:
    sources = await workshop.finish(*range(4))
    doomed = sources[2]

    async def delete(value: dict[str, Any]) -> Any:
        if value["n"] == 0:
            assert await workshop.engine.delete_executions(workshop.select(name=doomed.name)) == 1
        return await workshop.work.answer(value)

    workshop.work.does = delete
    results = await workshop.batch(page_size=1)
    assert [result.index for result in results] == [0, 1, 2, 3]
    assert [result.source_execution_id for result in results] == [source.id for source in sources]
    assert [type(result.error) for result in results] == [type(None), type(None), ExecutionNotFound, type(None)]
    assert results[2].execution is None


async def test_the_output_of_a_named_state_and_a_transformer_apply_to_every_source(workshop: Workshop) -> None:
    sources = await workshop.finish(1, 2)

    async def double(output: Any) -> Any:
        await asyncio.sleep(0)
        return {"n": output["n"] * 2, "from": output["step"]}

    results = await workshop.targets.execute_batch(workshop.select(), "Prepare", input_transformer=double)
    assert [result.execution and result.execution.input for result in results] == [
        {"n": 2, "from": "prepared"},
        {"n": 4, "from": "prepared"},
    ]
    assert [result.execution and result.execution.source for result in results] == [
        Source(source.id, "Prepare") for source in sources
    ]


async def test_what_is_wrong_with_one_source_is_its_result_alone(workshop: Workshop) -> None:
    await workshop.finish(0, 1, 2)

    def pick(output: Any) -> Any:
        return output if output["n"] != 1 else output["missing"]

    results = await workshop.targets.execute_batch(workshop.select(), input_transformer=pick)
    assert [type(result.error) for result in results] == [type(None), InputTransformerError, type(None)]
    assert isinstance(results[1].error.__cause__, KeyError)  # type: ignore[union-attr]
    assert results[1].execution is None
    results = await workshop.targets.execute_batch(workshop.select(), "Nowhere")
    assert [type(result.error) for result in results] == [SourceStateNotFound] * 3


async def test_nothing_matches_and_nothing_happens(workshop: Workshop) -> None:
    nothing = ExecutionFilter(state_machine_id=workshop.targets.id)
    assert await workshop.targets.execute_batch(nothing) == []
    (batch,) = await workshop.engine.list_batches()
    assert (batch.status, batch.item_counts.total) == (BatchStatus.SUCCEEDED, 0)


# Order and concurrency


@pytest.mark.parametrize("concurrency", [0, 1])
async def test_sequential_is_one_after_the_other_in_order(workshop: Workshop, concurrency: int) -> None:
    await workshop.finish(*range(6))
    ended: list[int] = []

    async def sleep_less_and_less(value: dict[str, Any]) -> None:
        await asyncio.sleep(0.006 - 0.001 * value["n"])
        ended.append(value["n"])

    workshop.work.does = sleep_less_and_less
    async with asyncio.timeout(30):
        assert len(await workshop.batch(concurrent_batches=concurrency)) == 6
    assert workshop.work.begun == ended == [0, 1, 2, 3, 4, 5]
    assert workshop.work.peak == 1


@pytest.mark.parametrize("concurrency", [2, 5, 50])
async def test_at_most_so_many_run_at_once_started_in_order(workshop: Workshop, concurrency: int) -> None:
    await workshop.finish(*range(12))
    started: list[int] = []

    async def hold_until_full(_value: dict[str, Any]) -> None:
        while workshop.work.peak < min(concurrency, 12):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.002)

    workshop.work.does = hold_until_full
    options = {"concurrent_batches": concurrency, "page_size": 3}
    results = await workshop.batch(on_execution_start=lambda _source, index: started.append(index), **options)
    assert numbers(results) == list(range(12))
    assert started == list(range(12))
    assert workshop.work.peak == min(concurrency, 12)


@pytest.mark.parametrize(
    "wrong",
    [
        {"concurrent_batches": -1},
        {"concurrent_batches": 1.5},
        {"concurrent_batches": True},
        {"page_size": 0},
        {"tolerated_failure_count": -1},
        {"tolerated_failure_percentage": 101},
        {"tolerated_failure_percentage": -0.5},
        {"name_prefix": ""},
        {"name_prefix": "a\x00b"},
    ],
)
def test_options_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        BatchExecutionOptions(**wrong)


# Again


async def test_the_same_batch_again_runs_nothing_twice(workshop: Workshop) -> None:
    await workshop.finish(*range(4))
    first = await workshop.batch(name_prefix="invoice")
    again = await workshop.batch(name_prefix="invoice")
    assert [result.execution for result in again] == [result.execution for result in first]
    assert workshop.work.begun == [0, 1, 2, 3]
    await workshop.finish(4)
    assert numbers(await workshop.batch(name_prefix="invoice")) == [0, 1, 2, 3, 4]
    assert workshop.work.begun == [0, 1, 2, 3, 4]


async def test_without_a_prefix_a_batch_is_a_new_one(workshop: Workshop) -> None:
    await workshop.finish(0, 1)
    names = [result.execution.name for _ in range(3) for result in await workshop.batch() if result.execution]
    assert len(set(names)) == 6


async def test_failures_are_returned_as_they_ended_or_redriven_when_asked(workshop: Workshop) -> None:
    await workshop.finish(*range(3))
    workshop.work.fails = {1}
    first = await workshop.batch(name_prefix="invoice")
    assert statuses(first) == [SUCCEEDED, FAILED, SUCCEEDED]
    assert isinstance(first[1].error, ExecutionFailed)
    assert (first[1].error.error, first[1].error.cause) == ("ValueError", "1 is refused")
    workshop.work.fails = set()
    again = await workshop.batch(name_prefix="invoice")
    assert statuses(again) == [SUCCEEDED, FAILED, SUCCEEDED]
    assert workshop.work.begun == [0, 1, 2]
    redriven = await workshop.batch(name_prefix="invoice", redrive_failed=True)
    assert statuses(redriven) == [SUCCEEDED] * 3
    assert workshop.work.begun == [0, 1, 2, 1]
    assert redriven[1].execution is not None
    assert first[1].execution is not None
    assert (redriven[1].execution.id, redriven[1].execution.redrive_count) == (first[1].execution.id, 1)


async def test_two_that_redrive_what_failed_at_once_run_it_once(workshop: Workshop) -> None:
    await workshop.finish(*range(4))
    workshop.work.fails = set(range(4))
    await workshop.batch(name_prefix="invoice", concurrent_batches=4)
    workshop.work.fails = set()
    workshop.work.begun.clear()
    again = {"name_prefix": "invoice", "concurrent_batches": 4, "redrive_failed": True}
    both = await asyncio.gather(*(workshop.batch(**again) for _ in range(2)))
    assert [statuses(results) for results in both] == [[SUCCEEDED] * 4] * 2
    assert sorted(workshop.work.begun) == list(range(4))
