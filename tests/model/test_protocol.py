"""The protocol of leases, epochs, claims and suspects keeps its promises; its former rules did not."""

from __future__ import annotations

import attrs
import pytest

from support.models.protocol import Protocol
from support.models.search import Found, search, walk
from support.models.states import NEW, OLD, Rules, Setting

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]  # searches whole state spaces

LENGTH = 50
SEED = 7
ENOUGH = 20_000
"""How many states are looked at for what is known to be there; it is found much sooner."""

POISON = Setting(steps=(1, 1, 1), poison=frozenset({0}), faults={"crashes": 1})
SETTINGS = {
    "killed workers": Setting(faults={"crashes": 3}),
    "a poison": POISON,
    "a poison and clocks": attrs.evolve(POISON, faults={"crashes": 1, "clock steps": 1, "stalls": 1}),
    "clock steps": Setting(faults={"clock steps": 2, "crashes": 1}),
    "a failover": Setting(faults={"failovers": 1}),
    "a failover and a long execution": Setting(steps=(6,), faults={"failovers": 1}),
    "a failover and dead workers": Setting(steps=(2,), faults={"failovers": 1, "crashes": 2, "stalls": 1}),
    "three workers": Setting(steps=(2,), workers=3, faults={"failovers": 1, "crashes": 1, "stalls": 1}),
    "stopped workers": Setting(faults={"stalls": 2, "crashes": 1}),
    "lost replies": Setting(faults={"lost replies": 2, "crashes": 1}),
    "starts in doubt": Setting(steps=(2, 1), later=1, faults={"lost replies": 1}),
    "redrives in doubt": Setting(steps=(1, 1), later=1, in_doubt=True),
    "starts and failovers": Setting(steps=(2, 1), later=1, faults={"failovers": 1, "crashes": 1, "stalls": 1}),
    "everything": Setting(faults={"lost replies": 1, "crashes": 2, "stalls": 1, "clock steps": 1, "failovers": 1}),
}


def found_in(rules: Rules, setting: Setting, *, seed: int = SEED) -> Found | None:
    """Return what a search finds near the start or else far from it."""
    protocol = Protocol(rules, setting)
    near = search(protocol, most=300).found
    return near or walk(protocol, walks=ENOUGH // LENGTH, length=LENGTH, seed=seed).found


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_nothing_is_broken_near_the_start(setting: Setting, most: int) -> None:
    searched = search(Protocol(NEW, setting), most=most, settle_every=10)
    assert searched.found is None, f"\n{searched.found}"
    assert searched.states == most


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_nothing_is_broken_on_long_walks(setting: Setting, walks: int) -> None:
    searched = walk(Protocol(NEW, setting), walks=walks, length=LENGTH, seed=SEED)
    assert searched.found is None, f"\n{searched.found}"


def test_a_poisoned_execution_ends_failed_and_its_neighbours_succeed() -> None:
    protocol = Protocol(NEW, attrs.evolve(POISON, faults={}))
    ended = protocol.settle(protocol.start())
    assert [row.status for row in ended.storage.rows] == ["FAILED", "SUCCEEDED", "SUCCEEDED"]


def test_the_former_rules_failed_the_neighbours_of_a_poison() -> None:
    found = found_in(OLD, POISON)
    assert found is not None
    assert "is innocent, and FAILED" in found.reason


def test_the_former_rules_failed_everything_when_workers_were_killed_again_and_again() -> None:
    found = found_in(OLD, Setting(steps=(1,), faults={"crashes": 3}), seed=1)
    assert found is not None
    assert "is innocent, and FAILED" in found.reason


def test_the_former_rules_failed_everything_when_the_database_clock_stepped_forward() -> None:
    found = found_in(OLD, Setting(faults={"clock steps": 1}))
    assert found is not None
    assert found.trace[-1] == "the database's clock steps forward"
    assert "is innocent, and FAILED" in found.reason


def test_the_former_rules_left_executions_running_for_ever_after_a_failover() -> None:
    found = found_in(OLD, Setting(faults={"failovers": 1}))
    assert found is not None
    assert found.trace[-1] == "the standby takes over"
    assert "stay RUNNING for ever" in found.reason


NEEDED = {
    "doubts_after_outage": ("a failover", "stay RUNNING for ever"),
    "compares_writes": ("three workers", "for recorded"),
    "waits_for_missing": ("starts and failovers", "two workers whose leases hold run"),
    "releases_by_epoch": ("redrives in doubt", "for orphaned, which it runs"),
    "looks_after_answer": ("starts in doubt", "for orphaned, which it runs"),
    "forgets_after_outage": ("a failover and a long execution", "two workers whose leases hold run"),
}


@pytest.mark.parametrize("rule", NEEDED)
def test_each_rule_for_doubts_is_needed(rule: str) -> None:
    """Without any one of them a search finds a violation."""
    setting, reason = NEEDED[rule]
    found = found_in(attrs.evolve(NEW, **{rule: False}), SETTINGS[setting])
    assert found is not None
    assert reason in found.reason
