"""A batch: one execution for each source that matched, once, in order, also where items fail or names are taken."""

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
    InputTransformerError,
    InvalidArgument,
    Source,
    SourceStateNotFound,
)
from support.chaining.harness import ChainingHarness, numbers, statuses
from support.statuses import FAILED, SUCCEEDED

# The set


async def test_every_source_that_matches_is_chained_once_in_the_filters_order(chaining: ChainingHarness) -> None:
    sources = await chaining.finish(*range(5))
    results = await chaining.batch(name_prefix="invoice")
    assert [result.index for result in results] == [0, 1, 2, 3, 4]
    assert [result.source_execution_id for result in results] == [source.id for source in sources]
    assert numbers(results) == [0, 1, 2, 3, 4]
    for result in results:
        assert result.error is None
        assert result.execution is not None
        assert result.execution.name == f"invoice-{result.source_execution_id}"
        assert result.execution.source == Source(str(result.source_execution_id))
        assert result.execution.output == {"done": result.index}
    newest = chaining.select(order="newest_first")
    assert numbers(await chaining.targets.execute_batch(newest)) == [4, 3, 2, 1, 0]


async def test_results_of_a_batch_are_found_by_a_status_or_several(chaining: ChainingHarness) -> None:
    await chaining.finish(0)
    await chaining.batch()
    (batch,) = await chaining.engine.list_batches()
    for status in ("SUCCEEDED", SUCCEEDED, ["SUCCEEDED", "FAILED"], None):
        assert len(await chaining.engine.list_batch_results(batch.id, status=status)) == 1
    assert await chaining.engine.list_batch_results(batch.id, status="FAILED") == []
    with pytest.raises(ValueError, match="the statuses are RUNNING, SUCCEEDED, FAILED"):
        await chaining.engine.list_batch_results(batch.id, status="failed")


async def test_a_states_name_that_is_empty_chains_the_final_output(chaining: ChainingHarness) -> None:
    (source,) = await chaining.finish(0)
    for mode in ("INLINE", "DISTRIBUTED"):
        options = BatchExecutionOptions(mode=mode)
        (result,) = await chaining.targets.execute_batch(chaining.select(), "", options=options)
        assert result.error is None
        assert result.execution is not None
        assert result.execution.input == source.output
        assert result.execution.source == Source(source.id)


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
    chaining: ChainingHarness, fields: dict[str, Any], expected: list[int]
) -> None:
    await chaining.finish(*range(5))
    options = BatchExecutionOptions(page_size=2)
    results = await chaining.targets.execute_batch(chaining.select(**fields), options=options)
    assert numbers(results) == expected
    assert [result.index for result in results] == list(range(len(expected)))


@pytest.mark.parametrize("page_size", [1, 2, 3, 100])
async def test_what_comes_while_the_batch_runs_is_not_in_it(chaining: ChainingHarness, page_size: int) -> None:
    await chaining.finish(*range(6))

    async def finish_another(value: dict[str, Any]) -> Any:
        await chaining.finish(100 + value["n"])
        return await chaining.work.answer(value)

    chaining.work.does = finish_another
    assert numbers(await chaining.batch(page_size=page_size, concurrent_batches=2)) == list(range(6))
    assert await chaining.engine.count_executions(chaining.select()) == 12


async def test_a_batch_over_its_own_machine_does_not_feed_itself(chaining: ChainingHarness) -> None:
    await chaining.finish(*range(4))
    own = chaining.select()
    results = await chaining.sources.execute_batch(own, options=BatchExecutionOptions(page_size=1))
    assert numbers(results) == [0, 1, 2, 3]
    assert await chaining.engine.count_executions(own) == 8


async def test_a_source_that_is_deleted_meanwhile_is_a_result_with_an_error(chaining: ChainingHarness) -> None:
    sources = await chaining.finish(*range(4))
    doomed = sources[2]

    async def delete(value: dict[str, Any]) -> Any:
        if value["n"] == 0:
            assert await chaining.engine.delete_executions(chaining.select(name=doomed.name)) == 1
        return await chaining.work.answer(value)

    chaining.work.does = delete
    results = await chaining.batch(page_size=1)
    assert [result.index for result in results] == [0, 1, 2, 3]
    assert [result.source_execution_id for result in results] == [source.id for source in sources]
    assert [type(result.error) for result in results] == [type(None), type(None), ExecutionNotFound, type(None)]
    assert results[2].execution is None


async def test_the_output_of_a_named_state_and_a_transformer_apply_to_every_source(chaining: ChainingHarness) -> None:
    sources = await chaining.finish(1, 2)

    async def double(output: Any) -> Any:
        await asyncio.sleep(0)
        return {"n": output["n"] * 2, "from": output["step"]}

    results = await chaining.targets.execute_batch(chaining.select(), "Prepare", input_transformer=double)
    assert [result.execution and result.execution.input for result in results] == [
        {"n": 2, "from": "prepared"},
        {"n": 4, "from": "prepared"},
    ]
    assert [result.execution and result.execution.source for result in results] == [
        Source(source.id, "Prepare") for source in sources
    ]


async def test_what_is_wrong_with_one_source_is_its_result_alone(chaining: ChainingHarness) -> None:
    await chaining.finish(0, 1, 2)

    def pick(output: Any) -> Any:
        return output if output["n"] != 1 else output["missing"]

    results = await chaining.targets.execute_batch(chaining.select(), input_transformer=pick)
    assert [type(result.error) for result in results] == [type(None), InputTransformerError, type(None)]
    assert isinstance(results[1].error.__cause__, KeyError)  # type: ignore[union-attr]
    assert results[1].execution is None
    results = await chaining.targets.execute_batch(chaining.select(), "Nowhere")
    assert [type(result.error) for result in results] == [SourceStateNotFound] * 3


