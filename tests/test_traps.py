"""Each fault that systems of this kind have been seen to have is shown here to be absent, by its name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from statechain import (
    BatchExecutionOptions,
    BatchStopped,
    Chained,
    DefinitionError,
    Engine,
    ExecutionFailed,
    ExecutionFilter,
    ExecutionStatus,
    RepositoryError,
    TaskRegistry,
    open_repository,
)
from statechain.records import new_id
from workshop import Workshop, numbers, open_workshop, statuses

RUNNING, SUCCEEDED, FAILED, ABORTED = (
    ExecutionStatus.RUNNING,
    ExecutionStatus.SUCCEEDED,
    ExecutionStatus.FAILED,
    ExecutionStatus.ABORTED,
)


@pytest.fixture
async def workshop(repository_url: str) -> AsyncIterator[Workshop]:
    async with open_workshop(repository_url) as opened:
        yield opened


def single(state: dict[str, Any]) -> dict[str, Any]:
    """Return a machine of one state."""
    return {"StartAt": "Only", "States": {"Only": state}}


async def at_work(workshop: Workshop, count: int) -> None:
    async with asyncio.timeout(30):
        while workshop.work.running < count:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


# Batches


async def test_concurrency_0_hung(workshop: Workshop) -> None:
    await workshop.finish(0, 1, 2)
    async with asyncio.timeout(30):
        assert numbers(await workshop.batch(concurrent_batches=0)) == [0, 1, 2]


def test_a_negative_concurrency_crashed() -> None:
    with pytest.raises(ValueError, match="concurrent_batches"):
        BatchExecutionOptions(concurrent_batches=-1)


async def test_concurrency_1_ran_out_of_order(workshop: Workshop) -> None:
    await workshop.finish(*range(8))

    async def later_is_faster(value: dict[str, Any]) -> None:
        await asyncio.sleep(0.004 - 0.0005 * value["n"])

    workshop.work.does = later_is_faster
    await workshop.batch(concurrent_batches=1)
    assert workshop.work.begun == list(range(8))
    assert workshop.work.peak == 1


async def test_results_had_holes_after_a_stop(workshop: Workshop) -> None:
    await workshop.finish(*range(6))
    workshop.work.fails = {3}
    with pytest.raises(BatchStopped) as stopped:
        await workshop.batch(concurrent_batches=4, stop_on_error=True)
    results = stopped.value.results
    assert None not in results
    assert [result.index for result in results] == list(range(len(results)))
    assert 4 <= len(results) <= 6


async def test_siblings_ran_on_after_a_stop(workshop: Workshop) -> None:
    await workshop.finish(*range(3))

    async def first_fails(value: dict[str, Any]) -> None:
        if value["n"] == 0:
            await at_work(workshop, 3)
            raise ValueError(value)
        await workshop.work.hang(value)

    workshop.work.does = first_fails
    with pytest.raises(BatchStopped) as stopped:
        await workshop.batch(concurrent_batches=3, stop_on_error=True)
    assert statuses(stopped.value.results) == [FAILED, ABORTED, ABORTED]
    assert workshop.work.running == 0


async def test_a_cancelled_execution_stayed_running_for_its_last_write_used_the_cancelled_scope(
    workshop: Workshop,
) -> None:
    workshop.work.does = workshop.work.hang
    running = asyncio.ensure_future(workshop.targets.execute({"n": 0}))
    await at_work(workshop, 1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    (execution,) = await workshop.made()
    assert execution.status is ABORTED
    assert execution.end_time is not None


async def test_a_second_run_with_the_same_prefix_failed_every_item_quietly(workshop: Workshop) -> None:
    await workshop.finish(0, 1)
    first = await workshop.batch(name_prefix="nightly")
    second = await workshop.batch(name_prefix="nightly")
    assert [result.error for result in second] == [None, None]
    assert [result.execution for result in second] == [result.execution for result in first]


async def test_already_chained_ignored_the_target(workshop: Workshop) -> None:
    await workshop.finish(0)
    other = await workshop.engine.create_state_machine("other", single({"Type": "Pass", "End": True}))
    await other.execute_batch(workshop.select())
    assert await workshop.engine.count_executions(workshop.select(unchained_to=other)) == 0
    assert await workshop.engine.count_executions(workshop.select(unchained_to=workshop.targets)) == 1


async def test_already_chained_counted_failed_chains(workshop: Workshop) -> None:
    await workshop.finish(0)
    workshop.work.fails = {0}
    assert statuses(await workshop.batch()) == [FAILED]
    left = workshop.select(unchained_to=Chained(to=workshop.targets))
    assert await workshop.engine.count_executions(left) == 1


@pytest.mark.parametrize("prefixes", [("same", "same"), ("one", "other")])
async def test_two_batches_at_once_chained_a_source_twice(workshop: Workshop, prefixes: tuple[str, str]) -> None:
    await workshop.finish(*range(6))
    left = workshop.select(unchained_to=workshop.targets)
    options = [BatchExecutionOptions(name_prefix=prefix, concurrent_batches=2) for prefix in prefixes]
    await asyncio.gather(*(workshop.targets.execute_batch(left, options=each) for each in options))
    assert sorted(workshop.work.begun) == list(range(6))
    assert len(await workshop.made()) == 6


async def test_offset_pages_skipped_rows_as_those_before_left_the_set(workshop: Workshop) -> None:
    """Each chain takes its source out of the filter: pages by offset would skip every other page."""
    await workshop.finish(*range(10))
    left = workshop.select(unchained_to=workshop.targets)
    results = await workshop.targets.execute_batch(left, options=BatchExecutionOptions(page_size=2))
    assert numbers(results) == list(range(10))


# The language


async def test_an_unknown_resource_echoed_its_input_as_success(workshop: Workshop) -> None:
    definition = single({"Type": "Task", "Resource": "Nobody", "End": True})
    with pytest.raises(DefinitionError, match="Nobody"):
        await workshop.engine.create_state_machine("echo", definition)
    async with Engine(workshop.engine.repository) as engine:  # one that was given no handlers at all
        machine = await engine.create_state_machine("echo", definition)
        with pytest.raises(ExecutionFailed, match="Nobody") as failed:
            await machine.execute({"an": "input"})
    assert failed.value.error == "States.TaskFailed"
    assert failed.value.execution.output is None


async def test_a_fail_state_ended_succeeded(workshop: Workshop) -> None:
    fail = {"Type": "Fail", "Error": "Order.Refused", "Cause": "no stock"}
    machine = await workshop.engine.create_state_machine("fail", single(fail))
    ended = await (await machine.start_execution({})).wait()
    assert (ended.status, ended.error, ended.cause) == (FAILED, "Order.Refused", "no stock")
    assert ended.output is None


@pytest.mark.parametrize("output", [[], [1, 2], [[]], [{"a": 1}], "text", 0, False, None, {"list": [1]}])
async def test_a_list_as_output_came_back_as_an_object(repository_url: str, output: Any) -> None:
    tasks = TaskRegistry()
    tasks.add("Make", lambda _input: output)
    async with Engine(repository_url, tasks=tasks) as engine:
        machine = await engine.create_state_machine(
            "machine", single({"Type": "Task", "Resource": "Make", "End": True})
        )
        made = await machine.execute()
        stored = await engine.get_execution(made.id)
    for execution in (made, stored):
        assert execution.output == output
        assert type(execution.output) is type(output)


# Filters


@pytest.mark.parametrize("part", ["%", "_", "\\", "50%", "a_c", "\\%", "'", "--"])
async def test_filters_treated_percent_and_underscore_as_wildcards(workshop: Workshop, part: str) -> None:
    for name in ("plain", f"with {part} in it", "abc 500 axc"):
        await workshop.sources.execute({"n": 0}, name=name)
    found = await workshop.engine.list_executions(workshop.select(name=part))
    assert [execution.name for execution in found] == [f"with {part} in it"]


async def test_filters_took_upper_for_lower_case(workshop: Workshop) -> None:
    for name in ("Order", "order", "ÖRDER", "örder"):
        await workshop.sources.execute({"n": 0}, name=name)
    for name in ("Order", "order", "ÖRDER", "örder"):
        found = await workshop.engine.list_executions(workshop.select(name=name))
        assert [execution.name for execution in found] == [name]


@pytest.mark.parametrize("order", ["newest_first", "oldest_first"])
async def test_offset_pages_repeated_and_skipped_rows_while_others_were_inserted(
    workshop: Workshop, order: str
) -> None:
    sources = [source.id for source in await workshop.finish(*range(9))]
    seen: list[str] = []
    pages = workshop.engine.iterate_executions(workshop.select(order=order), page_size=2)
    async for execution in pages:
        seen.append(execution.id)
        await workshop.finish(100 + len(seen))
        if len(seen) > 30:
            break
    expected = sources if order == "oldest_first" else sources[::-1]
    assert seen[:9] == expected
    assert len(set(seen)) == len(seen)
    if order == "newest_first":
        assert len(seen) == 9


# Faults of others


class Spoiled(Exception):
    """What user code raises."""


async def test_a_raising_callback_or_transformer_took_the_process_down(workshop: Workshop) -> None:
    await workshop.finish(0, 1)

    def spoil(*_facts: Any) -> Any:
        raise Spoiled

    for name in ("on_execution_start", "on_execution_complete"):
        with pytest.raises(Spoiled):
            await workshop.batch(**{name: spoil})
    results = await workshop.targets.execute_batch(workshop.select(), input_transformer=spoil)
    assert [type(result.error.__cause__) for result in results if result.error] == [Spoiled, Spoiled]
    assert statuses(await workshop.batch()) == [SUCCEEDED, SUCCEEDED]


async def test_persistence_errors_were_printed_and_ignored(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_repository("memory://") as repository, open_workshop(repository) as workshop:
        commit = repository.commit

        async def refuse(_writes: Sequence[Any]) -> Sequence[Any]:
            raise RepositoryError("the disk is full") from OSError(28, "No space left on device")

        async def break_the_disk(_value: dict[str, Any]) -> str:
            repository.commit = refuse  # type: ignore[method-assign, assignment]
            return "a result that cannot be kept"

        workshop.work.does = break_the_disk
        with pytest.raises(RepositoryError, match="the disk is full") as raised:
            await workshop.targets.execute({"n": 0})
        assert isinstance(raised.value.__cause__, OSError)
        repository.commit = commit  # type: ignore[method-assign]
        (execution,) = await workshop.made()
        assert execution.status is RUNNING  # never SUCCEEDED: it can be recovered
    assert capsys.readouterr().out == ""


async def test_ids_made_of_a_clock_collided() -> None:
    async with open_workshop("memory://") as workshop:
        made = await asyncio.gather(*(workshop.targets.execute({"n": 0}) for _ in range(200)))
    assert len({execution.id for execution in made}) == len({execution.name for execution in made}) == 200
    ids = [new_id() for _ in range(20_000)]
    assert len(set(ids)) == 20_000
    assert ids == sorted(ids)


async def test_an_ended_run_without_an_end_time_gave_statistics_of_minus_years(workshop: Workshop) -> None:
    await workshop.finish(0, 1)
    workshop.work.fails = {1}
    await workshop.batch()
    workshop.work.does = workshop.work.hang
    running = await workshop.targets.start_execution({"n": 2})
    aborted = await workshop.targets.start_execution({"n": 3})
    await aborted.stop()
    statistics = await workshop.engine.execution_statistics(workshop.targets.id)
    assert {str(status): figures.count for status, figures in statistics.items()} == dict.fromkeys(
        ("SUCCEEDED", "FAILED", "ABORTED", "RUNNING"), 1
    )
    for status, figures in statistics.items():
        durations = [figures.min, figures.mean, figures.p50, figures.p95, figures.p99, figures.max]
        if status is RUNNING:
            assert durations == [None] * 6
        else:
            assert all(seconds is not None and 0 <= seconds < 60 for seconds in durations)
    for execution in await workshop.engine.list_executions(ExecutionFilter()):
        assert (execution.end_time is None) == (execution.status is RUNNING)
    await running.stop()
