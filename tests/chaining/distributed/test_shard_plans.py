"""How a batch is cut into shards: how many items at once in each, how large they are, and when it has failed."""

from __future__ import annotations

from typing import Any

import pytest

from statechain.records.batches import ItemCounts
from statechain.storage.shards import (
    Shard,
    ShardPlan,
    cut,
    is_begun_elsewhere,
    is_past_tolerance,
    number_ended,
    number_failed,
    shard_lost,
    shards_of,
)
from statechain.testing.contract.samples import batch


@pytest.mark.parametrize(
    ("at_once", "total", "width", "concurrency"),
    [
        (1, 10, 1, 1),
        (0, 10, 1, 1),
        (4, 100, 2, 2),
        (6, 10, 6, 1),
        (10, 101, 5, 2),
        (13, 100, 4, 3),
        (30, 1000, 6, 5),
        (100, 10**6, 10, 10),
        (2601, 10**4, 52, 50),
    ],
)
def test_the_plan_bounds_what_is_in_flight(at_once: int, total: int, width: int, concurrency: int) -> None:
    plan = ShardPlan.of({"concurrent_batches": at_once})
    assert plan == ShardPlan(width, concurrency)
    assert plan.width * plan.concurrency <= max(1, at_once)
    shards = list(cut("batch", total, plan))
    assert [each.number for each in shards] == list(range(len(shards)))
    assert [index for each in shards for index in range(each.first, each.last + 1)] == list(range(total))


@pytest.mark.parametrize(
    ("options", "total", "sizes"),
    [
        ({"concurrent_batches": 1}, 30, [15, 7, 4, 4]),
        ({"concurrent_batches": 4}, 100, [25, 25, 12, 12, 8, 8, 5, 5]),
        ({"concurrent_batches": 4, "shard_concurrency": 1}, 3, [1, 1, 1]),
        ({"concurrent_batches": 4, "shard_size": 3}, 10, [3, 3, 3, 1]),
        ({"concurrent_batches": 4}, 0, []),
    ],
)
def test_shards_become_smaller_towards_the_end(options: dict[str, Any], total: int, sizes: list[int]) -> None:
    assert list(ShardPlan.of(options).sizes(total)) == sizes
    largest = list(ShardPlan.of({"concurrent_batches": 100}).sizes(10**6))
    assert largest[0] == 500
    assert largest == sorted(largest, reverse=True)


def test_a_width_far_above_the_number_of_items_costs_nothing() -> None:
    plan = ShardPlan.of({"concurrent_batches": 2**31 - 1, "shard_concurrency": 1})
    assert list(plan.sizes(3)) == [1, 1, 1]


def test_without_options_one_item_runs_at_once() -> None:
    assert ShardPlan.of({}) == ShardPlan(1, 1)


@pytest.mark.parametrize(
    ("mode", "was_begun", "epoch"),
    [("DISTRIBUTED", False, 0), ("DISTRIBUTED", True, 1), ("INLINE", False, 1), (None, True, 1)],
)
def test_what_may_have_been_begun_is_cut_at_an_epoch_as_if_claimed(
    mode: str | None, epoch: int, *, was_begun: bool
) -> None:
    made = batch(options={"mode": mode, "concurrent_batches": 4}, item_counts=ItemCounts(total=10))
    assert {each.epoch for each in shards_of(made, was_begun=was_begun)} == {epoch}
    assert {each.epoch for each in cut("batch", 10, ShardPlan(2, 2))} == {0}


@pytest.mark.parametrize(
    ("before", "resumed", "expected"),
    [
        ("INLINE", "DISTRIBUTED", True),
        ("INLINE", "INLINE", False),
        ("DISTRIBUTED", "DISTRIBUTED", False),
        ("DISTRIBUTED", "INLINE", False),
    ],
)
def test_a_batch_that_is_distributed_since_it_was_resumed_was_begun_elsewhere(
    before: str, resumed: str, *, expected: bool
) -> None:
    assert is_begun_elsewhere(batch(options={"mode": before}), batch(options={"mode": resumed})) is expected


@pytest.mark.parametrize(
    ("options", "tolerated"),
    [
        ({}, 1000),
        ({"stop_on_error": True}, 0),
        ({"tolerated_failure_count": 3}, 3),
        ({"stop_on_error": True, "tolerated_failure_count": 3}, 0),
        ({"tolerated_failure_percentage": 10}, 100),
        ({"tolerated_failure_percentage": 2.55}, 25),
        ({"tolerated_failure_percentage": 10, "tolerated_failure_count": 200}, 100),
        ({"tolerated_failure_percentage": 10, "tolerated_failure_count": 5}, 5),
    ],
)
def test_a_batch_tolerates_as_many_failures_as_its_options_say(options: dict[str, Any], tolerated: int) -> None:
    assert [failed for failed in range(1001) if not is_past_tolerance(options, failed, 1000)] == [*range(tolerated + 1)]


def test_all_that_ended_without_success_has_failed() -> None:
    counts = ItemCounts(pending=1, running=2, succeeded=4, failed=8, timed_out=16, aborted=32)
    assert (number_failed(counts), number_ended(counts)) == (56, 60)


def test_a_shard_that_is_lost_is_another_workers() -> None:
    lost = shard_lost(Shard(batch_id="invoices", number=3, first=0, last=9))
    assert lost.reason == "ANOTHERS"
    assert str(lost) == "shard 3 of the batch invoices is lost to this worker"
