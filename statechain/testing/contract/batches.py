"""The contract of batches: the frozen set, its items and their counts, and how a batch ends."""

# ruff: noqa: D102, S101 -- a test's name says what it shows

from __future__ import annotations

import attrs
import pytest

from statechain.errors import BatchNotFound
from statechain.records.batches import Batch, BatchItem, BatchStatus, ItemCounts
from statechain.records.executions import ExecutionStatus, Source
from statechain.records.filters import Chained, ExecutionFilter
from statechain.storage.repository import (
    CreateBatch,
    EndBatch,
    FailBatchItem,
    Repository,
    ResumeBatch,
)
from statechain.testing.contract.samples import (
    ENDINGS,
    advance,
    batch,
    commit,
    deleting,
    execution,
    finish,
    freeze,
    ids,
    moment,
    redriving,
    seed,
    start,
    visit,
)

__all__ = ["BatchContract", "FrozenContract"]

OLDEST = ExecutionFilter(order="oldest_first", state_machine_id="machine-a")


async def items(repository: Repository, stored: Batch) -> list[BatchItem]:
    """Return all items of a batch."""
    return list(await repository.batch_items(stored.id, page=1000))


async def counts(repository: Repository, stored: Batch) -> ItemCounts:
    """Return a batch's counts as of now."""
    found = await repository.batch(stored.id)
    assert found is not None
    return found.item_counts


