"""Writes with one key keep their order: what comes while its key is on its way waits for it."""

from __future__ import annotations

from statechain.storage.journal.keys import BusyKeys


def key_of(entry: str) -> str | None:
    """Return an entry's first letter; a dash has no key."""
    return None if entry[0] == "-" else entry[0]


def test_what_has_a_busy_key_waits_and_the_rest_passes() -> None:
    keys = BusyKeys[str]()
    assert keys.passed(["a1", "b1", "-"], key_of) == ["a1", "b1", "-"]
    keys.occupy({"a", "b"})
    assert keys.passed(["a1", "c1", "-", "b1", "c2", "a2"], key_of) == ["c1", "-", "c2"]
    assert keys.waiting == ["a1", "a2", "b1"]


def test_what_waited_goes_on_in_its_order_once_its_key_is_free() -> None:
    keys = BusyKeys[str]()
    keys.occupy({"a", "b"})
    keys.passed(["a1", "b1", "a2"], key_of)
    assert keys.passed(["a3"], key_of) == []
    assert keys.free({"a", "c"}) == ["a1", "a2", "a3"]
    assert keys.waiting == ["b1"]
    assert keys.passed(["a4", "b2"], key_of) == ["a4"]
    assert keys
    assert keys.free({"b"}) == ["b1", "b2"]
    assert not keys
    assert keys.free({"a", "b"}) == []
