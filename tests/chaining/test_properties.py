"""A batch keeps its promises at every size and concurrency, with failures and concurrent writers."""

from __future__ import annotations

import asyncio
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statechain import BatchExecutionOptions, BatchStatus, BatchStopped, ExecutionFailed, ExecutionStatus
from support.chaining.harness import ChainingHarness, chaining_harness

pytestmark = pytest.mark.slow  # dozens of batches for each property

EXAMPLES = settings(max_examples=60, deadline=None)


@attrs.frozen
class Plan:
    """A batch to run, and what happens beside it."""

    sources: int
    page_size: int
    concurrency: int
    failing: frozenset[int]
    naps: tuple[int, ...]
    inserted_at: frozenset[int]
    deleted_at: frozenset[int]


small = st.integers(0, 11)
plans = st.builds(
    Plan,
    sources=st.integers(0, 12),
    page_size=st.integers(1, 14),
    concurrency=st.integers(0, 6),
    failing=st.frozensets(small, max_size=6),
    naps=st.lists(st.integers(0, 12), min_size=12, max_size=12).map(tuple),
    inserted_at=st.frozensets(small, max_size=4),
    deleted_at=st.frozensets(small, max_size=4),
)


class Tale:
    """What the callbacks were called with."""

    def __init__(self) -> None:
        self.facts: list[tuple[str, int]] = []
        self.running = 0
        self.peak = 0

    def start(self, _source: str, index: int) -> None:
        self.facts.append(("start", index))
        self.running += 1
        self.peak = max(self.peak, self.running)

    def complete(self, _source: str, index: int, _error: Exception | None) -> None:
        self.facts.append(("complete", index))
        self.running -= 1

    def check(self, begun: int, concurrency: int) -> None:
        """Assert that items 0 to ``begun`` were started in order, and each completed once, later."""
        assert [index for kind, index in self.facts if kind == "start"] == list(range(begun))
        assert sorted(index for kind, index in self.facts if kind == "complete") == list(range(begun))
        for index in range(begun):
            assert self.facts.index(("start", index)) < self.facts.index(("complete", index))
        assert self.peak <= max(1, concurrency)


async def prepare(chaining: ChainingHarness, plan: Plan) -> list[str]:
    """Finish the sources; make the handlers nap, fail, insert and delete as planned."""
    ids = [source.id for source in await chaining.finish(*range(plan.sources))]
    chaining.work.fails = set(plan.failing)

    async def bustle(value: dict[str, Any]) -> Any:
        n = value["n"]
        for _ in range(plan.naps[n]):
            await asyncio.sleep(0)
        if n in plan.inserted_at:
            await chaining.sources.execute({"n": 1000 + n})
        if n in plan.deleted_at:
            # what has been chained already may go; the set of the batch must not care
            await chaining.engine.delete_executions(chaining.select(limit=1))
        return await chaining.work.answer(value)

    chaining.work.does = bustle
    return ids


@EXAMPLES
@given(plans)
def test_every_source_is_chained_exactly_once(plan: Plan) -> None:
    async def play() -> None:
        async with chaining_harness("memory://") as chaining:
            ids = await prepare(chaining, plan)
            tale = Tale()
            results = await chaining.batch(
                page_size=plan.page_size,
                concurrent_batches=plan.concurrency,
                on_execution_start=tale.start,
                on_execution_complete=tale.complete,
            )
            assert [result.index for result in results] == list(range(plan.sources))
            assert [result.source_execution_id for result in results] == ids
            tale.check(plan.sources, plan.concurrency)
            ran = {result.index for result in results if result.execution is not None}
            assert sorted(chaining.work.begun) == sorted(ran)
            for result in results:
                if result.index in ran:
                    assert (result.error is None) == (result.index not in plan.failing)
                    assert isinstance(result.error, ExecutionFailed | None)
            if not plan.deleted_at:
                assert ran == set(range(plan.sources))
            assert await chaining.made(ExecutionStatus.RUNNING) == []
            (batch,) = await chaining.engine.list_batches()
            counts = batch.item_counts
            assert (batch.status, counts.total, counts.pending) == (BatchStatus.SUCCEEDED, plan.sources, 0)
            assert counts.succeeded == sum(result.error is None for result in results)

    asyncio.run(play())


