"""The contract of reports: texts, counts and durations in a window, tasks that wait, results of batches."""

# ruff: noqa: D102, S101 -- a test's name says what it shows

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from statechain.records.callbacks import CallbackStatus
from statechain.records.details import VisitDetail
from statechain.records.executions import Execution, ExecutionStatus
from statechain.records.filters import ExecutionFilter
from statechain.reports import BatchResult, WaitingTask
from statechain.storage.repository import CloseCallback, FailBatchItem, Repository
from statechain.storage.waits import ExecutionWait
from statechain.testing.contract.samples import (
    advance,
    callback,
    commit,
    ending,
    execution,
    finish,
    freeze,
    moment,
    redriving,
    seed,
    start,
    visit,
)

__all__ = ["ReportContract"]


async def named(repository: Repository, text: str) -> list[str]:
    """Return the names of the executions in which a string is found."""
    found = await repository.executions(ExecutionFilter(text=text, order="oldest_first"), after=None, page=50)
    assert await repository.count_executions(ExecutionFilter(text=text)) == len(found)
    return [each.name for each in found]


async def all_waiting(repository: Repository, page: int, **wanted: Any) -> list[WaitingTask]:  # noqa: ANN401
    """Return the tasks that wait, page by page."""
    found: list[WaitingTask] = []
    while got := await repository.waiting_tasks(**wanted, after=found[-1] if found else None, page=page):
        assert len(got) <= page
        found.extend(got)
    return found


