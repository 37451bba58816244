"""Behind a real PgBouncer: session mode and transaction mode, with its defaults, and nothing said in the URL."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest
import pytest_asyncio

from statechain import BatchExecutionOptions, Engine, ExecutionFilter, PostgresRepository
from statechain.errors import RepositoryUnavailable
from statechain.testing import RepositoryContract
from statechain.testing.contract.samples import finish, start
from statechain_backends.postgres.poolers import resolve
from statechain_backends.postgres.url import parse
from support.postgres import Postgres
from support.storage.pgbouncer import SESSIONS, NoPgBouncer, PgBouncer, pgbouncer

PASS = {"StartAt": "Begin", "States": {"Begin": {"Type": "Pass", "End": True}}}


def started(server: Postgres, pool_mode: str) -> Iterator[PgBouncer]:
    try:
        with pgbouncer(server, pool_mode) as running:
            yield running
    except NoPgBouncer as missing:
        if os.environ.get("CI") or os.environ.get("STATECHAIN_REQUIRE_POSTGRES"):
            pytest.fail(str(missing))
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def session_pooler(postgres_server: Postgres) -> Iterator[PgBouncer]:
    yield from started(postgres_server, "session")


@pytest.fixture(scope="module")
def transaction_pooler(postgres_server: Postgres) -> Iterator[PgBouncer]:
    yield from started(postgres_server, "transaction")


@pytest.fixture(params=["session", "transaction"])
def pooler(request: pytest.FixtureRequest) -> PgBouncer:
    running: PgBouncer = request.getfixturevalue(f"{request.param}_pooler")
    return running


@pytest.fixture
def pooled_url(pooler: PgBouncer, postgres_url: str) -> str:
    return pooler.url(postgres_url)


class TestTransactionMode(RepositoryContract):
    """The contract, where each transaction may have another session."""

    @pytest_asyncio.fixture
    async def repository(self, transaction_pooler: PgBouncer, postgres_url: str) -> AsyncIterator[PostgresRepository]:
        async with PostgresRepository(transaction_pooler.url(postgres_url)) as repository:
            yield repository


async def test_more_workers_than_sessions_run_executions_and_batches(pooled_url: str) -> None:
    async with Engine(pooled_url) as one, Engine(pooled_url) as other, asyncio.timeout(60):
        sources = await one.create_state_machine("sources", PASS)
        target = await other.create_state_machine("target", PASS)
        ended = await asyncio.gather(*(sources.execute(number) for number in range(50)))
        assert [each.output for each in ended] == [*range(50)]
        options = BatchExecutionOptions(name_prefix="chain")
        results = await target.execute_batch(ExecutionFilter(state_machine_id=sources.id), options=options)
        assert sorted(each.output for each in results if each.output is not None) == [*range(50)]


async def test_several_make_the_schema_at_once(postgres_server: Postgres, pooler: PgBouncer) -> None:
    name = postgres_server.create_database()
    url = pooler.url(postgres_server.url(name))

    async def opened() -> None:
        async with PostgresRepository(url) as repository:
            await finish(repository)

    await asyncio.gather(*(opened() for _ in range(4)))
    async with PostgresRepository(url) as repository:
        assert await repository.count_executions(ExecutionFilter()) == 4
    postgres_server.drop_database(name)


async def test_a_locked_row_is_waited_for_no_longer_than_lock_timeout(pooled_url: str, postgres_url: str) -> None:
    holder = await asyncpg.connect(postgres_url)
    async with PostgresRepository(f"{pooled_url}?lock_timeout=0.1&command_timeout=30") as repository:
        async with holder.transaction():
            await holder.execute("LOCK TABLE runs IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(RepositoryUnavailable, match="55P03"):
                await start(repository)
        await start(repository)
    await holder.close()


async def test_limits_hold_in_each_transaction_and_are_left_to_no_other_client(
    transaction_pooler: PgBouncer, postgres_url: str
) -> None:
    url = transaction_pooler.url(postgres_url)
    limits = "SELECT current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout')"
    async with PostgresRepository(f"{url}?idle_in_transaction_session_timeout=60") as repository:
        async with repository._connections.transaction() as connection:
            assert tuple(await connection.fetchrow(limits) or ()) == ("500ms", "1min")
        async with repository._freezing.transaction() as connection:
            assert await connection.fetchval("SELECT current_setting('statement_timeout')") == "0"
        await asyncio.gather(*(start(repository) for _ in range(20)))
        others = [await asyncpg.connect(url, statement_cache_size=0) for _ in range(SESSIONS)]
        for other in others:
            await other.execute("BEGIN")  # each keeps another session
            assert tuple(await other.fetchrow(limits) or ()) == ("0", "0")
            if not transaction_pooler.prepares:
                assert await other.fetchval("SELECT count(*) FROM pg_prepared_statements") == 0
        for other in others:
            await other.close()


async def test_a_pooler_is_found_out_and_the_url_overrides_it(
    pooler: PgBouncer, pooled_url: str, postgres_url: str
) -> None:
    direct, behind = await resolve(parse(postgres_url)), await resolve(parse(pooled_url))
    assert (direct.pool_mode, direct.statement_cache_size, direct.begin()) == ("session", None, "BEGIN")
    assert (behind.pool_mode, behind.statement_cache_size) == ("transaction", None if pooler.prepares else 0)
    asked = await resolve(parse(f"{pooled_url}?pool_mode=transaction&statement_cache_size=50"))
    assert (asked.pool_mode, asked.connection()["statement_cache_size"]) == ("transaction", 50)
    forced = await resolve(parse(f"{postgres_url}?pool_mode=transaction"))
    assert (forced.pool_mode, forced.statement_cache_size) == ("transaction", 0)


async def test_statements_stay_prepared_where_the_url_says_that_sessions_are_kept(
    session_pooler: PgBouncer, postgres_url: str
) -> None:
    async with PostgresRepository(f"{session_pooler.url(postgres_url)}?pool_mode=session") as repository:
        await start(repository)
        async with repository._connections.lend() as connection:
            assert await connection.fetchval("SELECT count(*) FROM pg_prepared_statements") > 1
            assert await connection.fetchval("SELECT current_setting('lock_timeout')") == "500ms"
