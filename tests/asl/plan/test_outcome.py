"""Outcomes are values: they compare by what they hold, and cannot be changed."""

from __future__ import annotations

import attrs
import pytest

from statechain.asl.outcome import CallTask, Done, FanOut, Next, Tolerance


def test_they_compare_by_what_they_hold() -> None:
    assert Next("A", {"n": [1]}) == Next("A", {"n": [1]})
    assert Next("A", 1) != Next("B", 1)
    assert Done(1, {"x": 1}) != Done(1)
    assert CallTask("r", 1) == CallTask("r", 1, None, None, None)


def test_they_cannot_be_changed() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Done(1).output = 2  # type: ignore[misc]


def test_a_fan_out_tolerates_no_failure_unless_it_says_so() -> None:
    assert FanOut(branches=[]).tolerance() == Tolerance(None, None)