class ReportContract:
    """What an operator asks."""

    # A string

    async def test_a_text_is_part_of_a_name_or_begins_an_id(self, repository: Repository) -> None:
        made = [
            execution(id="abc-1", name="order-7", start_time=moment(1)),
            execution(id="abc-2", name="bill-7", start_time=moment(2)),
            execution(
                id="xabc", name="Order-8 🦀%_", start_time=moment(3), status=ExecutionStatus.FAILED, end_time=moment(9)
            ),
        ]
        await seed(repository, *made)
        assert await named(repository, "order") == ["order-7"]
        assert await named(repository, "rder-") == ["order-7", "Order-8 🦀%_"]
        assert await named(repository, "abc") == ["order-7", "bill-7"]
        assert await named(repository, "abc-2") == ["bill-7"]
        assert await named(repository, "bc-1") == []
        assert await named(repository, "🦀%_") == ["Order-8 🦀%_"]
        assert await named(repository, "%") == ["Order-8 🦀%_"]
        assert len(await named(repository, "")) == 3

    @pytest.mark.parametrize("status", [None, "FAILED", ["FAILED", "RUNNING"]])
    async def test_a_text_narrows_other_filters(self, repository: Repository, status: str | list[str] | None) -> None:
        made = [
            execution(
                id=f"id-{n}",
                name=f"name-{n % 3}-{n}",
                status=(ExecutionStatus.RUNNING, ExecutionStatus.FAILED, ExecutionStatus.ABORTED)[n % 3],
                start_time=moment(n),
                end_time=moment(50) if n % 3 else None,
                state_machine_id=f"machine-{n % 2}",
            )
            for n in range(12)
        ]
        await seed(repository, *made)
        for machine in (None, "machine-0"):
            for text in ("name-1", "-1", "id-1", "nothing"):
                select = ExecutionFilter(status=status, text=text, state_machine_id=machine)
                found = await repository.executions(select, after=None, page=50)
                meant = [
                    each.id
                    for each in reversed(made)
                    if (text in each.name or each.id.startswith(text))
                    and (select.status is None or each.status in select.status)
                    and machine in {None, each.state_machine_id}
                ]
                assert [each.id for each in found] == meant

    # Windows

    async def test_counts_and_durations_are_those_of_a_window(self, repository: Repository) -> None:
        statuses = list(ExecutionStatus)
        made = [
            execution(
                id=f"id-{n:02}",
                status=statuses[n % 5],
                start_time=moment(n),
                end_time=moment(2 * n + 0.000001) if n % 5 else None,
                state_machine_id=f"machine-{n % 2}",
            )
            for n in range(20)
        ]
        await seed(repository, *made)
        windows: list[dict[str, Any]] = [
            {},
            {"start_after": moment(3)},
            {"start_before": moment(12)},
            {"start_after": moment(3), "start_before": moment(12)},
            {"state_machine_id": "machine-1", "start_after": moment(3)},
            {"state_machine_id": "nothing"},
        ]
        for window in windows:
            inside = [
                each
                for each in made
                if each.start_time > window.get("start_after", moment(-1))
                and each.start_time < window.get("start_before", moment(99))
                and window.get("state_machine_id") in {None, each.state_machine_id}
            ]
            counts = {status: sum(each.status is status for each in inside) for status in ExecutionStatus}
            assert await repository.count_by_status(**window) == counts
            took = [each.duration for each in reversed(inside) if each.end_time is not None]
            assert list(await repository.durations(**window, most=50)) == took
            assert list(await repository.durations(**window, most=3)) == took[:3]

    async def test_what_was_started_in_1970_or_before_is_in_a_window_without_a_beginning(
        self, repository: Repository
    ) -> None:
        for year in (1969, 1970):
            begun = datetime(year, 1, 1, tzinfo=UTC)
            await finish(repository, state_machine_id=f"machine-{year}", start_time=begun)
            counts = await repository.count_by_status(state_machine_id=f"machine-{year}")
            assert counts[ExecutionStatus.SUCCEEDED] == 1
            assert len(await repository.durations(state_machine_id=f"machine-{year}", most=9)) == 1
        assert len(await repository.durations(most=9)) == 2

    async def test_what_has_no_owner_is_counted(self, repository: Repository) -> None:
        assert await repository.count_unowned() == 0
        await start(repository)
        submitted = await start(repository, owner=None)
        await start(repository, owner=None)
        assert await repository.count_unowned() == 2
        await repository.claim("worker", page=1)
        assert await repository.count_unowned() == 1
        assert (await repository.execution(submitted.id)) is not None

    # Tasks that wait

    async def test_waiting_tasks_come_by_their_beginning(self, repository: Repository) -> None:
        made = await start(repository)
        other = await start(repository, state_machine_id="machine-b")
        opened = [
            callback(made, "late", state="Ask", since=moment(5)),
            # As a release before this field left it.
            callback(made, "old", state=None, since=None),
            callback(made, "early", state="Ask 🦀", since=moment(1.000001)),
            callback(made, "queued", state="Work", since=moment(3), token_hash=None, activity="pack", input_text="{}"),
        ]
        await commit(repository, advance(made, opened=opened))
        beating = callback(other, state="Ask", since=moment(4), last_heartbeat=moment(6))
        await commit(repository, advance(other, opened=[beating]))
        found = await all_waiting(repository, 2)
        assert [each.since for each in found] == [None, moment(1.000001), moment(3), moment(4), moment(5)]
        assert found[2] == WaitingTask(
            id=opened[3].id,
            execution_id=made.id,
            execution_name=made.name,
            state_machine_id="machine-a",
            state="Work",
            since=moment(3),
            activity="pack",
            is_taken=False,
            last_heartbeat=None,
        )
        assert [each.id for each in await all_waiting(repository, 2, state_machine_id="machine-b")] == [found[3].id]
        asked = await all_waiting(repository, 1, execution_id=made.id, state="Ask")
        assert [each.id for each in asked] == [opened[0].id]
        assert found[3].last_heartbeat == moment(6)
        for each in opened[0], opened[1]:
            assert [task.id for task in await all_waiting(repository, 1, task_id=each.id)] == [each.id]
        assert await all_waiting(repository, 1, execution_id=other.id, task_id=opened[0].id) == []
        old = await all_waiting(repository, 2, since_before=moment(4))
        assert [each.since for each in old] == [None, moment(1.000001), moment(3)]
        # A report must not show what answers a task, not even as its hash.
        assert not any(each.token_hash in repr(found) for each in opened if each.token_hash)

    async def test_what_waits_no_more_is_not_listed(self, repository: Repository) -> None:
        closed, ended, redriven, waits = [await start(repository) for _ in range(4)]
        for each in (closed, ended, redriven, waits):
            await commit(repository, advance(each, opened=[callback(each, state="Ask", since=moment(1))]))
        await commit(repository, CloseCallback(id=callback(closed).id))
        for each in (ended, redriven):
            await commit(repository, advance(each, end=ending(ExecutionStatus.FAILED)))
        stored = await repository.execution(redriven.id)
        assert stored is not None
        await commit(repository, redriving(stored))
        assert [each.execution_id for each in await all_waiting(repository, 10)] == [waits.id]
        (kept,) = await repository.callbacks([callback(waits).id])
        assert (kept.state, kept.since, kept.status) == ("Ask", moment(1), CallbackStatus.WAITING)

    async def test_what_an_execution_waits_for_is_known_for_many(self, repository: Repository) -> None:
        runs, unowned, ended = await start(repository), await start(repository, owner=None), await start(repository)
        asks, takes, rests, retries = [await start(repository) for _ in range(4)]
        await commit(repository, advance(ended, end=ending(ExecutionStatus.FAILED)))
        await commit(repository, advance(asks, opened=[callback(asks, state="Ask 🦀", since=moment(1))]))
        queued = callback(takes, state="Work", since=moment(3), token_hash=None, activity="pack", input_text="{}")
        await commit(repository, advance(takes, opened=[queued]))
        resume = VisitDetail(resume_at=moment(9.000001)).dump()
        for of, kind in ((rests, "Wait"), (retries, "Task")):
            row = visit(of, type=kind, exited=None, output=None, next=None, detail=resume)
            await commit(repository, advance(of, row))
        every = [runs, unowned, ended, asks, takes, rests, retries]
        assert await repository.waits([*(each.id for each in every), "nothing"]) == {
            unowned.id: ExecutionWait(reason="worker"),
            asks.id: ExecutionWait(reason="answer", about="Ask 🦀"),
            takes.id: ExecutionWait(reason="activity", about="pack"),
            rests.id: ExecutionWait(reason="time", until=moment(9.000001)),
            retries.id: ExecutionWait(reason="retry", until=moment(9.000001)),
        }
        assert await repository.waits([]) == {}

    # Results of a batch

    async def test_results_of_a_batch_are_its_items_with_their_executions(self, repository: Repository) -> None:
        sources = await seeded_sources(repository, 6)
        made = await freeze(repository)
        names = [f"{made.name_prefix}-{source.id}" for source in sources]
        statuses = [ExecutionStatus.SUCCEEDED, ExecutionStatus.FAILED, ExecutionStatus.RUNNING, ExecutionStatus.ABORTED]
        started = [
            execution(
                id=f"target-{n}",
                name=names[n],
                state_machine_id=made.state_machine_id,
                status=status,
                error=None if status in {"SUCCEEDED", "RUNNING"} else "No",
                cause="it broke" if status == "FAILED" else None,
                end_time=moment(500) if status.is_terminal else None,
            )
            for n, status in enumerate(statuses)
        ]
        await seed(repository, *started)
        await commit(repository, FailBatchItem(batch_id=made.id, index=4, error="Transformer", cause="no input"))
        found = await repository.batch_results(made.id, page=50)
        assert [each.index for each in found] == list(range(6))
        assert [each.status for each in found] == [*statuses, None, None]
        assert found[1] == BatchResult(
            index=1,
            name=names[1],
            source_execution_id=sources[1].id,
            execution_id="target-1",
            status=ExecutionStatus.FAILED,
            error="No",
            cause="it broke",
        )
        assert (found[4].execution_id, found[4].error, found[4].cause) == (None, "Transformer", "no input")
        failed = await repository.batch_results(made.id, status={ExecutionStatus.FAILED}, page=50)
        assert [each.index for each in failed] == [1, 4]
        aborted = await repository.batch_results(made.id, status={ExecutionStatus.ABORTED}, page=50)
        assert [each.index for each in aborted] == [3]
        assert [each.index for each in await repository.batch_results(made.id, after=2, page=2)] == [3, 4]
        assert [each.index for each in await repository.batch_results(made.id, after=1, until=3, page=9)] == [2, 3]
        failures = {ExecutionStatus.FAILED}
        assert list(await repository.batch_results(made.id, status=failures, after=1, until=3, page=9)) == []
        assert list(await repository.batch_results("nothing", page=50)) == []


async def seeded_sources(repository: Repository, count: int) -> list[Execution]:
    """Store sources of a batch, the newest first."""
    made = [
        execution(id=f"source-{n}", status=ExecutionStatus.SUCCEEDED, output_text="{}", start_time=moment(100 - n),
                  end_time=moment(200) + timedelta(seconds=n))
        for n in range(count)
    ]  # fmt: skip
    await seed(repository, *made)
    return made
