"""Plans that PostgreSQL keeps: a commit reads by its keys, also where it was first made while the tables were small."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest

from statechain import PostgresRepository
from statechain.records.executions import Execution
from statechain.storage.repository import StartExecution, TakeUpExecution, Write
from statechain.testing.contract.samples import advance, chained, ending, execution, finish, start, visit

MANY = """
    INSERT INTO runs (execution_id, owner, epoch, seq, claims)
    SELECT 'waiting-' || n, 'worker', 1, 0, 0 FROM generate_series(1, 5000) AS n
"""
OF_COMMITS = "FROM pg_prepared_statements WHERE statement LIKE 'WITH given_%'"
KEPT = f"SELECT name, statement, cardinality(parameter_types) {OF_COMMITS}"
PLANS = f"SELECT generic_plans, custom_plans {OF_COMMITS}"


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


async def groups(repository: PostgresRepository) -> Sequence[Sequence[Write[Any]]]:
    """Return a group of each shape that executions make, of several writes and of one."""
    running: list[Execution] = [await start(repository) for _ in range(12)]
    sources = [await finish(repository) for _ in range(2)]
    taken = [
        TakeUpExecution(execution_id=each.id, epoch=1, claims=1, backoff=timedelta(seconds=1)) for each in running[10:]
    ]
    moves = [advance(each, visit(each)) for each in running[:5]]
    ends = [advance(each, visit(each), end=ending()) for each in running[5:10]]
    starts = [StartExecution(execution=each, owner="worker") for each in (execution(), *map(chained, sources))]
    return [moves[:1], ends[:1], starts[:1], moves[1:3], ends[1:3], taken, [*starts[1:], *moves[3:], *ends[3:]]]


async def test_commits_read_by_key_however_small_the_tables_were(postgres_url: str) -> None:
    async with PostgresRepository(postgres_url) as repository:
        of_each_shape = await groups(repository)
        async with repository._connections.lend() as connection:
            await connection.execute("VACUUM ANALYZE")  # they are as small as can be, and the server knows it
        for group in of_each_shape:
            outcomes = await repository.commit(group)
            assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        async with repository._writing.lend() as connection:
            await connection.execute(MANY)
            kept = await connection.fetch(KEPT)
            assert len(kept) >= len(of_each_shape)
            for name, statement, count in kept:
                arguments = ", ".join(["NULL"] * count)
                explained = await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE {name}({arguments})")
                steps = [*nodes(json.loads(explained)[0]["Plan"])]
                assert [step for step in steps if step["Node Type"] == "Seq Scan"] == [], statement


@pytest.mark.parametrize("number", [1, 9])
async def test_a_commit_is_planned_once(postgres_url: str, number: int) -> None:
    async with PostgresRepository(postgres_url) as repository:
        for _ in range(7):
            await repository.commit([StartExecution(execution=execution(), owner="worker") for _ in range(number)])
        async with repository._writing.lend() as connection:
            assert [tuple(each) for each in await connection.fetch(PLANS)] == [(7, 0)]