class FrozenContract:
    """The set of sources, as it was when the batch began."""

    async def test_a_batch_that_runs_and_does_the_same_is_joined(
        self, repository: Repository, other: Repository
    ) -> None:
        await seed(repository, execution(), execution())
        first, second, third = (batch(options={"mode": "DISTRIBUTED"}) for _ in range(3))
        stored = await commit(repository, CreateBatch(batch=first, filter_=OLDEST, joins=True))
        # It is meant by the filter, too; who joins gets the set as it was frozen.
        await start(repository)
        assert await commit(other, CreateBatch(batch=second, filter_=OLDEST, joins=True)) == stored
        assert await repository.batch(second.id) is None
        assert await items(repository, second) == []
        apart = [
            attrs.evolve(second, name_prefix="receipt"),
            attrs.evolve(third, options={"mode": "DISTRIBUTED", "stop_on_error": True}),
        ]
        for each in apart:
            own = await commit(other, CreateBatch(batch=each, filter_=OLDEST, joins=True))
            assert (own.id, own.item_counts.total) == (each.id, 3)
        await commit(repository, EndBatch(batch_id=first.id, status=BatchStatus.SUCCEEDED, end_time=moment(9)))
        again = attrs.evolve(first, id="again")
        assert (await commit(other, CreateBatch(batch=again, filter_=OLDEST, joins=True))).id == "again"

    @pytest.mark.parametrize("order", ["newest_first", "oldest_first"])
    async def test_the_order_is_the_filters(self, repository: Repository, order: str) -> None:
        made = [execution(start_time=moment(at)) for at in (3, 1, 2, 1, 2)]
        await seed(repository, *made)
        stored = await freeze(repository, ExecutionFilter(order=order))  # type: ignore[arg-type]
        expected = sorted(made, key=lambda each: (each.start_time, each.id), reverse=order == "newest_first")
        frozen = await items(repository, stored)
        assert [item.source_execution_id for item in frozen] == ids(expected)
        assert [item.index for item in frozen] == [0, 1, 2, 3, 4]

    @pytest.mark.parametrize(
        ("offset", "limit", "expected"),
        # The last pair's sum is past 64 bits, with which an SQL backend may count.
        [(0, 2, [0, 1]), (1, 2, [1, 2]), (3, None, [3, 4]), (4, 9, [4]), (5, 1, []), (0, 0, []), (2**62, 2**62, [])],
    )
    async def test_limit_and_offset_apply(
        self, repository: Repository, offset: int, limit: int | None, expected: list[int]
    ) -> None:
        made = [await start(repository) for _ in range(5)]
        stored = await freeze(repository, attrs.evolve(OLDEST, offset=offset, limit=limit))
        frozen = await items(repository, stored)
        assert [item.source_execution_id for item in frozen] == [made[index].id for index in expected]
        assert [item.index for item in frozen] == list(range(len(expected)))
        assert stored.item_counts == ItemCounts(pending=len(expected), total=len(expected))

    async def test_names_are_made_of_the_prefix_and_the_source(self, repository: Repository) -> None:
        made = await start(repository)
        for prefix in ("invoice", "100% \\_'\"", "Prüfung 🦀", ""):
            stored = await freeze(repository, name_prefix=prefix)
            (item,) = await items(repository, stored)
            assert item.name == f"{prefix}-{made.id}"

    async def test_it_is_what_the_filter_means(self, repository: Repository) -> None:
        made = await finish(repository, name="order 1")
        await finish(repository, name="order 2", status=ExecutionStatus.FAILED)
        done = await finish(repository, name="order 3")
        await start(repository, state_machine_id="machine-b", source=Source(done.id))
        await start(repository, name="order 4")
        meant = ExecutionFilter(status="SUCCEEDED", name="order", unchained_to=Chained("machine-b"))
        stored = await freeze(repository, meant)
        assert [item.source_execution_id for item in await items(repository, stored)] == [made.id]

    async def test_what_comes_later_is_not_in_it(self, repository: Repository) -> None:
        made = await start(repository)
        stored = await freeze(repository, OLDEST)
        # Older than all that was frozen: by the filter's order it would come first.
        await start(repository, start_time=moment(-99))
        await finish(repository)
        assert [item.source_execution_id for item in await items(repository, stored)] == [made.id]

    async def test_what_changes_later_stays_in_it(self, repository: Repository) -> None:
        made = await start(repository)
        stored = await freeze(repository, ExecutionFilter(status="RUNNING"))
        await finish(repository, of=made)
        (item,) = await items(repository, stored)
        assert (item.source_status, item.source_output) == (ExecutionStatus.SUCCEEDED, '{"total":9.5}')

    async def test_what_is_deleted_later_leaves_its_item(self, repository: Repository) -> None:
        made = [await finish(repository) for _ in range(3)]
        stored = await freeze(repository, OLDEST)
        await commit(repository, deleting(made[1]))
        frozen = await items(repository, stored)
        assert [item.source_execution_id for item in frozen] == ids(made)
        assert [item.source_status for item in frozen] == [
            ExecutionStatus.SUCCEEDED,
            None,
            ExecutionStatus.SUCCEEDED,
        ]
        assert frozen[1].source_output is None

    async def test_freezing_twice_freezes_once(self, repository: Repository) -> None:
        made = await start(repository)
        write = CreateBatch(batch=batch(), filter_=ExecutionFilter())
        first = await commit(repository, write)
        # Between commit and repetition: the set is not read again.
        await start(repository)
        assert await commit(repository, write) == first
        assert [item.source_execution_id for item in await items(repository, first)] == [made.id]

    async def test_batches_do_not_share_items(self, repository: Repository) -> None:
        await start(repository)
        one = await freeze(repository, name_prefix="one")
        await start(repository)
        two = await freeze(repository, name_prefix="two")
        assert [len(await items(repository, each)) for each in (one, two)] == [1, 2]
        assert await repository.batch_items("nowhere", page=10) == []

    @pytest.mark.parametrize("page", [1, 2, 3, 100])
    async def test_items_page(self, repository: Repository, page: int) -> None:
        await seed(repository, *(execution() for _ in range(7)))
        stored = await freeze(repository, OLDEST)
        paged: list[BatchItem] = []
        while found := await repository.batch_items(stored.id, after=len(paged) - 1, page=page):
            assert len(found) <= page
            paged.extend(found)
        assert paged == await items(repository, stored)
        assert len(paged) == 7

    async def test_a_large_set(self, repository: Repository) -> None:
        made = [execution() for _ in range(1000)]
        await seed(repository, *made)
        stored = await freeze(repository, OLDEST)
        assert stored.item_counts == ItemCounts(pending=1000, total=1000)
        tail = await repository.batch_items(stored.id, after=996, page=10)
        assert [(item.index, item.source_execution_id) for item in tail] == [
            (index, made[index].id) for index in (997, 998, 999)
        ]

    async def test_final_outputs(self, repository: Repository) -> None:
        made = [await finish(repository, status=status) for status in ENDINGS]
        running = await start(repository)
        stored = await freeze(repository, OLDEST)
        frozen = await items(repository, stored)
        assert [item.source_status for item in frozen] == [*(each.status for each in made), running.status]
        assert [item.source_output for item in frozen] == [made[0].output_text, None, None, None, None]

    async def test_outputs_of_a_state(self, repository: Repository) -> None:
        looped = await start(repository)
        visits = [visit(looped, number, state="Price") for number in range(2)]
        await finish(repository, *visits, visit(looped, 2, state="Price", output=None, error="E"), of=looped)
        absent = await finish(repository)
        running = await start(repository)
        await commit(repository, advance(running, visit(running, state="Price", output='"early"')))
        stored = await freeze(repository, OLDEST, source_state_name="Price")
        frozen = await items(repository, stored)
        assert [item.source_execution_id for item in frozen] == ids([looped, absent, running])
        assert [item.source_output for item in frozen] == ["[1]", None, '"early"']


