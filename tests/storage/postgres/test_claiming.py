"""Claims on PostgreSQL: the usual one is a single statement, and of two at once each limit is kept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from statechain import PostgresRepository
from statechain.records.queues import MachineLimits
from statechain.storage.repository import LimitStateMachine, StartExecution
from statechain.testing.contract.samples import commit, execution
from statechain_backends.postgres.claiming import CLAIM, rows_of_claims
from statechain_backends.postgres.writes import COMPILER
from statechain_backends.sql.decoding import Row
from statechain_backends.sql.leases import scripts
from statechain_backends.sql.scripts.steps import Script

MOST = 2
WAITING = 20_000


async def limited(repository: PostgresRepository, *, waiting: int) -> None:
    """Let executions wait in the queue of a machine of which `MOST` may run."""
    made = [execution() for _ in range(waiting)]
    limits = MachineLimits(max_concurrency=MOST)
    await commit(repository, LimitStateMachine(state_machine_id=made[0].state_machine_id, limits=limits))
    await repository.commit([StartExecution(execution=each, owner=None) for each in made])


class Claimer:
    """A claim in a transaction, made step by step."""

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record], worker_id: str) -> None:
        self._connection = connection
        self._script: Script = scripts.claim(worker_id, 9, (), {}, None)
        self._question = next(self._script)
        self.is_over = False

    @classmethod
    @asynccontextmanager
    async def of(cls, url: str, worker_id: str) -> AsyncIterator[Claimer]:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute("BEGIN")
            yield cls(connection, worker_id)
        finally:
            await connection.close()

    async def step(self) -> None:
        text, arguments = COMPILER.render(*self._question)
        rows: Sequence[Row] = await self._connection.fetch(text, *arguments)
        try:
            self._question = self._script.send(rows)
        except StopIteration:
            await self._connection.execute("COMMIT")
            self.is_over = True

    async def end(self) -> None:
        while not self.is_over:
            await self.step()


@pytest.mark.parametrize("steps", range(6))
async def test_two_claims_at_once_take_no_more_than_the_limit(postgres_url: str, steps: int) -> None:
    """One is paused after each of its steps while the other one is made as a whole."""
    async with PostgresRepository(postgres_url) as repository:
        await limited(repository, waiting=3 * MOST)
        async with Claimer.of(postgres_url, "paused") as paused, Claimer.of(postgres_url, "quick") as quick:
            for _ in range(steps):
                if not paused.is_over:
                    await paused.step()
            await quick.end()
            await paused.end()
        owned = [len(await repository.owned(each)) for each in ("paused", "quick")]
        assert sorted(owned) == [0, MOST]


async def test_no_execution_is_claimed_by_one_statement_while_a_queue_is_open(postgres_url: str) -> None:
    async with PostgresRepository(postgres_url) as repository:
        await limited(repository, waiting=1)
        await repository.commit([StartExecution(execution=execution(state_machine_id="free"), owner=None)])
        text, arguments = COMPILER.render(CLAIM, {"worker": "one", "page": 9})
        assert rows_of_claims(await repository._fetch_once(text, arguments)) is None
        assert not await repository.owned("one")
        assert len(await repository.claim("one", page=9)) == 2
        assert await repository.claim("one", page=9) == []
        assert rows_of_claims(await repository._fetch_once(text, arguments)) == []


async def test_two_claims_by_one_statement_share_what_is_free(postgres_url: str) -> None:
    async with PostgresRepository(postgres_url) as repository:
        made = [execution() for _ in range(60)]
        await repository.commit([StartExecution(execution=each, owner=None) for each in made])
        pages = await asyncio.gather(*(repository.claim(f"worker-{number}", page=7) for number in range(8)))
        claimed = [claim.execution.id for page in pages for claim in page]
        assert len(claimed) == len(set(claimed)) == 56


async def test_the_one_statement_reads_a_few_entries_of_what_waits(postgres_url: str) -> None:
    async with PostgresRepository(postgres_url) as repository, repository._connections.lend() as connection:
        await connection.execute(
            "INSERT INTO runs (execution_id, epoch, seq, claims, owner) SELECT 'run-' || n, 0, 0, 0,"
            f" CASE WHEN n % 2 = 0 THEN 'worker' END FROM generate_series(1, {WAITING}) AS n"
        )
        await connection.execute("VACUUM ANALYZE")
        text, arguments = COMPILER.render(CLAIM, {"worker": "one", "page": 20})
        explained = json.loads(await connection.fetchval(f"EXPLAIN (FORMAT JSON, ANALYZE) {text}", *arguments))
        read = [step for step in nodes(explained[0]["Plan"]) if step.get("Relation Name") == "runs"]
        assert read
        assert not [step for step in read if step["Node Type"] == "Seq Scan"], read
        assert sum(step["Actual Rows"] * step["Actual Loops"] for step in read) <= 100, read


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)
