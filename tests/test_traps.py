"""Known defects of systems of this kind, each shown to be absent, by its name."""

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
    RepositoryError,
    TaskRegistry,
    open_repository,
)
from statechain.records.executions import new_id
from support.chaining.harness import ChainingHarness, chaining_harness, numbers, statuses
from support.postgres import without_pooler
from support.statuses import ABORTED, FAILED, RUNNING, SUCCEEDED


@pytest.fixture
async def chaining(repository_url: str) -> AsyncIterator[ChainingHarness]:
    async with chaining_harness(without_pooler(repository_url)) as opened:
        yield opened


def single(state: dict[str, Any]) -> dict[str, Any]:
    """Return a machine of one state."""
    return {"StartAt": "Only", "States": {"Only": state}}


async def at_work(chaining: ChainingHarness, count: int) -> None:
    async with asyncio.timeout(30):
        while chaining.work.running < count:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


# Batches


async def test_concurrency_0_hung(chaining: ChainingHarness) -> None:
    await chaining.finish(0, 1, 2)
    async with asyncio.timeout(30):
        assert numbers(await chaining.batch(concurrent_batches=0)) == [0, 1, 2]


def test_a_negative_concurrency_crashed() -> None:
    with pytest.raises(ValueError, match="concurrent_batches"):
        BatchExecutionOptions(concurrent_batches=-1)


async def test_concurrency_1_ran_out_of_order(chaining: ChainingHarness) -> None:
    await chaining.finish(*range(8))

    async def later_is_faster(value: dict[str, Any]) -> None:
        await asyncio.sleep(0.004 - 0.0005 * value["n"])

    chaining.work.does = later_is_faster
    await chaining.batch(concurrent_batches=1)
    assert chaining.work.begun == list(range(8))
    assert chaining.work.peak == 1


async def test_results_had_holes_after_a_stop(chaining: ChainingHarness) -> None:
    await chaining.finish(*range(6))
    chaining.work.fails = {3}
    with pytest.raises(BatchStopped) as stopped:
        await chaining.batch(concurrent_batches=4, stop_on_error=True)
    results = stopped.value.results
    assert None not in results
    assert [result.index for result in results] == list(range(len(results)))
    assert 4 <= len(results) <= 6


async def test_siblings_ran_on_after_a_stop(chaining: ChainingHarness) -> None:
    await chaining.finish(*range(3))

    async def first_fails(value: dict[str, Any]) -> None:
        if value["n"] == 0:
            await at_work(chaining, 3)
            raise ValueError(value)
        await chaining.work.hang(value)

    chaining.work.does = first_fails
    with pytest.raises(BatchStopped) as stopped:
        await chaining.batch(concurrent_batches=3, stop_on_error=True)
    assert statuses(stopped.value.results) == [FAILED, ABORTED, ABORTED]
    assert chaining.work.running == 0


