"""What is counted for a page, within its budget: a count that is missing comes later, and a costly one is kept."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from statechain import ExecutionFilter
from statechain.console import READER, counting
from statechain.console.queries import WINDOWS, window_of
from statechain.records.executions import DurationStatistics
from support.console.office import Office, as_user, client

TOTAL = re.compile(r"<b>(\d+)</b><span class=\"status\" data-status=\"(\w+)\">")


@pytest.mark.parametrize("path", ["/", "/statistics"])
async def test_what_the_budget_does_not_allow_is_left_to_the_next_request(
    office: Office, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    async with client(office.engine, as_user(*READER)) as web:
        monkeypatch.setattr(counting, "BUDGET", -1)
        for _ in range(2):
            page = (await web.get(path)).text
            assert 'hx-trigger="load delay:200ms"' in page
            assert "Count on" in page
        monkeypatch.setattr(counting, "BUDGET", 60)
        assert "Count on" not in (await web.get(path)).text


async def test_a_costly_count_is_kept_for_a_while_and_shown_where_the_budget_is_spent(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "BUDGET", 60)
    monkeypatch.setattr(counting, "WORTH_KEEPING", -1)
    async with client(office.engine, as_user(*READER)) as web:
        before = TOTAL.findall((await web.get("/")).text)
        assert ("0", "SUCCEEDED") not in before
        await office.engine.delete_executions(ExecutionFilter(status="SUCCEEDED"))
        monkeypatch.setattr(counting, "BUDGET", -1)
        assert TOTAL.findall((await web.get("/")).text) == before
        monkeypatch.setattr(counting, "BUDGET", 60)
        monkeypatch.setattr(counting, "MOST_KEPT_FOR", -1)
        await web.get("/")
        assert ("0", "SUCCEEDED") in TOTAL.findall((await web.get("/")).text)


@pytest.mark.parametrize("name", WINDOWS)
def test_the_parts_and_intervals_of_a_window_are_all_of_it(name: str) -> None:
    window = window_of(name)
    assert window.end - window.begin == WINDOWS[name]
    assert window.begin < datetime.now(UTC) - WINDOWS[name] + timedelta(days=1)
    assert window.begin <= datetime.now(UTC) < window.end
    for split in (window.parts(), window.intervals()):
        assert (split[0].begin, split[-1].end) == (window.begin, window.end)
        assert [each.end for each in split[:-1]] == [each.begin for each in split[1:]]


async def test_an_execution_that_starts_where_an_interval_begins_is_counted_in_it_alone(office: Office) -> None:
    (newest,) = await office.engine.list_executions(ExecutionFilter(limit=1))
    total = await office.engine.count_executions(ExecutionFilter(state_machine_id=newest.state_machine_id))
    counted = []
    for begin in (newest.start_time - timedelta(days=1), newest.start_time):
        count = counting.Count(newest.state_machine_id, begin, begin + timedelta(days=1))
        found = await count.read(office.engine.repository)
        assert not isinstance(found, DurationStatistics)
        counted.append(sum(found.values()))
    assert counted[1] >= 1
    assert sum(counted) == total
