"""Stored batches: found, watched, stopped, and resumed by any later process."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from statechain import (
    BatchExecutionOptions,
    BatchExecutionResult,
    BatchNotFound,
    BatchStatus,
    BatchStopped,
    Chained,
    Engine,
    ExecutionFilter,
    ItemCounts,
    MemoryRepository,
    Repository,
    StatechainError,
    open_repository,
)
from statechain.storage.repository import StartExecution, Write
from support.chaining.harness import ChainingHarness, Work, chaining_harness, numbers
from support.statuses import SUCCEEDED


@pytest.fixture
async def repository(repository_url: str) -> AsyncIterator[Repository]:
    """Return a storage that several engines share."""
    async with open_repository(repository_url) as opened:
        yield opened


async def until(condition: Any) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_a_batch_is_recorded_with_what_was_asked(chaining: ChainingHarness) -> None:
    await chaining.finish(0, 1)
    chaining.work.fails = {1}
    select = chaining.select(limit=5, unchained_to=Chained(to=chaining.targets, source_state_name="Prepare"))
    options = BatchExecutionOptions(name_prefix="nightly", concurrent_batches=2, tolerated_failure_count=3)
    await chaining.targets.execute_batch(select, "Prepare", options=options)
    (batch,) = await chaining.engine.list_batches()
    assert (batch.name_prefix, batch.status) == ("nightly", BatchStatus.SUCCEEDED)
    assert (batch.state_machine_id, batch.state_machine_revision) == (chaining.targets.id, 1)
    assert batch.source_state_name == "Prepare"
    assert batch.filter == {
        "status": ["SUCCEEDED"],
        "state_machine_id": chaining.sources.id,
        "limit": 5,
        "order": "oldest_first",
        "unchained_to": {"to": chaining.targets.id, "source_state_name": "Prepare"},
    }
    assert batch.options["concurrent_batches"] == 2
    assert batch.options["tolerated_failure_count"] == 3
    assert batch.end_time is not None
    assert batch.end_time >= batch.start_time
    assert batch.item_counts == ItemCounts(succeeded=1, failed=1, total=2)
    assert await chaining.engine.get_batch(batch.id) == batch


async def test_batches_are_listed_newest_first_by_machine_and_status(chaining: ChainingHarness) -> None:
    await chaining.finish(0)
    for prefix in ("one", "two", "three"):
        await chaining.batch(name_prefix=prefix)
    chaining.work.fails = {0}
    with pytest.raises(BatchStopped):
        await chaining.batch(name_prefix="four", stop_on_error=True)
    engine, targets = chaining.engine, chaining.targets
    listed = await engine.list_batches(state_machine_id=targets.id)
    assert [batch.name_prefix for batch in listed] == ["four", "three", "two", "one"]
    assert await engine.list_batches(state_machine_id=chaining.sources.id) == []
    failed = await engine.list_batches(status=BatchStatus.FAILED)
    assert [batch.name_prefix for batch in failed] == ["four"]


async def test_item_counts_follow_the_batch(chaining: ChainingHarness) -> None:
    await chaining.finish(*range(6))
    gate = asyncio.Event()

    async def wait_for_the_gate(value: dict[str, Any]) -> Any:
        if value["n"] >= 2:
            await gate.wait()
        return await chaining.work.answer(value)

    chaining.work.does = wait_for_the_gate
    chaining.work.fails = {1}
    async with asyncio.TaskGroup() as group:
        group.create_task(chaining.batch(concurrent_batches=3))
        await until(lambda: len(chaining.work.begun) == 5)  # two have ended and given up their places
        (batch,) = await chaining.engine.list_batches()
        assert batch.status is BatchStatus.RUNNING
        assert batch.end_time is None
        assert batch.item_counts == ItemCounts(pending=1, running=3, succeeded=1, failed=1, total=6)
        gate.set()
    assert (await chaining.engine.get_batch(batch.id)).item_counts == ItemCounts(succeeded=5, failed=1, total=6)


async def test_an_item_that_could_not_be_started_counts_as_failed(chaining: ChainingHarness) -> None:
    await chaining.finish(0, 1)
    await chaining.targets.execute_batch(chaining.select(), "Nowhere")
    (batch,) = await chaining.engine.list_batches()
    assert batch.item_counts == ItemCounts(failed=2, total=2)


async def test_an_unknown_batch_is_not_found_by_any_call(chaining: ChainingHarness) -> None:
    for call in (chaining.engine.get_batch, chaining.engine.stop_batch, chaining.engine.resume_batch):
        with pytest.raises(BatchNotFound, match="no-such-batch"):
            await call("no-such-batch")


async def test_a_batch_that_is_stopped_aborts_what_runs_and_starts_nothing_more(chaining: ChainingHarness) -> None:
    await chaining.finish(*range(5))
    chaining.work.does = chaining.work.hang
    running = asyncio.ensure_future(chaining.batch(concurrent_batches=2))
    await until(lambda: chaining.work.running == 2)
    (batch,) = await chaining.engine.list_batches()
    stopped = await chaining.engine.stop_batch(batch.id)
    assert (stopped.status, stopped.item_counts) == (BatchStatus.ABORTED, ItemCounts(pending=3, aborted=2, total=5))
    with pytest.raises(BatchStopped) as raised:
        await running
    assert [result.index for result in raised.value.results] == [0, 1]
    assert await chaining.engine.stop_batch(batch.id) == stopped


async def test_stopping_a_batch_that_ended_leaves_it_as_it_ended(chaining: ChainingHarness) -> None:
    await chaining.finish(0)
    await chaining.batch()
    (batch,) = await chaining.engine.list_batches()
    assert await chaining.engine.stop_batch(batch.id) == batch


async def test_another_engine_resumes_what_was_stopped(repository: Repository) -> None:
    work = Work()
    async with chaining_harness(repository, work=work) as chaining:
        sources = await chaining.finish(*range(6))
        work.does = work.hang
        running = asyncio.ensure_future(chaining.batch(name_prefix="invoice", concurrent_batches=2))
        await until(lambda: work.running == 2)
        (batch,) = await chaining.engine.list_batches()
        await chaining.engine.stop_batch(batch.id)
        with pytest.raises(BatchStopped):
            await running
    work.does, work.begun = work.answer, []
    async with chaining_harness(repository, work=work) as chaining:
        await chaining.finish(100)
        told: list[int] = []
        options = BatchExecutionOptions(
            redrive_failed=True, on_execution_start=lambda _source, index: told.append(index)
        )
        resumed = await chaining.engine.resume_batch(batch.id, options=options)
        assert (resumed.status, resumed.item_counts) == (BatchStatus.SUCCEEDED, ItemCounts(succeeded=6, total=6))
        assert told == [0, 1, 2, 3, 4, 5]
        assert work.begun == [0, 1, 2, 3, 4, 5]
        made = {execution.name for execution in await chaining.made()}
        assert made == {f"invoice-{source.id}" for source in sources}


KILLED = """
import asyncio, datetime, sys
from support.chaining.harness import Work, chaining_harness
from statechain import BatchExecutionOptions