async def test_a_cancelled_execution_stayed_running_for_its_last_write_used_the_cancelled_scope(
    chaining: ChainingHarness,
) -> None:
    chaining.work.does = chaining.work.hang
    running = asyncio.ensure_future(chaining.targets.execute({"n": 0}))
    await at_work(chaining, 1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    (execution,) = await chaining.made()
    assert execution.status is ABORTED
    assert execution.end_time is not None


async def test_a_second_run_with_the_same_prefix_failed_every_item_quietly(chaining: ChainingHarness) -> None:
    await chaining.finish(0, 1)
    first = await chaining.batch(name_prefix="nightly")
    second = await chaining.batch(name_prefix="nightly")
    assert [result.error for result in second] == [None, None]
    assert [result.execution for result in second] == [result.execution for result in first]


async def test_already_chained_ignored_the_target(chaining: ChainingHarness) -> None:
    await chaining.finish(0)
    other = await chaining.engine.create_state_machine("other", single({"Type": "Pass", "End": True}))
    await other.execute_batch(chaining.select())
    assert await chaining.engine.count_executions(chaining.select(unchained_to=other)) == 0
    assert await chaining.engine.count_executions(chaining.select(unchained_to=chaining.targets)) == 1


async def test_already_chained_counted_failed_chains(chaining: ChainingHarness) -> None:
    await chaining.finish(0)
    chaining.work.fails = {0}
    assert statuses(await chaining.batch()) == [FAILED]
    left = chaining.select(unchained_to=Chained(to=chaining.targets))
    assert await chaining.engine.count_executions(left) == 1


@pytest.mark.parametrize("prefixes", [("same", "same"), ("one", "other")])
async def test_two_batches_at_once_chained_a_source_twice(chaining: ChainingHarness, prefixes: tuple[str, str]) -> None:
    await chaining.finish(*range(6))
    left = chaining.select(unchained_to=chaining.targets)
    options = [BatchExecutionOptions(name_prefix=prefix, concurrent_batches=2) for prefix in prefixes]
    await asyncio.gather(*(chaining.targets.execute_batch(left, options=each) for each in options))
    assert sorted(chaining.work.begun) == list(range(6))
    assert len(await chaining.made()) == 6


async def test_offset_pages_skipped_rows_as_those_before_left_the_set(chaining: ChainingHarness) -> None:
    """Each chain takes its source out of the filter: pages by offset would skip every other page."""
    await chaining.finish(*range(10))
    left = chaining.select(unchained_to=chaining.targets)
    results = await chaining.targets.execute_batch(left, options=BatchExecutionOptions(page_size=2))
    assert numbers(results) == list(range(10))


# The language


async def test_an_unknown_resource_echoed_its_input_as_success(chaining: ChainingHarness) -> None:
    definition = single({"Type": "Task", "Resource": "Nobody", "End": True})
    with pytest.raises(DefinitionError, match="Nobody"):
        await chaining.engine.create_state_machine("echo", definition)
    async with Engine(chaining.engine.repository) as engine:  # one that was given no handlers at all
        machine = await engine.create_state_machine("echo", definition)
        with pytest.raises(ExecutionFailed, match="Nobody") as failed:
            await machine.execute({"an": "input"})
    assert failed.value.error == "States.TaskFailed"
    assert failed.value.execution.output is None


async def test_a_fail_state_ended_succeeded(chaining: ChainingHarness) -> None:
    fail = {"Type": "Fail", "Error": "Order.Refused", "Cause": "no stock"}
    machine = await chaining.engine.create_state_machine("fail", single(fail))
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
async def test_filters_treated_percent_and_underscore_as_wildcards(chaining: ChainingHarness, part: str) -> None:
    for name in ("plain", f"with {part} in it", "abc 500 axc"):
        await chaining.sources.execute({"n": 0}, name=name)
    found = await chaining.engine.list_executions(chaining.select(name=part))
    assert [execution.name for execution in found] == [f"with {part} in it"]


async def test_filters_took_upper_for_lower_case(chaining: ChainingHarness) -> None:
    for name in ("Order", "order", "ÖRDER", "örder"):
        await chaining.sources.execute({"n": 0}, name=name)
    for name in ("Order", "order", "ÖRDER", "örder"):
        found = await chaining.engine.list_executions(chaining.select(name=name))
        assert [execution.name for execution in found] == [name]


@pytest.mark.parametrize("order", ["newest_first", "oldest_first"])
async def test_offset_pages_repeated_and_skipped_rows_while_others_were_inserted(
    chaining: ChainingHarness, order: str
) -> None:
    sources = [source.id for source in await chaining.finish(*range(9))]
    seen: list[str] = []
    pages = chaining.engine.iterate_executions(chaining.select(order=order), page_size=2)
    async for execution in pages:
        seen.append(execution.id)
        await chaining.finish(100 + len(seen))
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


async def test_a_raising_callback_or_transformer_took_the_process_down(chaining: ChainingHarness) -> None:
    await chaining.finish(0, 1)

    def spoil(*_facts: Any) -> Any:
        raise Spoiled

    for name in ("on_execution_start", "on_execution_complete"):
        with pytest.raises(Spoiled):
            await chaining.batch(**{name: spoil})
    results = await chaining.targets.execute_batch(chaining.select(), input_transformer=spoil)
    assert [type(result.error.__cause__) for result in results if result.error] == [Spoiled, Spoiled]
    assert statuses(await chaining.batch()) == [SUCCEEDED, SUCCEEDED]


async def test_persistence_errors_were_printed_and_ignored(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_repository("memory://") as repository, chaining_harness(repository) as chaining:
        commit = repository.commit

        async def refuse(_writes: Sequence[Any]) -> Sequence[Any]:
            raise RepositoryError("the disk is full") from OSError(28, "No space left on device")

        async def break_the_disk(_value: dict[str, Any]) -> str:
            repository.commit = refuse  # type: ignore[method-assign, assignment]
            return "a result that cannot be kept"

        chaining.work.does = break_the_disk
        with pytest.raises(RepositoryError, match="the disk is full") as raised:
            await chaining.targets.execute({"n": 0})
        assert isinstance(raised.value.__cause__, OSError)
        repository.commit = commit  # type: ignore[method-assign]
        (execution,) = await chaining.made()
        assert execution.status is RUNNING  # never SUCCEEDED: it can be recovered
    assert capsys.readouterr().out == ""


async def test_ids_made_of_a_clock_collided() -> None:
    async with chaining_harness("memory://") as chaining:
        made = await asyncio.gather(*(chaining.targets.execute({"n": 0}) for _ in range(200)))
    assert len({execution.id for execution in made}) == len({execution.name for execution in made}) == 200
    ids = [new_id() for _ in range(20_000)]
    assert len(set(ids)) == 20_000
    assert ids == sorted(ids)


async def test_an_ended_run_without_an_end_time_gave_statistics_of_minus_years(chaining: ChainingHarness) -> None:
    await chaining.finish(0, 1)
    chaining.work.fails = {1}
    await chaining.batch()
    chaining.work.does = chaining.work.hang
    running = await chaining.targets.start_execution({"n": 2})
    aborted = await chaining.targets.start_execution({"n": 3})
    await aborted.stop()
    statistics = await chaining.engine.execution_statistics(chaining.targets.id)
    assert {str(status): figures.count for status, figures in statistics.items()} == dict.fromkeys(
        ("SUCCEEDED", "FAILED", "ABORTED", "RUNNING"), 1
    )
    for status, figures in statistics.items():
        durations = [figures.min, figures.mean, figures.p50, figures.p95, figures.p99, figures.max]
        if status is RUNNING:
            assert durations == [None] * 6
        else:
            assert all(seconds is not None and 0 <= seconds < 60 for seconds in durations)
    for execution in await chaining.engine.list_executions(ExecutionFilter()):
        assert (execution.end_time is None) == (execution.status is RUNNING)
    await running.stop()