@EXAMPLES
@given(plans)
def test_a_stop_leaves_no_hole_and_nothing_running(plan: Plan) -> None:
    async def play() -> None:
        async with chaining_harness("memory://") as chaining:
            await prepare(chaining, attrs.evolve(plan, deleted_at=frozenset()))
            tale = Tale()
            batch = chaining.batch(
                stop_on_error=True,
                page_size=plan.page_size,
                concurrent_batches=plan.concurrency,
                on_execution_start=tale.start,
                on_execution_complete=tale.complete,
            )
            if any(n in plan.failing for n in range(plan.sources)):
                with pytest.raises(BatchStopped) as stopped:
                    await batch
                results = stopped.value.results
                assert stopped.value.__cause__ in [result.error for result in results]
            else:
                results = await batch
                assert len(results) == plan.sources
            assert [result.index for result in results] == list(range(len(results)))
            tale.check(len(results), plan.concurrency)
            assert await chaining.made(ExecutionStatus.RUNNING) == []
            statuses = {execution.id: execution.status for execution in await chaining.made()}
            for result in results:
                if result.execution is not None:
                    assert result.execution.status is statuses[result.execution.id]

    asyncio.run(play())


@EXAMPLES
@given(plans, st.integers(0, 120))
def test_cancelled_at_any_turn_and_run_again_each_source_succeeds_once(plan: Plan, turns: int) -> None:
    async def play() -> None:
        async with chaining_harness("memory://") as chaining:
            ids = await prepare(chaining, attrs.evolve(plan, deleted_at=frozenset(), failing=frozenset()))
            select = chaining.select(limit=plan.sources)
            options = BatchExecutionOptions(
                name_prefix="again",
                page_size=plan.page_size,
                concurrent_batches=plan.concurrency,
                redrive_failed=True,
            )
            batch = asyncio.ensure_future(chaining.targets.execute_batch(select, options=options))
            for _ in range(turns):
                await asyncio.sleep(0)
            batch.cancel()
            await asyncio.wait([batch])
            assert await chaining.made(ExecutionStatus.RUNNING) == []
            assert BatchStatus.RUNNING not in {stored.status for stored in await chaining.engine.list_batches()}
            results = await chaining.targets.execute_batch(select, options=options)
            assert [result.source_execution_id for result in results] == ids
            assert all(result.error is None for result in results)
            assert len(await chaining.made(ExecutionStatus.SUCCEEDED)) == plan.sources

    asyncio.run(play())


@EXAMPLES
@given(plans, st.integers(0, 60), st.booleans())
def test_two_batches_at_once_chain_each_source_once(plan: Plan, turns: int, same: bool) -> None:
    async def play() -> None:
        async with chaining_harness("memory://") as chaining:
            quiet = attrs.evolve(plan, inserted_at=frozenset(), deleted_at=frozenset(), failing=frozenset())
            ids = await prepare(chaining, quiet)
            left = chaining.select(limit=plan.sources, unchained_to=chaining.targets)
            options = [
                BatchExecutionOptions(name_prefix=prefix, page_size=plan.page_size, concurrent_batches=plan.concurrency)
                for prefix in (("same", "same") if same else ("one", "other"))
            ]
            one = asyncio.ensure_future(chaining.targets.execute_batch(left, options=options[0]))
            for _ in range(turns):
                await asyncio.sleep(0)
            other = await chaining.targets.execute_batch(left, options=options[1])
            results = await one
            assert [result.source_execution_id for result in results] == ids
            assert all(result.error is None for result in [*results, *other])
            assert sorted(chaining.work.begun) == list(range(plan.sources))
            links = await chaining.engine.list_linked_executions(target_state_machine_id=chaining.targets.id)
            assert sorted(link.source_execution_id for link in links) == sorted(ids)

    asyncio.run(play())
