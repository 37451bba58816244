"""A batch: one execution for each source that matched, each once, in order, whatever fails or is in the way."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from workshop import Workshop, numbers, statuses

from statechain import (
    BatchExecutionOptions,
    BatchStatus,
    BatchStopped,
    Chained,
    ExecutionFailed,
    ExecutionFilter,
    ExecutionNotFound,
    ExecutionStatus,
    InputTransformerError,
    Source,
    SourceStateNotFound,
)

RUNNING, SUCCEEDED, FAILED, ABORTED = (
    ExecutionStatus.RUNNING,
    ExecutionStatus.SUCCEEDED,
    ExecutionStatus.FAILED,
    ExecutionStatus.ABORTED,
)


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
        for _ in range(200):
            if workshop.work.running >= min(concurrency, 12):
                break
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


# Unchained


@pytest.mark.parametrize("how", ["machine", "id", "chained"])
async def test_what_was_chained_to_the_target_is_left_out(workshop: Workshop, how: str) -> None:
    await workshop.finish(*range(3))
    target = {"machine": workshop.targets, "id": workshop.targets.id, "chained": Chained(to=workshop.targets)}[how]
    await workshop.targets.execute_batch(workshop.select(limit=2))
    left = workshop.select(unchained_to=target)
    assert [execution.name for execution in await workshop.engine.list_executions(left)] == ["source-2"]
    assert numbers(await workshop.targets.execute_batch(left)) == [2]
    assert await workshop.targets.execute_batch(left) == []


async def test_another_target_another_state_and_a_failed_chain_do_not_count(workshop: Workshop) -> None:
    await workshop.finish(0)
    echo = {"StartAt": "Echo", "States": {"Echo": {"Type": "Pass", "End": True}}}
    other = await workshop.engine.create_state_machine("other", echo)
    await other.execute_batch(workshop.select())
    await workshop.targets.execute_batch(workshop.select(), "Prepare")
    workshop.work.fails = {0}
    await workshop.targets.execute_batch(workshop.select())
    left = workshop.select(unchained_to=Chained(to=workshop.targets))
    assert await workshop.engine.count_executions(left) == 1
    by_state = workshop.select(unchained_to=Chained(to=workshop.targets, source_state_name="Prepare"))
    assert await workshop.engine.count_executions(by_state) == 0
    workshop.work.fails = set()
    assert statuses(await workshop.targets.execute_batch(left)) == [SUCCEEDED]
    assert await workshop.engine.count_executions(left) == 0


async def test_a_chain_that_runs_counts(workshop: Workshop) -> None:
    (source,) = await workshop.finish(0)
    workshop.work.does = workshop.work.hang
    running = await workshop.targets.start_execution(source=source)
    left = workshop.select(unchained_to=workshop.targets)
    assert await workshop.engine.count_executions(left) == 0
    await running.stop()
    assert await workshop.engine.count_executions(left) == 1


async def test_two_equal_batches_at_once_chain_each_source_once(workshop: Workshop) -> None:
    await workshop.finish(*range(8))
    both = await asyncio.gather(
        *(workshop.batch(name_prefix="invoice", concurrent_batches=3) for _ in range(2)),
    )
    assert [numbers(results) for results in both] == [list(range(8))] * 2
    assert sorted(workshop.work.begun) == list(range(8))
    assert len(await workshop.made()) == 8


async def test_two_batches_at_once_of_what_is_unchained_chain_each_source_once(workshop: Workshop) -> None:
    await workshop.finish(*range(8))
    left = workshop.select(unchained_to=workshop.targets)
    options = [BatchExecutionOptions(name_prefix=prefix, concurrent_batches=3) for prefix in ("one", "other")]
    both = await asyncio.gather(*(workshop.targets.execute_batch(left, options=each) for each in options))
    assert sorted(workshop.work.begun) == list(range(8))
    for results in both:
        assert numbers(results) == list(range(8))
        assert statuses(results) == [SUCCEEDED] * 8


# Callbacks


class Told:
    """Callbacks that remember what they were told."""

    def __init__(self) -> None:
        self.facts: list[tuple[Any, ...]] = []

    def start(self, source: str, index: int) -> None:
        self.facts.append(("start", source, index))

    def complete(self, source: str, index: int, error: Exception | None) -> None:
        self.facts.append(("complete", source, index, error))

    async def start_slowly(self, source: str, index: int) -> None:
        await asyncio.sleep(0.001)
        self.start(source, index)

    async def complete_slowly(self, source: str, index: int, error: Exception | None) -> None:
        await asyncio.sleep(0.001)
        self.complete(source, index, error)

    def check(self, count: int) -> None:
        """Assert that each of so many items was begun and completed exactly once, in this order."""
        for kind in ("start", "complete"):
            assert sorted(fact[2] for fact in self.facts if fact[0] == kind) == list(range(count))
        for index in range(count):
            assert [fact[0] for fact in self.facts if fact[2] == index] == ["start", "complete"]


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("slowly", [False, True])
async def test_callbacks_are_told_once_each_complete_after_start(
    workshop: Workshop, concurrency: int, slowly: bool
) -> None:
    sources = await workshop.finish(*range(6))
    workshop.work.fails = {2}
    told = Told()
    results = await workshop.batch(
        concurrent_batches=concurrency,
        on_execution_start=told.start_slowly if slowly else told.start,
        on_execution_complete=told.complete_slowly if slowly else told.complete,
    )
    told.check(6)
    assert all(fact[1] == sources[fact[2]].id for fact in told.facts)
    errors = {fact[2]: fact[3] for fact in told.facts if fact[0] == "complete"}
    assert errors == {result.index: result.error for result in results}
    assert isinstance(errors[2], ExecutionFailed)


async def test_callbacks_are_told_of_a_source_that_could_not_be_started(workshop: Workshop) -> None:
    await workshop.finish(0, 1)
    told = Told()
    options = BatchExecutionOptions(on_execution_start=told.start, on_execution_complete=told.complete)
    await workshop.targets.execute_batch(workshop.select(), "Nowhere", options=options)
    told.check(2)
    assert [type(fact[3]) for fact in told.facts if fact[0] == "complete"] == [SourceStateNotFound] * 2


class Unwelcome(Exception):
    """What a callback raises."""


@pytest.mark.parametrize("slowly", [False, True])
@pytest.mark.parametrize("which", ["on_execution_start", "on_execution_complete"])
async def test_a_callback_that_raises_stops_the_batch_and_propagates(
    workshop: Workshop, which: str, slowly: bool
) -> None:
    await workshop.finish(*range(6))

    def refuse(_source: str, index: int, _error: Exception | None = None) -> None:
        if index == 3:
            raise Unwelcome(index)

    async def refuse_slowly(source: str, index: int, error: Exception | None = None) -> None:
        await asyncio.sleep(0.001)
        refuse(source, index, error)

    async def hang_unless_three(value: dict[str, Any]) -> None:
        if value["n"] != 3:
            await asyncio.Event().wait()

    workshop.work.does = hang_unless_three
    async with asyncio.timeout(30):
        with pytest.raises(Unwelcome, match="3"):
            await workshop.batch(concurrent_batches=4, **{which: refuse_slowly if slowly else refuse})
    assert await workshop.made(RUNNING) == []
    by_number = {execution.input["n"]: execution.status for execution in await workshop.made()}  # type: ignore[index, call-overload]
    assert by_number.pop(3, SUCCEEDED) is SUCCEEDED
    assert set(by_number.values()) <= {ABORTED}
    assert not {4, 5} & set(by_number)
    (batch,) = await workshop.engine.list_batches()
    assert batch.status is BatchStatus.ABORTED


# Stopping


async def test_the_first_failure_stops_the_batch(workshop: Workshop) -> None:
    await workshop.finish(*range(8))
    workshop.work.fails = {2}

    async def hang_after_two(value: dict[str, Any]) -> Any:
        if value["n"] > 2:
            await asyncio.Event().wait()
        while value["n"] == 2 and 4 not in workshop.work.begun:  # noqa: ASYNC110 -- until its siblings are at work
            await asyncio.sleep(0.001)
        return await workshop.work.answer(value)

    workshop.work.does = hang_after_two
    told = Told()
    with pytest.raises(BatchStopped) as stopped:
        await workshop.batch(
            stop_on_error=True,
            concurrent_batches=3,
            on_execution_start=told.start,
            on_execution_complete=told.complete,
        )
    results = stopped.value.results
    assert [result.index for result in results] == list(range(len(results)))
    assert statuses(results[:3]) == [SUCCEEDED, SUCCEEDED, FAILED]
    assert set(statuses(results[3:])) == {ABORTED}
    assert len(results) == 5
    assert stopped.value.__cause__ is results[2].error
    assert isinstance(stopped.value.__cause__, ExecutionFailed)
    told.check(5)
    assert [str(execution.status) for execution in await workshop.made()] == statuses(results)
    (batch,) = await workshop.engine.list_batches()
    assert batch.status is BatchStatus.FAILED
    assert (batch.item_counts.pending, batch.item_counts.aborted, batch.item_counts.failed) == (3, 2, 1)


async def test_a_transformer_that_raises_is_a_failure_to_stop_at(workshop: Workshop) -> None:
    await workshop.finish(*range(3))

    def refuse(output: Any) -> Any:
        raise Unwelcome(output["n"])

    with pytest.raises(BatchStopped) as stopped:
        await workshop.targets.execute_batch(
            workshop.select(), options=BatchExecutionOptions(stop_on_error=True), input_transformer=refuse
        )
    assert isinstance(stopped.value.__cause__, InputTransformerError)
    assert [result.index for result in stopped.value.results] == [0]
    assert workshop.work.begun == []


@pytest.mark.parametrize(
    ("tolerance", "failing", "ended"),
    [
        ({"tolerated_failure_count": 0}, {0}, 1),
        ({"tolerated_failure_count": 2}, {1, 3, 5}, 6),
        ({"tolerated_failure_count": 2}, {1, 3}, None),
        ({"tolerated_failure_percentage": 20}, {1, 3}, None),
        ({"tolerated_failure_percentage": 20}, {1, 3, 4}, 5),
        ({"tolerated_failure_percentage": 100}, set(range(10)), None),
        ({"tolerated_failure_percentage": 0}, {7}, 8),
        ({"tolerated_failure_percentage": 50, "tolerated_failure_count": 1}, {2, 6}, 7),
        ({"tolerated_failure_percentage": 10, "tolerated_failure_count": 5}, {2, 6}, 7),
        ({"stop_on_error": True, "tolerated_failure_count": 5}, {4}, 5),
        ({}, set(range(10)), None),
    ],
)
async def test_tolerances_are_those_of_the_map_state(
    workshop: Workshop, tolerance: dict[str, Any], failing: set[int], ended: int | None
) -> None:
    await workshop.finish(*range(10))
    workshop.work.fails = failing
    if ended is None:
        results = await workshop.batch(**tolerance)
        assert [result.index for result in results if result.error] == sorted(failing)
        assert len(results) == 10
        return
    with pytest.raises(BatchStopped) as stopped:
        await workshop.batch(**tolerance)
    assert [result.index for result in stopped.value.results] == list(range(ended))
    assert [result.index for result in stopped.value.results if result.error] == sorted(failing)


async def test_results_have_an_entry_for_each_source_started_and_none_for_others(workshop: Workshop) -> None:
    await workshop.finish(*range(9))
    started: list[int] = []
    for concurrency, failing in itertools.product([1, 2, 4], [0, 3, 8]):
        workshop.work.fails = {failing}
        started.clear()
        with pytest.raises(BatchStopped) as stopped:
            await workshop.batch(
                stop_on_error=True,
                concurrent_batches=concurrency,
                on_execution_start=lambda _source, index: started.append(index),
            )
        assert [result.index for result in stopped.value.results] == started == list(range(len(started)))
    assert await workshop.made(RUNNING) == []


# Cancelling


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_cancelling_a_batch_leaves_nothing_running(workshop: Workshop, concurrency: int) -> None:
    await workshop.finish(*range(5))
    workshop.work.does = workshop.work.hang
    told = Told()
    batch = asyncio.ensure_future(
        workshop.batch(
            concurrent_batches=concurrency, on_execution_start=told.start, on_execution_complete=told.complete
        )
    )
    while workshop.work.running < concurrency:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    batch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await batch
    assert [execution.status for execution in await workshop.made()] == [ABORTED] * concurrency
    told.check(concurrency)
    (stored,) = await workshop.engine.list_batches()
    assert stored.status is BatchStatus.ABORTED
    assert stored.end_time is not None


async def test_a_batch_can_be_cancelled_at_any_turn(workshop: Workshop) -> None:
    await workshop.finish(*range(3))
    for turns in range(0, 60, 3):
        batch = asyncio.ensure_future(workshop.batch(name_prefix=f"after-{turns}", concurrent_batches=2))
        for _ in range(turns):
            await asyncio.sleep(0)
        batch.cancel()
        await asyncio.wait([batch])
        assert batch.cancelled() or len(batch.result()) == 3
        assert await workshop.made(RUNNING) == []
    for stored in await workshop.engine.list_batches():
        assert stored.status is not BatchStatus.RUNNING


async def test_nothing_matches_and_nothing_happens(workshop: Workshop) -> None:
    nothing = ExecutionFilter(state_machine_id=workshop.targets.id)
    assert await workshop.targets.execute_batch(nothing) == []
    (batch,) = await workshop.engine.list_batches()
    assert (batch.status, batch.item_counts.total) == (BatchStatus.SUCCEEDED, 0)
