"""Leases that are missing, and why a write under a lease is refused."""

from __future__ import annotations

import pytest

from statechain.errors import LossReason
from statechain.storage.leases import WorkerLease, lease_lost, missing_lease


def test_a_missing_lease_is_over_and_is_no_lease_that_is_there() -> None:
    missing = missing_lease("one")
    assert missing == WorkerLease(worker_id="one", until=0, renewals=0, length=None, is_missing=True)
    assert missing != WorkerLease(worker_id="one", until=0, renewals=0, length=None)
    assert (missing.is_over, missing.is_dead) == (True, False)
    assert missing_lease("one", is_dead=True).is_dead


@pytest.mark.parametrize(
    ("stored", "reason", "words"),
    [
        (8, "ANOTHERS", "another worker claimed it"),
        (7, "BEHIND", "storage holds less than it acknowledged"),
        (6, "BEHIND", "storage holds less than it acknowledged"),
        (None, "ENDED", "it has ended, or was deleted"),
    ],
)
def test_a_write_is_refused_for_what_became_of_its_claim(stored: int | None, reason: LossReason, words: str) -> None:
    lost = lease_lost("order-1", 7, stored)
    assert lost.reason == reason
    assert str(lost).startswith(f"execution order-1 is lost to this worker ({reason}): {words}")
