"""The contract of finding executions: each filter alone and combined, both orders, pages, counts, statistics.

What a filter means is stated once more here, in Python, by `model`; every answer is compared with it.
"""

# ruff: noqa: D102, S101 -- a test's name says what it shows

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest

from statechain.records.executions import DurationStatistics, Execution, ExecutionStatus
from statechain.records.filters import Chained, Cursor, ExecutionFilter, ExecutionKey
from statechain.storage.repository import Repository, StartExecution
from statechain.testing.contract.samples import (
    ENDINGS,
    FAILURES,
    chained,
    commit,
    deleting,
    execution,
    finish,
    ids,
    moment,
    redriving,
    seed,
    start,
)

__all__ = ["FilterContract", "PagingContract", "StatisticsContract", "all_pages", "model"]

LIVING = {ExecutionStatus.RUNNING, ExecutionStatus.SUCCEEDED}


def model(stored: Iterable[Execution], filter_: ExecutionFilter) -> list[Execution]:
    """Return what a filter means of some executions, in its order; limit and offset play no part."""
    everything = list(stored)
    meant = [each for each in everything if _is_meant(each, filter_, everything)]
    # Python sorts by code points, which is the order of the UTF-8 bytes too.
    return sorted(meant, key=lambda each: (each.start_time, each.id), reverse=filter_.order == "newest_first")


def _is_meant(each: Execution, filter_: ExecutionFilter, everything: Sequence[Execution]) -> bool:
    checks = [
        filter_.status is None or each.status in filter_.status,
        filter_.state_machine_id is None or each.state_machine_id == filter_.state_machine_id,
        filter_.name is None or filter_.name in each.name,
        filter_.text is None or filter_.text in each.name or each.id.startswith(filter_.text),
        filter_.current_state is None or each.current_state == filter_.current_state,
        filter_.start_after is None or each.start_time > filter_.start_after,
        filter_.start_before is None or each.start_time < filter_.start_before,
        filter_.unchained_to is None or not _is_chained(each, filter_.unchained_to, everything),
    ]
    return all(checks)


def _is_chained(source: Execution, to: Chained, everything: Sequence[Execution]) -> bool:
    return any(
        each.source is not None
        and each.source.execution_id == source.id
        and to.source_state_name in {None, each.source.state_name}
        and each.state_machine_id == to.to
        and each.status in LIVING
        for each in everything
    )


async def all_pages(repository: Repository, filter_: ExecutionFilter, page: int) -> list[Execution]:
    """Return what a filter means, page by page; the keys of each page are those of its executions."""
    found: list[Execution] = []
    after: Cursor | None = None
    while got := await repository.executions(filter_, after=after, page=page):
        assert len(got) <= page
        keys = await repository.execution_keys(filter_, after=after, page=page)
        assert list(keys) == [ExecutionKey.of(each) for each in got]
        found.extend(got)
        after = Cursor.of(got[-1])
    return found


