"""Group testing: how many suspects are tried beside each other, how long they are left alone, when one is poison."""

from __future__ import annotations

from datetime import timedelta

import attrs
import pytest

from statechain.execution.running import RunningExecution
from statechain.limits import Limits
from statechain.records.executions import Claim
from statechain.storage.journal.ledger import ExecutionWrites
from statechain.testing.contract.samples import execution
from statechain.worker.suspects import GROUPS, LONGEST_TRIAL, Trials, backoff, deaths_alone, group_size, is_poisoned

LIMITS = Limits()


@attrs.define
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def trials_of(*deaths: int) -> tuple[Trials, list[RunningExecution], Clock]:
    clock = Clock()
    trials, lives = Trials(clock), [RunningExecution(f"suspect-{number}") for number in range(len(deaths))]
    for live, each in zip(lives, deaths, strict=True):
        trials.begin(live, each)
    return trials, lives, clock


def test_groups_shrink_with_each_death_down_to_one() -> None:
    sizes = [group_size(deaths) for deaths in range(1, 9)]
    assert sizes == [*GROUPS, 1, 1, 1, 1, 1]
    assert sizes == sorted(sizes, reverse=True)


def test_only_deaths_after_the_groups_were_alone() -> None:
    assert [deaths_alone(deaths) for deaths in (1, len(GROUPS) + 1, len(GROUPS) + 2, len(GROUPS) + 6)] == [0, 0, 1, 5]


@pytest.mark.parametrize(
    ("running", "deaths", "room"),
    [
        ((), 1, 32),
        ((), 9, 1),
        ((1,) * 31, 1, 1),
        ((1,) * 32, 1, 0),
        ((1,) * 8, 2, 0),
        ((1,) * 7, 2, 1),
        ((3,), 1, 1),
        ((9,), 1, 0),
        ((1,), 9, 0),
    ],
)
def test_no_suspect_runs_beside_more_than_the_smallest_group_among_them(
    running: tuple[int, ...], deaths: int, room: int
) -> None:
    trials, _, _ = trials_of(*running)
    assert trials.room(deaths) == room


def test_a_suspect_that_makes_progress_or_ends_or_waits_makes_room() -> None:
    trials, (ended, rested, advanced), _ = trials_of(1, 1, 1)
    assert trials.room(2) == 5
    ended.resolve(None)
    assert trials.room(2) == 6
    rested.has_rested = True
    assert trials.room(2) == 7
    advanced.ledger = ExecutionWrites(Claim(execution=execution(), epoch=2, seq=3))
    assert trials.room(2) == 7
    advanced.ledger.seq += 1
    assert trials.room(2) == 8


def test_a_long_handler_does_not_keep_others_waiting_for_good() -> None:
    """What is tried beside it is not alone."""
    trials, (long,), clock = trials_of(9)
    assert trials.room(9) == 0
    clock.now += LONGEST_TRIAL + 1
    assert trials.room(9) == 1
    assert not trials.are_over
    long.resolve(None)
    assert trials.are_over


def test_the_backoff_doubles_up_to_a_longest() -> None:
    assert [backoff(deaths, LIMITS).total_seconds() for deaths in (1, 2, 3, 6, 7, 1000)] == [1, 2, 4, 32, 60, 60]


def test_poison_has_died_alone_and_been_a_suspect_for_long_enough() -> None:
    deaths = len(GROUPS) + 1 + LIMITS.claims
    long, brief = timedelta(seconds=LIMITS.suspect_seconds), timedelta(seconds=LIMITS.suspect_seconds - 1)

    def poisoned(claims: int, suspected: timedelta) -> bool:
        return is_poisoned(Claim(execution=execution(), epoch=9, seq=0, claims=claims, suspected=suspected), LIMITS)

    assert poisoned(deaths, long)
    assert not poisoned(deaths - 1, long)
    assert not poisoned(deaths, brief)
