"""Which shards a worker tries again after workers died with them."""

from __future__ import annotations

import asyncio

import pytest

from statechain.chaining.shards.trials import TRIAL_SECONDS, ShardTrials
from statechain.storage.shards import MOST_CLAIMS


class Watch:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.mark.parametrize(
    ("lived", "deaths"), [(0.0, 1), (1.9, 1), (2.0, 2), (3.9, 2), (4.0, 3), (8.0, 4), (16.0, 5), (9999.0, MOST_CLAIMS)]
)
def test_a_worker_tries_a_shard_only_where_it_has_lived_for_its_backoff(
    watch: Watch, lived: float, deaths: int
) -> None:
    trials = ShardTrials(watch)
    watch.now += lived
    assert trials.most_deaths() == deaths


async def test_a_shard_that_had_two_deaths_is_tried_alone(watch: Watch) -> None:
    trials = ShardTrials(watch)
    watch.now += 5
    release = asyncio.Event()

    async def run() -> None:
        await release.wait()

    running = asyncio.create_task(run())
    for claims in (1, 2):
        trials.begin(claims, running)
        assert trials.most_deaths() == 3, "after one death, a shard is claimed like any other"
    trials.begin(3, running)
    assert trials.most_deaths() == 1
    release.set()
    await running
    assert trials.most_deaths() == 3, "it has ended"


async def test_a_suspect_that_runs_for_long_makes_room_for_the_next(watch: Watch) -> None:
    trials = ShardTrials(watch)
    running = asyncio.create_task(asyncio.Event().wait())
    trials.begin(4, running)
    watch.now += TRIAL_SECONDS - 0.1
    assert trials.most_deaths() == 1
    watch.now += 0.1
    assert trials.most_deaths() == 3
    running.cancel()
