"""A batch in shards completes, each item started once, no matter what becomes of its tickets and workers."""

from __future__ import annotations

import attrs
import pytest

from support.models.search import search, walk
from support.models.shards import Shards, ShardsSetting

pytestmark = pytest.mark.timeout(3600)  # at full size it searches whole state spaces

SETTINGS = {
    "tickets": ShardsSetting(faults=(("tickets", 3),)),
    "killed workers": ShardsSetting(shards=3, faults=(("crashes", 2), ("tickets", 1))),
    "stopped workers": ShardsSetting(faults=(("stalls", 2), ("tickets", 1))),
    "a poisoned shard": ShardsSetting(poison=frozenset({0}), faults=(("crashes", 1),)),
    "one at once": ShardsSetting(shards=3, width=1, faults=(("crashes", 1), ("stalls", 1), ("tickets", 1))),
}


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_a_batch_completes_and_starts_each_item_once(setting: ShardsSetting, most: int, walks: int) -> None:
    near = search(Shards(setting), most=most, settle_every=10)
    assert near.found is None, f"\n{near.found}"
    far = walk(Shards(setting), walks=walks, length=40, seed=7)
    assert far.found is None, f"\n{far.found}"


def test_a_worker_must_claim_again_what_it_owns_and_does_not_run() -> None:
    setting = attrs.evolve(SETTINGS["stopped workers"], claims_dropped=False)
    found = walk(Shards(setting), walks=400, length=40, seed=7).found
    assert found is not None
    assert "are left for ever" in found.reason


def test_a_poisoned_shard_fails_and_the_others_are_done() -> None:
    shards = Shards(ShardsSetting(shards=3, poison=frozenset({1})))
    ended = shards.settle(shards.start())
    assert [shard.status for shard in ended.shards] == ["DONE", "FAILED", "DONE"]