async def test_nothing_matches_and_nothing_happens(chaining: ChainingHarness) -> None:
    nothing = ExecutionFilter(state_machine_id=chaining.targets.id)
    assert await chaining.targets.execute_batch(nothing) == []
    (batch,) = await chaining.engine.list_batches()
    assert (batch.status, batch.item_counts.total) == (BatchStatus.SUCCEEDED, 0)


# Order and concurrency


@pytest.mark.parametrize("concurrency", [0, 1])
async def test_sequential_is_one_after_the_other_in_order(chaining: ChainingHarness, concurrency: int) -> None:
    await chaining.finish(*range(6))
    ended: list[int] = []

    async def sleep_less_and_less(value: dict[str, Any]) -> None:
        await asyncio.sleep(0.006 - 0.001 * value["n"])
        ended.append(value["n"])

    chaining.work.does = sleep_less_and_less
    async with asyncio.timeout(30):
        assert len(await chaining.batch(concurrent_batches=concurrency)) == 6
    assert chaining.work.begun == ended == [0, 1, 2, 3, 4, 5]
    assert chaining.work.peak == 1


@pytest.mark.parametrize("concurrency", [2, 5, 50])
async def test_at_most_so_many_run_at_once_started_in_order(chaining: ChainingHarness, concurrency: int) -> None:
    await chaining.finish(*range(12))
    started: list[int] = []

    async def hold_until_full(_value: dict[str, Any]) -> None:
        while chaining.work.peak < min(concurrency, 12):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.002)

    chaining.work.does = hold_until_full
    options = {"concurrent_batches": concurrency, "page_size": 3}
    results = await chaining.batch(on_execution_start=lambda _source, index: started.append(index), **options)
    assert numbers(results) == list(range(12))
    assert started == list(range(12))
    assert chaining.work.peak == min(concurrency, 12)


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
        {"tolerated_failure_percentage": True},
        {"tolerated_failure_percentage": "5"},
        {"name_prefix": ""},
        {"name_prefix": "a\x00b"},
    ],
)
def test_options_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        BatchExecutionOptions(**wrong)


# Again


async def test_the_same_batch_again_runs_nothing_twice(chaining: ChainingHarness) -> None:
    await chaining.finish(*range(4))
    first = await chaining.batch(name_prefix="invoice")
    again = await chaining.batch(name_prefix="invoice")
    assert [result.execution for result in again] == [result.execution for result in first]
    assert chaining.work.begun == [0, 1, 2, 3]
    await chaining.finish(4)
    assert numbers(await chaining.batch(name_prefix="invoice")) == [0, 1, 2, 3, 4]
    assert chaining.work.begun == [0, 1, 2, 3, 4]


async def test_without_a_prefix_a_batch_is_a_new_one(chaining: ChainingHarness) -> None:
    await chaining.finish(0, 1)
    names = [result.execution.name for _ in range(3) for result in await chaining.batch() if result.execution]
    assert len(set(names)) == 6


async def test_failures_are_returned_as_they_ended_or_redriven_when_asked(chaining: ChainingHarness) -> None:
    await chaining.finish(*range(3))
    chaining.work.fails = {1}
    first = await chaining.batch(name_prefix="invoice")
    assert statuses(first) == [SUCCEEDED, FAILED, SUCCEEDED]
    assert isinstance(first[1].error, ExecutionFailed)
    assert (first[1].error.error, first[1].error.cause) == ("ValueError", "1 is refused")
    assert isinstance(first[1].error.__cause__, ValueError)
    chaining.work.fails = set()
    again = await chaining.batch(name_prefix="invoice")
    assert statuses(again) == [SUCCEEDED, FAILED, SUCCEEDED]
    assert chaining.work.begun == [0, 1, 2]
    redriven = await chaining.batch(name_prefix="invoice", redrive_failed=True)
    assert statuses(redriven) == [SUCCEEDED] * 3
    assert chaining.work.begun == [0, 1, 2, 1]
    assert redriven[1].execution is not None
    assert first[1].execution is not None
    assert (redriven[1].execution.id, redriven[1].execution.redrive_count) == (first[1].execution.id, 1)


async def test_two_that_redrive_what_failed_at_once_run_it_once(chaining: ChainingHarness) -> None:
    await chaining.finish(*range(4))
    chaining.work.fails = set(range(4))
    await chaining.batch(name_prefix="invoice", concurrent_batches=4)
    chaining.work.fails = set()
    chaining.work.begun.clear()
    again = {"name_prefix": "invoice", "concurrent_batches": 4, "redrive_failed": True}
    both = await asyncio.gather(*(chaining.batch(**again) for _ in range(2)))
    assert [statuses(results) for results in both] == [[SUCCEEDED] * 4] * 2
    assert sorted(chaining.work.begun) == list(range(4))


@pytest.mark.parametrize("key", ["", "k" * 81, 7])
async def test_what_a_key_function_returns_must_be_a_key(chaining: ChainingHarness, key: Any) -> None:
    await chaining.finish(0)
    with pytest.raises(InvalidArgument, match="what key returns"):
        await chaining.batch(key=lambda _input: key)
    assert await chaining.made() == []
