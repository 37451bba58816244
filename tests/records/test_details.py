"""What a visit remembers comes back from its text as it was, and is small where there is little to remember."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statechain.payload import Payload
from statechain.records.details import (
    NO_DETAIL,
    STRAIGHT,
    ExternalWait,
    FormerEnd,
    Moment,
    MomentKind,
    VisitDetail,
    dump_moments,
)

BEGAN = datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC)
TIMES = st.integers(0, 10**9).map(lambda micros: BEGAN + timedelta(microseconds=micros))
FACTS = st.lists(st.none() | st.integers(0, 10**6) | st.text(st.characters(codec="utf-8"), max_size=5), max_size=3)
MOMENTS = st.builds(Moment, st.sampled_from(MomentKind), st.integers(1, 10**6), TIMES, FACTS.map(tuple))
WAITS = st.builds(ExternalWait, st.lists(st.text("ab/#~", max_size=5)), st.none() | TIMES, st.none() | TIMES)
DETAILS = st.builds(
    VisitDetail,
    moments=st.lists(MOMENTS, max_size=4).map(tuple),
    after=st.integers(0, 5),
    retries=st.lists(st.integers(1, 3), max_size=2).map(tuple),
    round=st.integers(0, 5),
    iteration_started=st.integers(0, 5),
    resume_at=st.none() | TIMES,
    attempting=st.booleans(),
    outside=st.none() | WAITS,
    assigned=st.dictionaries(st.text("xy", min_size=1, max_size=2), st.integers()),
    missed_heartbeat=st.booleans(),
    is_full=st.booleans(),
)


@given(DETAILS)
def test_a_detail_comes_back_from_its_text(detail: VisitDetail) -> None:
    assert VisitDetail.load(detail.dump()) == detail


@given(st.lists(MOMENTS, min_size=1, max_size=4), st.integers(0, 5))
def test_moments_alone_have_the_text_of_the_detail_that_they_are(moments: list[Moment], started: int) -> None:
    assert dump_moments(moments, started) == VisitDetail(moments=moments, iteration_started=started).dump()


@pytest.mark.parametrize("value", [None, 0, "text", {"a": [1]}])
@pytest.mark.parametrize("more", [{}, {"round": 3}])
def test_a_result_is_kept_by_its_text(value: Any, more: dict[str, Any]) -> None:
    loaded = VisitDetail.load(VisitDetail(result=Payload.isolated(value), **more).dump())
    assert loaded.result is not None
    assert loaded.result.value == value
    assert loaded.round == more.get("round", 0)


def test_nothing_to_remember_is_no_text() -> None:
    assert VisitDetail().dump() is None
    assert VisitDetail(retries=[0, 0]).dump() is None
    assert VisitDetail.load(None) is NO_DETAIL


def test_each_row_has_the_moments_since_the_row_before() -> None:
    first, second, third = (Moment(kind, event, BEGAN) for event, kind in enumerate(STRAIGHT))
    rows = [VisitDetail(moments=[first]), VisitDetail(moments=[second], after=1), VisitDetail(moments=[third], after=2)]
    assert list(VisitDetail.joined(rows).moments) == [first, second, third]
    assert list(VisitDetail.joined([*rows, NO_DETAIL]).moments) == []


@pytest.mark.parametrize("text", ["[]", '{"moments":[["unknown",1,0]]}', '{"moments":[[]]}', '{"outside":{}}'])
def test_a_damaged_text_is_refused(text: str) -> None:
    with pytest.raises((TypeError, ValueError, LookupError)):
        VisitDetail.load(text)


@pytest.mark.parametrize("ended", [None, BEGAN])
def test_the_end_before_a_redrive_comes_back(ended: datetime | None) -> None:
    end = FormerEnd("FAILED", ended, "E", None)
    assert FormerEnd.load(end.dump()) == end
    assert FormerEnd.load(None) is None
