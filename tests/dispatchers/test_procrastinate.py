"""The dispatcher over procrastinate, on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

pytest.importorskip("procrastinate")

from statechain.dispatchers import open_dispatcher
from statechain.dispatchers.procrastinate import ProcrastinateDispatcher
from statechain.testing import DispatcherContract
from statechain.tickets import Outcome, Ticket


class TestProcrastinateDispatcher(DispatcherContract):
    @pytest.fixture
    def url(self, postgres_url: str) -> str:
        return postgres_url

    @pytest.fixture
    async def dispatcher(self, url: str) -> AsyncIterator[ProcrastinateDispatcher]:
        async with ProcrastinateDispatcher(f"{url}?pool_size=3") as opened:
            yield opened

    @pytest.fixture
    async def other(self, url: str) -> AsyncIterator[ProcrastinateDispatcher]:
        async with ProcrastinateDispatcher(url) as opened:
            yield opened


async def test_it_is_found_by_its_name(postgres_url: str) -> None:
    async with open_dispatcher("procrastinate", postgres_url) as found:
        assert isinstance(found, ProcrastinateDispatcher)
        assert await found.depth() == 0


def test_it_needs_postgresql_and_shows_no_password() -> None:
    with pytest.raises(ValueError, match="needs PostgreSQL") as refused:
        ProcrastinateDispatcher("sqlite:///secret.db")
    assert "secret" not in str(refused.value)
    assert "secret" not in repr(ProcrastinateDispatcher("postgresql://shop:secret@db/shop"))
    with pytest.raises(ValueError, match="no dispatcher is installed under the name 'pigeon'"):
        open_dispatcher("pigeon", "memory://")


async def test_the_jobs_of_dead_workers_are_deleted_and_only_those(postgres_url: str) -> None:
    """procrastinate leaves them in the status ``doing`` for ever."""
    async with ProcrastinateDispatcher(postgres_url) as dispatcher:
        await dispatcher.dispatch([Ticket("lost", 0, 0), Ticket("kept", 0, 0), Ticket("waits", 0, 0)])
    connection = await asyncpg.connect(postgres_url)
    try:
        dead = await connection.fetchval(
            "INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - interval '1 hour') RETURNING id"
        )
        alive = await connection.fetchval("INSERT INTO procrastinate_workers DEFAULT VALUES RETURNING id")
        take = "UPDATE procrastinate_jobs SET status = 'doing', worker_id = $1 WHERE args->>'batch_id' = $2"
        await connection.execute(take, dead, "lost")
        await connection.execute(take, alive, "kept")
        await connection.execute(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, status, worker_id) "
            "VALUES ('mine', 'my.job', 'doing', $1)",
            dead,
        )

        async def left() -> set[str]:
            rows = await connection.fetch(
                "SELECT coalesce(args->>'batch_id', task_name) AS job FROM procrastinate_jobs"
            )
            return {row["job"] for row in rows}

        assert await left() == {"lost", "kept", "waits", "my.job"}
        done: list[Ticket] = []

        async def work(ticket: Ticket) -> Outcome:
            done.append(ticket)
            return Outcome.DONE

        async with ProcrastinateDispatcher(postgres_url) as other, asyncio.timeout(30):
            serving = asyncio.create_task(other.serve(work, slots=2))
            while await left() != {"kept", "my.job"}:  # noqa: ASYNC110 -- the database changes
                await asyncio.sleep(0.05)
            serving.cancel()
            await asyncio.wait([serving])
        assert done == [Ticket("waits", 0, 0)], (
            "a lost job is not run again: the sweep sends a ticket of the next epoch"
        )
    finally:
        await connection.close()
