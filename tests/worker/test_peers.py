"""Which workers are dead: what a worker concludes from leases that it sees, on its own clock."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import attrs

from statechain.storage.leases import WorkerLease, missing_lease
from statechain.worker.peers import Peers

LEASE = timedelta(seconds=30)


def lease(worker: str = "two", **fields: Any) -> WorkerLease:
    return WorkerLease(**{"worker_id": worker, "until": 1_000_000, "renewals": 1, "length": LEASE, **fields})


def dead_at(peers: Peers, now: float, *leases: WorkerLease) -> list[str]:
    return [each.worker_id for each in peers.find_dead(leases, asked=now, answered=now)]


def test_a_lease_that_stays_as_it_is_for_its_length_is_a_dead_workers() -> None:
    peers = Peers(lambda: "one", LEASE)
    assert dead_at(peers, 100, lease()) == []
    assert dead_at(peers, 129.9, lease()) == []
    assert dead_at(peers, 130, lease()) == ["two"]


def test_its_length_is_its_own() -> None:
    peers = Peers(lambda: "one", LEASE)
    brief, long = lease("brief", length=timedelta(seconds=3)), lease("long", length=timedelta(hours=1))
    assert dead_at(peers, 100, brief, long) == []
    assert peers.next_due() == 103
    assert not peers.is_due(102)
    assert peers.is_due(103)
    assert dead_at(peers, 104, brief, long) == ["brief"]


def test_a_renewal_shows_whatever_the_databases_clock_does() -> None:
    peers = Peers(lambda: "one", LEASE)
    for now, until in ((100, 5_000_000), (125, 3_605_000_000), (150, 1), (175, 1)):
        assert dead_at(peers, now, lease(until=until, renewals=now, is_over=True)) == []
    assert dead_at(peers, 205, lease(until=1, renewals=175, is_over=False)) == ["two"]


def test_the_time_that_a_look_takes_is_not_counted() -> None:
    peers = Peers(lambda: "one", LEASE)
    assert peers.find_dead([lease()], asked=100, answered=110) == []
    assert peers.find_dead([lease()], asked=139, answered=200) == []
    assert peers.find_dead([lease()], asked=140, answered=200) == [lease()]


def test_a_worker_never_judges_itself() -> None:
    peers = Peers(lambda: "two", LEASE)
    assert dead_at(peers, 100, lease(is_dead=True)) == []
    assert dead_at(peers, 900, lease(is_over=True)) == []
    assert peers.next_due() is None
    assert dead_at(peers, 901, lease(is_dead=True), lease("three", is_dead=True)) == ["three"]


def test_what_storage_knows_to_be_dead_is_dead_at_once() -> None:
    assert dead_at(Peers(lambda: "one", LEASE), 100, lease(is_dead=True)) == ["two"]


def test_an_owner_without_a_lease_is_dead_once_that_was_seen_for_a_lease_of_the_observers() -> None:
    peers, stray = Peers(lambda: "one", LEASE), missing_lease("two")
    assert dead_at(peers, 100, stray) == []
    assert peers.next_due() == 130
    assert dead_at(peers, 129.9, stray) == []
    assert dead_at(peers, 130, stray) == ["two"]


def test_an_owner_that_registers_meanwhile_is_watched_anew() -> None:
    """As after a failover that took its registration back: its next renewal makes the lease anew."""
    peers, stray = Peers(lambda: "one", LEASE), missing_lease("two")
    assert dead_at(peers, 100, stray) == []
    assert dead_at(peers, 120, lease()) == []
    assert dead_at(peers, 131, lease()) == []
    assert dead_at(peers, 140, stray) == []
    assert dead_at(peers, 150, lease(renewals=2)) == []
    assert dead_at(peers, 180, lease(renewals=2)) == ["two"]


def test_an_owner_without_a_lease_whose_process_has_ended_is_dead_at_once() -> None:
    assert dead_at(Peers(lambda: "one", LEASE), 100, missing_lease("two", is_dead=True)) == ["two"]


def test_a_worker_without_a_lease_never_judges_itself() -> None:
    peers = Peers(lambda: "two", LEASE)
    assert [dead_at(peers, now, missing_lease("two")) for now in (100, 200)] == [[], []]


def test_after_a_doubt_each_lease_is_watched_anew() -> None:
    """Storage may have failed over to a server where a lease that was renewed is again as it was first seen."""
    peers, seen = Peers(lambda: "one", LEASE), [lease(), missing_lease("three")]
    for now, doubts, dead in ((100, 0, []), (130, 1, []), (159, 1, []), (160, 1, ["two", "three"])):
        found = peers.find_dead(seen, asked=now, answered=now, doubts=doubts)
        assert [each.worker_id for each in found] == dead


def test_a_process_that_has_ended_is_dead_whatever_is_in_doubt() -> None:
    peers, dead = Peers(lambda: "one", LEASE), lease(is_dead=True)
    assert peers.find_dead([dead], asked=100, answered=100, doubts=1) == [dead]


def test_what_is_forgotten_is_due_no_more() -> None:
    peers = Peers(lambda: "one", LEASE)
    assert dead_at(peers, 100, lease()) == []
    peers.forget()
    assert peers.next_due() is None
    assert dead_at(peers, 130, lease()) == []
    assert dead_at(peers, 160, lease()) == ["two"]


def test_a_lease_of_the_release_before_is_over_by_the_databases_clock_too() -> None:
    """It does not say how long it is: an hour's may well stay as it is for longer than one of ours."""
    peers, old = Peers(lambda: "one", LEASE), lease(length=None, renewals=0)
    assert dead_at(peers, 100, old) == []
    assert dead_at(peers, 200, old) == []
    assert dead_at(peers, 300, attrs.evolve(old, is_over=True)) == ["two"]
    fresh = Peers(lambda: "one", LEASE)
    assert dead_at(fresh, 100, attrs.evolve(old, is_over=True)) == []


def test_a_worker_that_comes_back_counts_anew() -> None:
    peers = Peers(lambda: "one", LEASE)
    assert dead_at(peers, 100, lease()) == []
    assert dead_at(peers, 120) == []
    assert dead_at(peers, 140, lease()) == []
    assert dead_at(peers, 170, lease()) == ["two"]


def test_a_worker_that_has_another_id_since_judges_by_that_one() -> None:
    ids = ["one"]
    peers = Peers(lambda: ids[-1], LEASE)
    ids.append("two")
    assert dead_at(peers, 100, lease("one", is_dead=True), lease("two", is_dead=True)) == ["one"]
