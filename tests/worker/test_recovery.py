"""The loop that takes over what dead workers left."""

from __future__ import annotations

from statechain.worker.recovery import pause_after


def test_looks_that_fail_are_further_and_further_apart_up_to_a_period_of_the_lease() -> None:
    assert [pause_after(failures, 10.0) for failures in range(1, 9)] == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert pause_after(10_000, 10.0) == 10.0
    assert pause_after(1, 0.1) == 0.1
