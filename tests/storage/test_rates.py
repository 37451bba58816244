"""A rate holds in every stretch of its period, for claims at any times, and allows hardly less."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from statechain.storage.rates import NOTES, RateWindow

PERIOD = 60_000_000
pauses = st.lists(st.integers(0, PERIOD) | st.integers(0, 2_000_000) | st.just(0), min_size=1, max_size=60)
wishes = st.integers(1, 30)
untimed = settings(deadline=None)


@untimed
@given(count=st.integers(1, 25), pauses=pauses, wish=wishes)
def test_no_stretch_of_the_period_has_more_than_the_rate_allows(count: int, pauses: list[int], wish: int) -> None:
    now, stored, taken = 0, None, list[int]()
    for pause in pauses:
        now += pause
        window = RateWindow(count, PERIOD, stored)
        room = min(wish, window.room(now))
        if room:
            window.take(now, room)
            taken += [now] * room
        stored = window.stored()
    for place, begin in enumerate(taken):
        assert sum(begin <= at < begin + PERIOD for at in taken[place:]) <= count


@untimed
@given(count=st.integers(1, 25), pauses=pauses, wish=wishes)
def test_free_at_is_when_there_is_room_again(count: int, pauses: list[int], wish: int) -> None:
    now, window = 0, RateWindow(count, PERIOD)
    for pause in pauses:
        now += pause
        if room := min(wish, window.room(now)):
            window.take(now, room)
        free_at = window.free_at(now)
        assert (window.room(now) > 0) == (free_at <= now)
        if free_at > now:
            assert window.room(free_at - 1) == 0
            assert window.room(free_at) > 0


@untimed
@given(count=st.integers(1, 25))
def test_a_steady_demand_gets_nearly_the_whole_rate(count: int) -> None:
    window, taken, step = RateWindow(count, PERIOD), 0, PERIOD // 1000
    for now in range(0, 10 * PERIOD, step):
        if room := window.room(now):
            window.take(now, room)
            taken += room
    assert taken >= 9 * count


@untimed
@given(pauses=st.lists(st.integers(1, PERIOD // 50), min_size=200, max_size=200))
def test_the_notes_are_few(pauses: list[int]) -> None:
    now, window = 0, RateWindow(10**9, PERIOD)
    for pause in pauses:
        now += pause
        window.take(now, 1)
    assert window.stored().count("[") <= NOTES + 3


def test_a_clock_that_goes_back_frees_nothing() -> None:
    window = RateWindow(2, PERIOD)
    window.take(5_000_000, 1)
    window.take(1_000_000, 1)
    assert window.room(5_000_000 + PERIOD - 1) == 0
    assert window.room(5_000_000 + PERIOD) == 2
