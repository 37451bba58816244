"""However claims interleave, no more runs than a limit allows, and nothing waits for ever."""

from __future__ import annotations

import attrs
import pytest

from support.models.limits import Limits, LimitsSetting
from support.models.search import search, walk

pytestmark = pytest.mark.timeout(3600)  # at full size it searches whole state spaces

SETTINGS = {
    "one at once": LimitsSetting(),
    "two at once of three workers": LimitsSetting(most=2, workers=3, executions=5),
    "a rate": LimitsSetting(most=None, rate=2),
    "both, and dying workers": LimitsSetting(most=2, rate=1, workers=3, crashes=2),
}


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_no_more_runs_than_a_limit_allows(setting: LimitsSetting, most: int, walks: int) -> None:
    near = search(Limits(setting), most=most, settle_every=10)
    assert near.found is None, f"\n{near.found}"
    far = walk(Limits(setting), walks=walks, length=40, seed=7)
    assert far.found is None, f"\n{far.found}"


@pytest.mark.parametrize("rule", ["locks", "counts_after_lock"])
@pytest.mark.parametrize("setting", ["one at once", "a rate"])
def test_each_rule_is_needed(rule: str, setting: str) -> None:
    """Without the lock, or with a count from before it, two claims pass a limit together."""
    found = search(Limits(attrs.evolve(SETTINGS[setting], **{rule: False})), most=5_000).found
    assert found is not None
    assert "executions run, of 1" in found.reason or "were claimed in" in found.reason