def zoo() -> list[Execution]:
    """Return executions of every kind: two machines, all statuses, states, ties in time, some chained from others."""
    made: list[Execution] = []
    for index in range(30):
        status = list(ExecutionStatus)[index % 5]
        one = execution(
            # Not in the order of the times, so that a tie is seen to be broken by the id.
            id=f"{'zyxwvu'[index % 6]}{index:02}",
            name=f"{('order', 'Order', 'bill')[index % 3]}-{index}",
            state_machine_id=f"machine-{'ab'[index % 2]}",
            status=status,
            start_time=moment(index // 4),
            end_time=moment(100 + index) if status.is_terminal else None,
            current_state=(None, "Price", "price", "Bill")[index % 4],
        )
        made.append(one)
        if index % 3 == 0:
            state = (None, "Price")[index % 2]
            target = chained(one, state=state, id=f"chained-{index:02}", start_time=moment(index // 4), status=status)
            made.append(attrs.evolve(target, end_time=one.end_time))
    return made


FILTERS: list[dict[str, Any]] = [
    {},
    *({"status": status} for status in ExecutionStatus),
    {"status": ["RUNNING", "FAILED"]},
    {"status": ["FAILED", "TIMED_OUT", "ABORTED"]},
    {"status": list(ExecutionStatus)},
    {"status": []},
    {"state_machine_id": "machine-a"},
    {"state_machine_id": "machine-A"},
    {"name": "order"},
    {"name": ""},
    {"current_state": "Price"},
    {"current_state": "First"},
    {"current_state": "nowhere"},
    {"start_after": moment(3)},
    {"start_before": moment(3)},
    {"start_after": moment(2), "start_before": moment(4)},
    {"unchained_to": "machine-b"},
    {"unchained_to": Chained("machine-b", "Price")},
    {"unchained_to": "machine-z"},
    {"state_machine_id": "machine-a", "status": "SUCCEEDED"},
    {"state_machine_id": "machine-b", "status": ["RUNNING", "ABORTED"], "name": "-2"},
    {"current_state": "Price", "status": "RUNNING"},
    {"current_state": "Bill", "status": ["FAILED", "RUNNING"]},
    {"current_state": "Bill", "status": []},
    {"current_state": "price", "status": ["FAILED"], "start_after": moment(1)},
    {"name": "bill", "start_before": moment(5), "unchained_to": "machine-b"},
    {
        "status": ["SUCCEEDED", "RUNNING", "FAILED"],
        "state_machine_id": "machine-a",
        "name": "r",
        "current_state": "price",
        "start_after": moment(0),
        "start_before": moment(7),
        "unchained_to": Chained("machine-b", "Price"),
    },
]

# Wildcards of LIKE and GLOB, quotes, and letters that case folding, normalisation or a collation would equate.
AWKWARD = [
    "100%",
    "100% sure",
    "a_b",
    "aXb",
    "back\\slash",
    "back\\\\slash",
    "it's",
    'say "x"',
    "Größe",
    "GRÖSSE",
    "groesse",
    "cafe\u0301",
    "café",
    "🦀 crab",
    "👩\u200d👩\u200d👧",
    "'; DROP TABLE executions; --",
    "$1 %s ? :name {0}",
    "tab\there",
    "line\nbreak",
    " space ",
    "*[a-z]*",
    "ABC",
    "abc",
    "İstanbul",
    "\ufeffbom",
]

PARTS = ["%", "%%", "a%b", "_", "\\", "\\\\", "'", '"', "--", "?", ":", "a-z", "\t", "\n", " ", "\ufeff", "🦀", "👧"]
PARTS += ["ö", "o", "e\u0301", "é", "E", "b", "B", "i", "İ", "zzz"]


class FilterContract:
    """Which executions a filter means."""

    @pytest.mark.parametrize("order", ["newest_first", "oldest_first"])
    @pytest.mark.parametrize("fields", FILTERS, ids=lambda fields: "+".join(fields) or "everything")
    async def test_each_filter(self, repository: Repository, fields: dict[str, Any], order: str) -> None:
        stored = zoo()
        await seed(repository, *stored)
        filter_ = ExecutionFilter(order=order, **fields)  # type: ignore[arg-type]
        expected = model(stored, filter_)
        assert list(await repository.executions(filter_, after=None, page=1000)) == expected
        assert ids(await all_pages(repository, filter_, 4)) == ids(expected)
        assert await repository.count_executions(filter_) == len(expected)

    async def test_a_name_is_a_literal_part(self, repository: Repository) -> None:
        await seed(repository, *(execution(name=name) for name in AWKWARD))
        parts = [*AWKWARD, *PARTS]
        for part in parts:
            found = await repository.executions(ExecutionFilter(name=part), after=None, page=1000)
            assert sorted(each.name for each in found) == sorted(name for name in AWKWARD if part in name), part
            assert await repository.count_executions(ExecutionFilter(name=part)) == len(found)

    @pytest.mark.parametrize("field", ["state_machine_id", "current_state"])
    async def test_ids_and_states_are_whole_and_bytewise(self, repository: Repository, field: str) -> None:
        await seed(repository, *(execution(**{field: text}) for text in AWKWARD))
        for text in [*AWKWARD, "%", "abc "]:
            filter_ = ExecutionFilter(**{field: text})  # type: ignore[arg-type]
            found = await repository.executions(filter_, after=None, page=1000)
            assert [getattr(each, field) for each in found] == [text] * (text in AWKWARD)

    async def test_bounds_are_exclusive_to_the_microsecond(self, repository: Repository) -> None:
        tick = timedelta(microseconds=1)
        made = [execution(start_time=moment(5) + count * tick) for count in (-1, 0, 1)]
        await seed(repository, *made)
        later = await repository.executions(ExecutionFilter(start_after=moment(5)), after=None, page=9)
        earlier = await repository.executions(ExecutionFilter(start_before=moment(5)), after=None, page=9)
        between = ExecutionFilter(start_after=moment(5) - tick, start_before=moment(5) + tick)
        assert ids(later) == [made[2].id]
        assert ids(earlier) == [made[0].id]
        assert ids(await repository.executions(between, after=None, page=9)) == [made[1].id]

    async def test_times_of_all_ages(self, repository: Repository) -> None:
        times = [
            datetime.min.replace(tzinfo=UTC),
            datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
            datetime(1970, 1, 1, tzinfo=UTC),
            # Past what 64 bits hold in nanoseconds since 1970.
            datetime(2262, 4, 12, tzinfo=UTC),
            datetime.max.replace(tzinfo=UTC),
        ]
        made = [execution(start_time=each) for each in times]
        await seed(repository, *made)
        found = await all_pages(repository, ExecutionFilter(order="oldest_first"), 2)
        assert [each.start_time for each in found] == times
        for bound in times:
            filter_ = ExecutionFilter(start_after=bound)
            assert list(await repository.executions(filter_, after=None, page=9)) == model(made, filter_)

    async def test_the_state_is_that_of_now_and_of_the_end(self, repository: Repository) -> None:
        made = await start(repository, current_state="Price")
        price = ExecutionFilter(current_state="Price")
        assert await repository.count_executions(price) == 1
        await finish(repository, of=made)
        assert await repository.count_executions(price) == 1
        assert await repository.count_executions(attrs.evolve(price, status=["RUNNING"])) == 0

    async def test_an_execution_is_one_though_it_is_redriven(self, repository: Repository) -> None:
        made = await finish(repository, status=ExecutionStatus.FAILED, current_state="Price")
        claim = await commit(repository, redriving(made))
        assert claim is not None
        price, either = ExecutionFilter(current_state="Price"), ExecutionFilter(status=["RUNNING", "FAILED"])
        for filter_ in (price, either, ExecutionFilter()):
            assert list(await repository.executions(filter_, after=None, page=9)) == [claim.execution]
            (key,) = await repository.execution_keys(filter_, after=None, page=9)
            assert key == ExecutionKey(made.start_time, made.id, redrive_count=1)
            assert await repository.count_executions(filter_) == 1

    @pytest.mark.parametrize("status", list(ExecutionStatus))
    @pytest.mark.parametrize("state", [None, "Price"])
    async def test_unchained_to(self, repository: Repository, status: ExecutionStatus, state: str | None) -> None:
        source, idle = await finish(repository), await finish(repository)
        target = chained(source, state=state)
        await commit(repository, StartExecution(execution=target, owner="worker"))
        if status.is_terminal:
            await finish(repository, of=target, status=status)

        async def unchained(to: str, by_state: str | None) -> list[str]:
            filter_ = ExecutionFilter(
                state_machine_id="machine-a", order="oldest_first", unchained_to=Chained(to, by_state)
            )
            assert await repository.count_executions(filter_) == len(await all_pages(repository, filter_, 1))
            return ids(await repository.executions(filter_, after=None, page=9))

        left = ids([idle] if status in LIVING else [source, idle])
        assert await unchained("machine-b", state) == left
        assert await unchained("machine-b", None) == left
        assert await unchained("machine-b", "Price") == (ids([source, idle]) if state is None else left)
        assert await unchained("machine-b", "price") == ids([source, idle])
        assert await unchained("machine-c", state) == ids([source, idle])

    @pytest.mark.parametrize("status", FAILURES)
    async def test_one_chain_that_lives_is_enough(self, repository: Repository, status: ExecutionStatus) -> None:
        source = await finish(repository)
        failed, running = chained(source), chained(source)
        await repository.commit([StartExecution(execution=each, owner="worker") for each in (failed, running)])
        await finish(repository, of=failed, status=status)
        filter_ = ExecutionFilter(state_machine_id="machine-a", unchained_to="machine-b")
        assert await repository.count_executions(filter_) == 0
        await finish(repository, of=running, status=status)
        assert await repository.count_executions(filter_) == 1
        await commit(repository, redriving(failed))
        assert await repository.count_executions(filter_) == 0

    async def test_a_deleted_chain_counts_no_more(self, repository: Repository) -> None:
        source = await finish(repository)
        target = chained(source)
        await commit(repository, StartExecution(execution=target, owner="worker"))
        await finish(repository, of=target)
        await commit(repository, deleting(target))
        assert await repository.count_executions(ExecutionFilter(unchained_to="machine-b")) == 1


class PagingContract:
    """Order, offset, pages and cursors."""

    @pytest.mark.parametrize("order", ["newest_first", "oldest_first"])
    @pytest.mark.parametrize("page", [1, 2, 7, 41, 1000])
    async def test_pages_make_the_whole(self, repository: Repository, order: str, page: int) -> None:
        stored = zoo()
        await seed(repository, *stored)
        filter_ = ExecutionFilter(order=order)  # type: ignore[arg-type]
        assert await all_pages(repository, filter_, page) == model(stored, filter_)

    @pytest.mark.parametrize("order", ["newest_first", "oldest_first"])
    async def test_ties_in_time_go_by_id_bytewise(self, repository: Repository, order: str) -> None:
        # The crab and U+FF5E change places where UTF-16 units are compared.
        keys = ["b", "a", "B", "aa", "ä", "-", "10", "9", "🦀", "\uff5e", "a b"]
        await seed(repository, *(execution(id=key, start_time=moment()) for key in keys))
        filter_ = ExecutionFilter(order=order)  # type: ignore[arg-type]
        expected = sorted(keys, key=str.encode, reverse=order == "newest_first")
        assert ids(await repository.executions(filter_, after=None, page=99)) == expected
        assert ids(await all_pages(repository, filter_, 1)) == expected

    @pytest.mark.parametrize("offset", [0, 1, 39, 40, 41, 2**62])
    async def test_the_offset_skips_the_first(self, repository: Repository, offset: int) -> None:
        stored = zoo()
        await seed(repository, *stored)
        filter_ = ExecutionFilter(offset=offset)
        expected = model(stored, filter_)[offset:]
        assert list(await repository.executions(filter_, after=None, page=1000)) == expected
        assert list(await repository.executions(filter_, after=None, page=3)) == expected[:3]
        keys = await repository.execution_keys(filter_, after=None, page=3)
        assert list(keys) == [ExecutionKey.of(each) for each in expected[:3]]

    @pytest.mark.parametrize("machine", [None, "machine-a"])
    async def test_the_largest_offset_skips_all(self, repository: Repository, machine: str | None) -> None:
        await start(repository)
        filter_ = ExecutionFilter(state_machine_id=machine, offset=2**63 - 1, limit=2**63 - 1)
        assert await all_pages(repository, filter_, 3) == []

    async def test_the_offset_plays_no_part_behind_a_cursor(self, repository: Repository) -> None:
        stored = zoo()
        await seed(repository, *stored)
        expected = model(stored, ExecutionFilter())
        filter_ = ExecutionFilter(offset=5)
        found = await repository.executions(filter_, after=Cursor.of(expected[9]), page=4)
        assert list(found) == expected[10:14]

    async def test_limit_is_the_callers_business(self, repository: Repository) -> None:
        stored = zoo()
        await seed(repository, *stored)
        filter_ = ExecutionFilter(limit=2, offset=3)
        assert len(await repository.executions(filter_, after=None, page=10)) == 10
        assert await repository.count_executions(filter_) == len(stored)
        assert await repository.count_executions(ExecutionFilter(limit=0)) == len(stored)

    @pytest.mark.parametrize("order", ["newest_first", "oldest_first"])
    async def test_what_is_inserted_meanwhile_moves_no_page(self, repository: Repository, order: str) -> None:
        made = [execution(start_time=moment(10 * index)) for index in range(9)]
        await seed(repository, *made)
        filter_ = ExecutionFilter(order=order)  # type: ignore[arg-type]
        found: list[Execution] = []
        after: Cursor | None = None
        while got := await repository.executions(filter_, after=after, page=2):
            found.extend(got)
            after = Cursor.of(got[-1])
            # On the side that was read already, where an offset would shift, and a cursor does not.
            behind = -1 if order == "oldest_first" else 1
            await start(repository, start_time=got[0].start_time + timedelta(seconds=behind))
        assert ids(found) == ids(model(made, filter_))

    async def test_what_is_deleted_meanwhile_moves_no_page(self, repository: Repository) -> None:
        made = [await finish(repository) for _ in range(7)]
        filter_ = ExecutionFilter(order="oldest_first")
        first = await repository.executions(filter_, after=None, page=3)
        # With the execution that the cursor names, and the next one.
        assert await commit(repository, deleting(*made[:4])) == 4
        rest = await repository.executions(filter_, after=Cursor.of(first[-1]), page=9)
        assert ids([*first, *rest]) == ids([*made[:3], *made[4:]])

    async def test_a_cursor_is_a_place_and_need_not_be_an_execution(self, repository: Repository) -> None:
        made = [execution(id=f"id-{index}", start_time=moment()) for index in (1, 3, 5)]
        await seed(repository, *made)
        for place, later in [("id-0", 3), ("id-1", 2), ("id-2", 2), ("id-5", 0)]:
            filter_ = ExecutionFilter(order="oldest_first")
            assert len(await repository.executions(filter_, after=Cursor(moment(), place), page=9)) == later
        assert len(await repository.executions(ExecutionFilter(), after=Cursor(moment(), "id-3"), page=9)) == 1
        assert len(await repository.executions(ExecutionFilter(), after=Cursor(moment(1), ""), page=9)) == 3


def nearest_rank(values: Sequence[float], percent: int) -> float:
    """Return a percentile as its definition says: the least value that this share of them does not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


class StatisticsContract:
    """Counts and durations by status."""

    @pytest.mark.parametrize(
        "seconds",
        [
            [1.5],
            [0.0, 0.0],
            [2.0, 1.0],
            [0.000001, 0.000003, 0.000002],
            [float(number) for number in range(1, 21)],
            [float(number) for number in range(1, 101)],
            [number * 0.25 for number in range(149, 0, -1)],
            [86_400.0 * 400, 0.5],
        ],
        ids=len,
    )
    async def test_durations(self, repository: Repository, seconds: list[float]) -> None:
        status = ENDINGS[len(seconds) % 4]
        await seed(
            repository,
            *(
                execution(status=status, start_time=moment(index), end_time=moment(index) + timedelta(seconds=each))
                for index, each in enumerate(seconds)
            ),
        )
        found = await repository.statistics("machine-a")
        assert {known: attrs.asdict(each) for known, each in found.items()} == {
            status: {
                "count": len(seconds),
                "min": pytest.approx(min(seconds)),
                "mean": pytest.approx(sum(seconds) / len(seconds)),
                "p50": pytest.approx(nearest_rank(seconds, 50)),
                "p95": pytest.approx(nearest_rank(seconds, 95)),
                "p99": pytest.approx(nearest_rank(seconds, 99)),
                "max": pytest.approx(max(seconds)),
            }
        }

    async def test_each_status_stands_alone_and_running_has_no_duration(self, repository: Repository) -> None:
        for status in ENDINGS:
            await finish(repository, status=status)
        running = [await start(repository) for _ in range(2)]
        found = await repository.statistics("machine-a")
        assert {status: each.count for status, each in found.items()} == {
            **dict.fromkeys(ENDINGS, 1),
            ExecutionStatus.RUNNING: len(running),
        }
        assert found[ExecutionStatus.RUNNING] == DurationStatistics(count=2)

    async def test_other_machines_play_no_part(self, repository: Repository) -> None:
        await finish(repository)
        await start(repository, state_machine_id="machine-b")
        assert dict(await repository.statistics("machine-b")) == {ExecutionStatus.RUNNING: DurationStatistics(count=1)}
        assert dict(await repository.statistics("machine-z")) == {}
