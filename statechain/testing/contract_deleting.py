"""The contract of deletions: ended executions go with all that hangs on them, and nothing else goes."""

# ruff: noqa: D102, S101 -- a test's name says what it shows

from __future__ import annotations

import pytest

from statechain.filters import ExecutionFilter
from statechain.records import Execution, ExecutionStatus
from statechain.storage.repository import DeleteExecutions, Repository, StartExecution
from statechain.testing.contract_samples import (
    ENDINGS,
    advance,
    chained,
    commit,
    ending,
    execution,
    finish,
    ids,
    moment,
    seed,
    start,
    visit,
)

__all__ = ["DeletionContract"]


async def delete(repository: Repository, select: ExecutionFilter | None = None) -> int:
    """Delete what a filter means."""
    return await commit(repository, DeleteExecutions(select=select or ExecutionFilter()))


async def left(repository: Repository) -> list[str]:
    """Return the ids of all executions that there are, oldest first."""
    return ids(await repository.executions(ExecutionFilter(order="oldest_first"), after=None, page=1000))


class DeletionContract:
    """Deleting executions."""

    async def test_the_ended_go_and_the_running_stay(self, repository: Repository) -> None:
        for status in ENDINGS:
            await finish(repository, status=status)
        running = await start(repository)
        assert await delete(repository) == len(ENDINGS)
        assert await left(repository) == [running.id]
        await commit(repository, advance(running, visit(running), end=ending()))

    async def test_running_ones_cannot_be_meant(self, repository: Repository) -> None:
        running = await start(repository)
        assert await delete(repository, ExecutionFilter(status="RUNNING")) == 0
        assert await left(repository) == [running.id]

    async def test_nothing_is_meant(self, repository: Repository) -> None:
        ended = await finish(repository)
        assert await delete(repository, ExecutionFilter(status="FAILED")) == 0
        assert await delete(repository, ExecutionFilter(status=[])) == 0
        assert await delete(repository, ExecutionFilter(limit=0)) == 0
        assert await left(repository) == [ended.id]

    @pytest.mark.parametrize(
        ("fields", "gone"),
        [
            ({"limit": 2, "order": "oldest_first"}, [0, 2]),
            ({"limit": 2, "order": "newest_first"}, [4, 6]),
            ({"limit": 1, "offset": 1, "order": "oldest_first"}, [2]),
            ({"offset": 3, "order": "newest_first"}, [0]),
            ({"offset": 9}, []),
            ({"start_after": moment(2), "start_before": moment(6)}, [4]),
            ({"name": "order-2"}, [2]),
            ({"current_state": "State4"}, [4]),
            ({"status": ["FAILED", "RUNNING"]}, [2, 6]),
            ({"state_machine_id": "machine-z"}, []),
        ],
    )
    async def test_the_filter_limit_and_offset_count_the_ended(
        self, repository: Repository, fields: dict[str, object], gone: list[int]
    ) -> None:
        made = [
            execution(
                name=f"order-{index}",
                start_time=moment(index),
                end_time=None if index % 2 else moment(50 + index),
                status=[ExecutionStatus.SUCCEEDED, ExecutionStatus.RUNNING, ExecutionStatus.FAILED][
                    1 if index % 2 else index % 4
                ],
                current_state=f"State{index}",
            )
            for index in range(7)
        ]
        await seed(repository, *made)
        assert await delete(repository, ExecutionFilter(**fields)) == len(gone)  # type: ignore[arg-type]
        assert await left(repository) == ids([each for index, each in enumerate(made) if index not in gone])

    async def test_their_visits_go_too(self, repository: Repository) -> None:
        gone, kept = await start(repository), await start(repository)
        await finish(repository, visit(gone), of=gone)
        await commit(repository, advance(kept, visit(kept)))
        await delete(repository)
        assert await repository.execution(gone.id) is None
        assert await repository.execution_by_name(gone.state_machine_id, gone.name) is None
        assert list(await repository.visits(gone.id)) == []
        assert await repository.last_output(gone.id, "State0") is None
        assert list(await repository.visits(kept.id)) == [visit(kept)]

    async def test_an_id_that_is_used_again_has_no_past(self, repository: Repository) -> None:
        made = await start(repository, id="again")
        await finish(repository, visit(made), visit(made, 1), of=made)
        await delete(repository)
        again = await start(repository, id="again")
        assert list(await repository.visits("again")) == []
        await commit(repository, advance(again, visit(again, output='"new"')))
        assert await repository.last_output("again", "State0") == '"new"'

    @pytest.mark.parametrize("side", ["source", "target"])
    async def test_links_go_with_either_side(self, repository: Repository, side: str) -> None:
        pairs: list[tuple[Execution, Execution]] = []
        for _ in range(2):
            source = await finish(repository)
            target = chained(source)
            await commit(repository, StartExecution(execution=target, owner="worker"))
            pairs.append((source, await finish(repository, of=target)))
        gone = pairs[0][0 if side == "source" else 1]
        assert await delete(repository, ExecutionFilter(name=gone.name)) == 1
        assert [link.source_execution_id for link in await repository.links(page=10)] == [pairs[1][0].id]
        assert list(await repository.links(target_execution_id=pairs[0][1].id, page=10)) == []

    async def test_a_target_remembers_its_source(self, repository: Repository) -> None:
        source = await finish(repository)
        target = chained(source)
        await commit(repository, StartExecution(execution=target, owner="worker"))
        await delete(repository)
        assert await repository.execution(target.id) == target

    async def test_deleting_again_finds_nothing(self, repository: Repository) -> None:
        write = DeleteExecutions(select=ExecutionFilter())
        await finish(repository)
        assert await commit(repository, write) == 1
        assert await commit(repository, write) == 0

    async def test_many_at_once(self, repository: Repository) -> None:
        made = [execution(end_time=moment(9), status=ExecutionStatus.ABORTED) for _ in range(500)]
        await seed(repository, *made)
        assert await delete(repository, ExecutionFilter(limit=450, order="oldest_first")) == 450
        assert await left(repository) == ids(made[450:])
