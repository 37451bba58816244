"""What a filter may say; what is illegal is refused when the filter is made, not when storage is asked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statechain import Chained, ExecutionFilter, ExecutionStatus, open_repository

NOON = datetime(2025, 6, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"limit": -1}, "limit is -1"),
        ({"offset": -1}, "offset is -1"),
        ({"limit": 2**63}, "limit"),
        ({"offset": 2**63}, "offset"),
        ({"limit": 1.5}, "whole number"),
        ({"limit": True}, "whole number"),
        ({"offset": None}, "whole number"),
        ({"start_after": NOON.replace(tzinfo=None)}, "naive"),
        ({"start_before": NOON.replace(tzinfo=None)}, "naive"),
        ({"start_after": "2025-06-01"}, "datetime"),
        ({"start_after": NOON, "start_before": NOON}, "earlier"),
        ({"start_after": NOON, "start_before": NOON - timedelta(days=1)}, "earlier"),
        ({"start_after": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1)))}, "years 1 to 9999"),
        ({"status": "SUCCEDED"}, "RUNNING, SUCCEEDED, FAILED, TIMED_OUT, ABORTED"),
        ({"status": ["FAILED", "nonsense"]}, "nonsense"),
        ({"status": "succeeded"}, "succeeded"),
        ({"order": "random"}, "'newest_first' or 'oldest_first'"),
        ({"order": None}, "'newest_first' or 'oldest_first'"),
        ({"name": "a\x00b"}, "NUL"),
        ({"name": "\ud800"}, "surrogate"),
        ({"name": b"order"}, "string"),
        ({"state_machine_id": "\x00"}, "NUL"),
        ({"current_state": "\udfff"}, "surrogate"),
    ],
)
def test_what_means_nothing_is_refused_at_once(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        ExecutionFilter(**wrong)


def test_left_out_is_everything_newest_first() -> None:
    select = ExecutionFilter()
    assert select.order == "newest_first"
    assert (select.limit, select.offset, select.status) == (None, 0, None)


def test_one_status_or_many() -> None:
    for given_status in ("FAILED", ExecutionStatus.FAILED, ["FAILED"], {ExecutionStatus.FAILED}, iter(["FAILED"])):
        assert ExecutionFilter(status=given_status).status == frozenset({ExecutionStatus.FAILED})
    assert ExecutionFilter(status=["FAILED", "ABORTED"]).status == frozenset({"FAILED", "ABORTED"})
    assert ExecutionFilter(status=()).status == frozenset()


def test_times_are_kept_in_utc() -> None:
    elsewhere = NOON.astimezone(timezone(timedelta(hours=5, minutes=45)))
    select = ExecutionFilter(start_after=elsewhere)
    assert select.start_after == NOON
    assert select.start_after is not None
    assert select.start_after.tzinfo is UTC


def test_a_machine_stands_for_its_id() -> None:
    @attrs.frozen
    class Machine:
        id: str

    assert ExecutionFilter(state_machine_id=Machine("m")).state_machine_id == "m"
    for target in (Machine("m"), "m", Chained(to="m"), Chained(to=Machine("m"))):
        assert ExecutionFilter(unchained_to=target).unchained_to == Chained("m", None)


def test_filters_are_values() -> None:
    select = ExecutionFilter(status=["FAILED"], name="a", limit=3)
    assert select == ExecutionFilter(status={"FAILED"}, name="a", limit=3)
    assert hash(select) == hash(ExecutionFilter(status={"FAILED"}, name="a", limit=3))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        select.limit = 4  # type: ignore[misc]


async def test_no_status_at_all_selects_nothing(repository_url: str) -> None:
    async with open_repository(repository_url) as repository:
        assert await repository.count_executions(ExecutionFilter(status=())) == 0
        assert await repository.executions(ExecutionFilter(status=()), after=None, page=5) == []


@given(
    st.builds(
        ExecutionFilter,
        status=st.none() | st.sets(st.sampled_from(ExecutionStatus)),
        name=st.none() | st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])),
        limit=st.none() | st.integers(0, 2**63 - 1),
        offset=st.integers(0, 2**63 - 1),
        start_after=st.none() | st.datetimes(timezones=st.just(UTC)),
        order=st.sampled_from(["newest_first", "oldest_first"]),
        unchained_to=st.none() | st.builds(Chained, to=st.just("m"), source_state_name=st.none() | st.just("S")),
    )
)
def test_a_described_filter_says_all_that_was_asked(select: ExecutionFilter) -> None:
    described = select.described()
    chained: Any = described.pop("unchained_to", None)
    fields: dict[str, Any] = dict(described)
    if "start_after" in fields:
        fields["start_after"] = datetime.fromisoformat(fields["start_after"])
    again = ExecutionFilter(**fields, unchained_to=None if chained is None else Chained(**chained))
    assert again == select