async def main():
    work = Work()
    async def hang_from_three(value):
        if value["n"] < 3:
            return await work.answer(value)
        print("at work", flush=True)
        await work.hang(value)
    work.does = hang_from_three
    lease = datetime.timedelta(seconds=1)
    async with chaining_harness(sys.argv[1], work=work, lease=lease) as chaining:
        await chaining.finish(*range(6))
        await chaining.batch(name_prefix="invoice", concurrent_batches=2)

asyncio.run(main())
"""


@pytest.fixture(params=["sqlite_url", "postgres_url"])
def durable_url(request: pytest.FixtureRequest) -> str:
    """Return a storage that outlives its process."""
    url: str = request.getfixturevalue(request.param)
    return url


async def test_a_batch_whose_process_was_killed_is_resumed_and_runs_nothing_twice(durable_url: str) -> None:
    path = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, durable_url, env=environment, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            assert [await process.stdout.readline() for _ in range(2)] == [b"at work\n"] * 2
    finally:
        process.kill()
        await process.wait()

    async with open_repository(durable_url) as repository:
        (batch,) = await repository.batches(page=10)
        assert batch.status is BatchStatus.RUNNING
        assert batch.item_counts == ItemCounts(pending=1, running=2, succeeded=3, total=6)
    work = Work()
    async with chaining_harness(durable_url, work=work, lease=timedelta(seconds=1)) as chaining:
        resumed = await chaining.engine.resume_batch(batch.id)
        assert (resumed.status, resumed.item_counts) == (BatchStatus.SUCCEEDED, ItemCounts(succeeded=6, total=6))
        assert sorted(work.begun) == [3, 4, 5]
        assert len(await chaining.made()) == 6


async def test_resuming_takes_the_stored_options_where_none_are_given(chaining: ChainingHarness) -> None:
    await chaining.finish(*range(6))
    chaining.work.fails = {2}
    with pytest.raises(BatchStopped):
        await chaining.batch(stop_on_error=True, concurrent_batches=2, page_size=1)
    (batch,) = await chaining.engine.list_batches()
    with pytest.raises(BatchStopped):
        await chaining.engine.resume_batch(batch.id)
    tolerant = BatchExecutionOptions(tolerated_failure_count=2)  # the refused one, and the sibling that was aborted
    resumed = await chaining.engine.resume_batch(batch.id, options=tolerant)
    assert resumed.status is BatchStatus.SUCCEEDED
    assert resumed.item_counts.failed >= 1
    assert resumed.item_counts.pending == resumed.item_counts.running == 0


async def test_two_engines_run_the_same_batch_at_once_and_chain_each_source_once(repository: Repository) -> None:
    work = Work()

    async def answer_slowly(value: dict[str, Any]) -> Any:
        await asyncio.sleep(0.002)
        return await work.answer(value)

    work.does = answer_slowly
    async with chaining_harness(repository, work=work) as one, chaining_harness(repository, work=work) as other:
        sources = await one.finish(*range(8))
        both = await asyncio.gather(
            *(shop.batch(name_prefix="invoice", concurrent_batches=3) for shop in (one, other)),
        )
        assert sorted(work.begun) == list(range(8))
        for results in both:
            assert [result.source_execution_id for result in results] == [source.id for source in sources]
            assert all(result.error is None for result in results)


async def test_two_engines_that_take_what_is_unchained_chain_each_source_once(repository: Repository) -> None:
    work = Work()
    async with chaining_harness(repository, work=work) as one, chaining_harness(repository, work=work) as other:
        await one.finish(*range(8))
        await asyncio.gather(
            *(
                shop.targets.execute_batch(
                    one.select(unchained_to=one.targets), options=BatchExecutionOptions(concurrent_batches=3)
                )
                for shop in (one, other)
            )
        )
        assert sorted(work.begun) == list(range(8))
        assert len(await one.made(SUCCEEDED)) == 8
        assert len(await one.engine.list_linked_executions(target_state_machine_id=one.targets.id)) == 8
        counts = [batch.item_counts for batch in await one.engine.list_batches()]
        assert max(count.total for count in counts) == 8  # the later one may have found some chained already
        assert all(count.succeeded == count.total for count in counts)


async def test_a_batch_that_another_engine_stops_starts_nothing_more(repository: Repository) -> None:
    work = Work()

    async def first_only(value: dict[str, Any]) -> Any:
        return await (work.answer(value) if value["n"] == 0 else work.hang(value))

    work.does = first_only
    async with chaining_harness(repository, work=work) as one, chaining_harness(repository, work=work) as other:
        await one.finish(*range(5))
        async with asyncio.TaskGroup() as group:
            running = group.create_task(_stopped(one))
            await until(lambda: work.begun == [0, 1, 2])
            (batch,) = await other.engine.list_batches()
            stopped = await other.engine.stop_batch(batch.id)
        assert stopped.status is BatchStatus.ABORTED
        assert numbers(running.result()) == [0, 1, 2]
        assert work.begun == [0, 1, 2]
        counts = (await other.engine.get_batch(batch.id)).item_counts
        assert counts == ItemCounts(succeeded=1, aborted=2, pending=2, total=5)


async def _stopped(chaining: ChainingHarness) -> list[BatchExecutionResult]:
    """Run a batch that is stopped; return what had ended."""
    with pytest.raises(BatchStopped) as stop:
        await chaining.batch(name_prefix="cut", concurrent_batches=2)
    return stop.value.results


async def test_a_batch_of_an_interrupted_engine_stays_running_and_is_resumed(repository: Repository) -> None:
    work = Work()

    async def first_only(value: dict[str, Any]) -> Any:
        return await (work.answer(value) if value["n"] == 0 else work.hang(value))

    work.does = first_only
    async with chaining_harness(repository, work=work) as chaining, asyncio.TaskGroup() as elsewhere:
        await chaining.finish(*range(4))
        elsewhere.create_task(_give_up(chaining))
        await until(lambda: work.begun == [0, 1, 2])
        await chaining.engine.__aexit__(KeyError, KeyError(), None)
    work.does = work.answer
    async with chaining_harness(repository, work=work) as chaining:
        (stored,) = await chaining.engine.list_batches(status=BatchStatus.RUNNING)
        assert stored.item_counts.aborted == 0
        assert (await chaining.engine.resume_batch(stored.id)).item_counts == ItemCounts(succeeded=4, total=4)
        assert (await chaining.engine.get_batch(stored.id)).status is BatchStatus.SUCCEEDED


async def _give_up(chaining: ChainingHarness) -> None:
    """Await a batch that the engine is left in the middle of."""
    with pytest.raises(StatechainError):
        await chaining.batch(name_prefix="cut", concurrent_batches=2)


async def test_what_has_ended_is_not_started_again_when_a_batch_is_resumed() -> None:
    starts: list[str] = []

    class Counted(MemoryRepository):
        async def commit(self, writes: Sequence[Write[object]]) -> Sequence[object]:
            starts.extend(write.execution.name for write in writes if isinstance(write, StartExecution))
            return await super().commit(writes)

    echo = {"StartAt": "Echo", "States": {"Echo": {"Type": "Pass", "End": True}}}
    async with Engine(Counted()) as engine:
        sources = await engine.create_state_machine("sources", echo)
        targets = await engine.create_state_machine("targets", echo)
        await sources.execute_bulk(range(5))
        told: list[int] = []
        options = BatchExecutionOptions(on_execution_complete=lambda _, index, error: told.append(index))
        await targets.execute_batch(ExecutionFilter(state_machine_id=sources.id))
        (batch,) = await engine.list_batches()
        starts.clear()
        await engine.resume_batch(batch.id, options=options)
        assert (await engine.get_batch(batch.id)).item_counts.succeeded == 5
    assert told == [0, 1, 2, 3, 4]
    assert starts == []