class BatchContract:
    """Batches themselves: what is stored of them, their counts, their ends."""

    async def test_every_field_of_a_batch_comes_back(self, repository: Repository) -> None:
        wanted = batch(
            name_prefix="Prüfung 🦀",
            state_machine_revision=3,
            source_state_name="Price",
            filter={"status": ["FAILED"], "name": "%_\\\u0000", "limit": None, "offset": 0},
            options={"nested": {"list": [1, 1.5, True, None, "\ud800"]}},
            start_time=moment(0.000001),
        )
        made = await start(repository)
        stored = await commit(repository, CreateBatch(batch=wanted, filter_=ExecutionFilter(name=made.name)))
        assert stored == attrs.evolve(wanted, item_counts=ItemCounts(pending=1, total=1))
        assert await repository.batch(wanted.id) == stored

    async def test_an_unknown_batch_is_none(self, repository: Repository) -> None:
        assert await repository.batch("nowhere") is None
        assert list(await repository.batches(page=10)) == []

    async def test_items_count_by_the_executions_that_bear_their_names(self, repository: Repository) -> None:
        await seed(repository, *(execution() for _ in range(7)))
        stored = await freeze(repository, OLDEST)
        frozen = await items(repository, stored)
        for item, status in zip(frozen, ENDINGS, strict=False):
            await finish(repository, name=item.name, state_machine_id="machine-b", status=status)
        await start(repository, name=frozen[4].name, state_machine_id="machine-b")
        await commit(repository, FailBatchItem(batch_id=stored.id, index=5, error="E", cause=None))
        assert await counts(repository, stored) == ItemCounts(
            pending=1, running=1, succeeded=1, failed=2, timed_out=1, aborted=1, total=7
        )
        assert list(await repository.batches(page=1)) == [await repository.batch(stored.id)]

    async def test_another_machines_executions_do_not_count(self, repository: Repository) -> None:
        await start(repository)
        stored = await freeze(repository, OLDEST)
        (item,) = await items(repository, stored)
        await start(repository, name=item.name, state_machine_id="machine-c")
        assert await counts(repository, stored) == ItemCounts(pending=1, total=1)

    async def test_an_item_that_failed_before_its_start(self, repository: Repository) -> None:
        await seed(repository, execution(), execution())
        stored = await freeze(repository, OLDEST)
        write = FailBatchItem(batch_id=stored.id, index=1, error="InputTransformerError", cause="no total 🦀")
        for _ in range(2):
            await commit(repository, write)
        first, second = await items(repository, stored)
        assert (first.error, first.cause) == (None, None)
        assert (second.error, second.cause) == ("InputTransformerError", "no total 🦀")
        assert await counts(repository, stored) == ItemCounts(pending=1, failed=1, total=2)

    async def test_an_item_that_was_started_after_all_counts_as_its_execution(self, repository: Repository) -> None:
        await start(repository)
        stored = await freeze(repository, OLDEST)
        await commit(repository, FailBatchItem(batch_id=stored.id, index=0, error="E", cause=None))
        (item,) = await items(repository, stored)
        made = await start(repository, name=item.name, state_machine_id="machine-b")
        assert await counts(repository, stored) == ItemCounts(running=1, total=1)
        await finish(repository, of=made)
        assert await counts(repository, stored) == ItemCounts(succeeded=1, total=1)

    @pytest.mark.parametrize("status", [BatchStatus.SUCCEEDED, BatchStatus.FAILED, BatchStatus.ABORTED])
    async def test_a_batch_ends_once(self, repository: Repository, status: BatchStatus) -> None:
        await start(repository)
        stored = await freeze(repository)
        write = EndBatch(batch_id=stored.id, status=status, end_time=moment(99.000001))
        ended = attrs.evolve(stored, status=status, end_time=moment(99.000001))
        assert await commit(repository, write) == ended
        assert await commit(repository, write) == ended
        for later in (BatchStatus.SUCCEEDED, BatchStatus.FAILED, BatchStatus.ABORTED):
            again = EndBatch(batch_id=stored.id, status=later, end_time=moment(100))
            assert await commit(repository, again) == ended
        assert await repository.batch(stored.id) == ended

    async def test_a_batch_that_ended_runs_again(self, repository: Repository) -> None:
        stored = await freeze(repository)
        await commit(repository, EndBatch(batch_id=stored.id, status=BatchStatus.ABORTED, end_time=moment(99)))
        resume = ResumeBatch(batch_id=stored.id)
        assert await commit(repository, resume) == stored
        assert await commit(repository, resume) == stored
        end = EndBatch(batch_id=stored.id, status=BatchStatus.FAILED, end_time=moment(100))
        assert (await commit(repository, end)).status is BatchStatus.FAILED

    async def test_an_unknown_batch_cannot_end(self, repository: Repository) -> None:
        stored = await freeze(repository)
        unknown = EndBatch(batch_id="nowhere", status=BatchStatus.FAILED, end_time=moment(99))
        with pytest.raises(BatchNotFound):
            await commit(repository, unknown)
        outcomes = await repository.commit([unknown, attrs.evolve(unknown, batch_id=stored.id)])
        assert [type(outcome) for outcome in outcomes] == [BatchNotFound, Batch]

    async def test_a_redriven_item_counts_as_running(self, repository: Repository) -> None:
        await start(repository)
        stored = await freeze(repository, OLDEST)
        (item,) = await items(repository, stored)
        made = await finish(repository, name=item.name, state_machine_id="machine-b", status=ExecutionStatus.TIMED_OUT)
        assert await counts(repository, stored) == ItemCounts(timed_out=1, total=1)
        await commit(repository, redriving(made))
        assert await counts(repository, stored) == ItemCounts(running=1, total=1)

    async def test_batches_are_found_by_all_that_is_given(self, repository: Repository) -> None:
        one, two, three = (
            await freeze(repository),
            await freeze(repository, state_machine_id="machine-c"),
            await freeze(repository),
        )
        end = EndBatch(batch_id=one.id, status=BatchStatus.FAILED, end_time=moment(99))
        ended = await commit(repository, end)
        assert list(await repository.batches(page=10)) == [three, two, ended]
        assert list(await repository.batches(state_machine_id="machine-b", page=10)) == [three, ended]
        assert list(await repository.batches(status=BatchStatus.RUNNING, page=10)) == [three, two]
        assert list(await repository.batches(state_machine_id="machine-b", status=BatchStatus.FAILED, page=10)) == [
            ended
        ]
        assert list(await repository.batches(state_machine_id="machine-z", page=10)) == []

    async def test_batches_are_returned_without_counting_their_items(self, repository: Repository) -> None:
        await seed(repository, *(execution(id=f"source-{number}") for number in range(3)))
        one, two = await freeze(repository), await freeze(repository)
        await commit(repository, FailBatchItem(batch_id=one.id, index=0, error="Transformer", cause="no input"))
        uncounted = await repository.batches(page=10, is_counted=False)
        assert [each.id for each in uncounted] == [two.id, one.id]
        assert {each.item_counts for each in uncounted} == {ItemCounts(pending=3, total=3)}
        assert await repository.batch(one.id, is_counted=False) == uncounted[1]
        assert await repository.batch("nothing", is_counted=False) is None
        assert await counts(repository, one) == ItemCounts(pending=2, failed=1, total=3)
        assert [each.id for each in await repository.batches(after=two, page=1, is_counted=False)] == [one.id]

    @pytest.mark.parametrize("page", [1, 2, 3, 100])
    async def test_batches_page_newest_first(self, repository: Repository, page: int) -> None:
        times = [5, 3, 5, 4, 3]
        made = [await freeze(repository, id=f"batch-{index}", start_time=moment(at)) for index, at in enumerate(times)]
        paged: list[Batch] = []
        while found := await repository.batches(after=paged[-1] if paged else None, page=page):
            assert len(found) <= page
            paged.extend(found)
        assert paged == sorted(made, key=lambda each: (each.start_time, each.id), reverse=True)

    async def test_paging_over_what_is_begun_meanwhile(self, repository: Repository) -> None:
        made = [await freeze(repository) for _ in range(4)]
        first = await repository.batches(page=2)
        await freeze(repository)
        second = await repository.batches(after=first[-1], page=2)
        assert [*first, *second] == made[::-1]
