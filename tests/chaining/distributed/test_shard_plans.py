"""How a batch is cut into shards: how many items at once in each, and how large they are."""

from __future__ import annotations

from typing import Any

import pytest

from statechain.storage.shards import ShardPlan, cut


@pytest.mark.parametrize(
    ("at_once", "total", "width", "concurrency"),
    [(1, 10, 1, 1), (0, 10, 1, 1), (4, 100, 2, 2), (30, 1000, 6, 5), (100, 10**6, 10, 10), (10, 101, 5, 2)],
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
