"""What is special to PostgreSQL: one statement for a group, pools of one, outages, options, what is never logged."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import asyncpg
import attrs
import pytest

from statechain import ExecutionFilter, PostgresRepository, RepositoryError
from statechain.errors import LeaseLost, RepositoryUnavailable
from statechain.storage.repository import Advance, StartExecution, Write
from statechain.testing.contract.samples import advance, chained, ending, execution, finish, start, visit
from statechain_backends.postgres.url import parse
from support.postgres import Postgres, PrivateServer

LEASE = timedelta(seconds=30)


async def statements_of(repository: PostgresRepository, writes: Sequence[Write[Any]]) -> tuple[list[str], list[object]]:
    """Commit a group over the pool's one connection; return the statements that it took, and its outcomes."""
    async with repository._writing.lend() as connection:
        raw = connection._con
    arrays = [StartExecution(execution=execution(), owner=None) for _ in range(2)]
    await repository.commit(arrays)  # the driver asks the server about arrays when it first sends them
    told: list[str] = []
    with raw.query_logger(lambda query: told.append(query.query)):
        outcomes = await repository.commit(writes)
        await asyncio.sleep(0)  # the driver calls its loggers a turn later
    return told, list(outcomes)


async def test_a_group_of_starts_and_advances_is_one_statement(postgres_url: str) -> None:
    async with PostgresRepository(f"{postgres_url}?pool_size=1") as repository:
        running = [await start(repository) for _ in range(20)]
        source = await finish(repository)
        moves = [advance(each, visit(each), visit(each, 1)) for each in running[:10]]
        ends = [advance(each, visit(each), end=ending()) for each in running[10:]]
        starts = [StartExecution(execution=each, owner=None) for each in (execution(), chained(source))]
        told, outcomes = await statements_of(repository, [*moves, *starts, *ends])
        assert len(told) == 1
        assert outcomes == [*[None] * 10, *(each.execution for each in starts), *[None] * 10]
        assert [len(await repository.visits(each.id)) for each in running] == [2] * 10 + [1] * 10
        assert len(await repository.links(source_execution_id=source.id, page=9)) == 1


async def test_a_write_that_is_alone_is_one_statement_without_arrays(postgres_url: str) -> None:
    async with PostgresRepository(f"{postgres_url}?pool_size=1") as repository:
        made = await start(repository)
        told, outcomes = await statements_of(repository, [advance(made, visit(made))])
        assert len(told) == 1
        assert "unnest" not in told[0]
        assert outcomes == [None]


HOSTILE = [
    "",
    "\x1e",
    "\x1f",
    "a\x1fb\x1ec",
    "\x00",
    "\ud800",
    "\ufdd0",
    "\ufdd0001f",
    ",",
    "\\N",
    "é",
    "😀",
    "'",
    "{}",
    "\n",
]


@pytest.mark.parametrize("size", [1, 2, 5])
async def test_a_group_keeps_every_text_whatever_separates_its_columns(postgres_url: str, size: int) -> None:
    async with PostgresRepository(postgres_url) as repository:
        for text in [None, *HOSTILE]:
            running = [await start(repository) for _ in range(size)]
            fields = {"error": text, "cause": text, "next": text, "frame": text or "", "state": text or "s"}
            rows = [[attrs.evolve(visit(each), **fields)] for each in running]
            rows[0] = [attrs.evolve(visit(running[0]), cause="plain")]
            moves = [advance(each, *row) for each, row in zip(running, rows, strict=True)]
            begun = StartExecution(execution=attrs.evolve(execution(), current_state=text), owner=text)
            moves[-1] = attrs.evolve(moves[-1], end=ending(error=text, cause=text))
            outcomes = await repository.commit([*moves, begun])
            assert outcomes == [*[None] * size, begun.execution]
            assert [await repository.visits(each.id) for each in running] == rows
            ended = await repository.execution(running[-1].id)
            assert ended is not None
            assert (ended.error, ended.cause) == (text, text)


async def test_one_lost_lease_costs_the_group_one_more_statement(postgres_url: str) -> None:
    async with PostgresRepository(f"{postgres_url}?pool_size=1") as repository:
        running = [await start(repository) for _ in range(5)]
        writes: list[Advance] = [advance(each, visit(each)) for each in running]
        writes[2] = attrs.evolve(writes[2], epoch=7)
        told, outcomes = await statements_of(repository, writes)
        assert len(told) == 2
        assert [type(each) for each in outcomes] == [type(None), type(None), LeaseLost, type(None), type(None)]


async def test_a_pool_of_one_serves_everybody(postgres_url: str) -> None:
    async with PostgresRepository(f"{postgres_url}?pool_size=1") as repository:
        made = [await start(repository) for _ in range(3)]
        async with asyncio.timeout(30):
            await asyncio.gather(
                *(repository.execution(each.id) for each in made * 10),
                *(repository.commit([advance(each, visit(each))]) for each in made),
                repository.renew_lease("worker", LEASE),
                repository.claim("worker", page=1),
            )


async def test_cancelled_reads_leave_the_connection_fit(postgres_url: str) -> None:
    async with PostgresRepository(f"{postgres_url}?pool_size=1") as repository:
        made = await start(repository)
        for delay in range(30):
            read = asyncio.create_task(repository.execution(made.id))
            for _ in range(delay % 10):
                await asyncio.sleep(0)
            read.cancel()
            await asyncio.wait([read])
        assert await repository.execution(made.id) == made


async def test_a_restart_of_the_server_is_an_outage_and_no_more(postgres_server: Postgres, postgres_url: str) -> None:
    if not isinstance(postgres_server, PrivateServer):
        pytest.skip("the server was not started here: it cannot be restarted")
    async with PostgresRepository(postgres_url) as repository, repository.lease_renewer("worker", LEASE) as renewer:
        made = await start(repository)
        await renewer.renew()
        await asyncio.to_thread(postgres_server.restart, "immediate")
        assert await repository.execution(made.id) == made
        write = advance(made, visit(made))
        for _ in range(9):
            try:
                assert list(await repository.commit([write])) == [None]
                break
            except RepositoryUnavailable as fault:
                assert fault.__cause__ is not None  # noqa: PT017 -- what is asserted is how the outage is reported
        assert len(await repository.visits(made.id)) == 1
        for _ in range(9):
            try:
                await renewer.renew()
                break
            except RepositoryUnavailable:
                continue
        assert await repository.claim("other", page=9) == []


async def test_a_server_that_became_read_only_is_an_outage(postgres_server: Postgres) -> None:
    name = postgres_server.create_database()
    async with PostgresRepository(f"{postgres_server.url(name)}?pool_size=1") as repository:
        made = await start(repository)
        async with repository._writing.lend() as connection:
            await connection.execute("SET default_transaction_read_only = on")
        with pytest.raises(RepositoryUnavailable, match="read-only"):
            await repository.commit([advance(made, visit(made))])
        assert list(await repository.commit([advance(made, visit(made))])) == [None]  # on a connection that is new


async def test_transactions_in_each_others_way_are_tried_again(postgres_url: str) -> None:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    # Without lock_timeout: its 0.5 s are below the server's deadlock_timeout, so that no deadlock would be detected.
    async with PostgresRepository(f"{postgres_url}?lock_timeout=0") as repository:
        first, second = [await start(repository) for _ in range(2)]
        other = await asyncpg.connect(postgres_url)
        transaction = other.transaction()
        await transaction.start()
        await other.execute("SET LOCAL deadlock_timeout = '60s'")
        await other.execute("SELECT 1 FROM runs WHERE execution_id = $1 FOR UPDATE", second.id)
        committing = asyncio.create_task(repository.commit([advance(each, visit(each)) for each in (first, second)]))
        async with asyncio.timeout(20):
            while not await other.fetchval(waiting):  # noqa: ASYNC110 -- a server has no event
                await asyncio.sleep(0.01)
            await other.execute("SELECT 1 FROM runs WHERE execution_id = $1 FOR UPDATE", first.id)
            await transaction.rollback()
            assert list(await committing) == [None, None]
        await other.close()


async def test_nobody_is_waited_for_in_mid_transaction(postgres_url: str) -> None:
    async with PostgresRepository(postgres_url) as repository, repository._connections.lend() as connection:
        rows = await connection.fetch("SHOW idle_in_transaction_session_timeout")
        durable = await connection.fetch("SHOW synchronous_commit")
    assert (rows[0][0], durable[0][0]) == ("5s", "on")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("pool_sise=3", "no option 'pool_sise'"),
        ("synchronous_commit=off", "no option 'synchronous_commit'"),
        ("pool_size=0", "pool_size must be a number above 0"),
        ("command_timeout=soon", "command_timeout must be a number above 0"),
    ],
)
def test_unknown_options_are_named(options: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        PostgresRepository(f"postgresql://scott:tiger@localhost/shop?{options}")
    assert "tiger" not in str(caught.value)


def test_options_reach_the_driver() -> None:
    settings = parse("postgres://scott@localhost/shop?sslmode=require&pool_size=3&application_name=till")
    assert settings.pool()["max_size"] == 3
    assert settings.dsn == "postgresql://scott@localhost/shop?sslmode=require"
    assert settings.connection()["server_settings"]["application_name"] == "till"


@pytest.mark.parametrize("password", ["tiger", "ti/ger", "t@g:er"])
def test_a_password_is_never_told(password: str) -> None:
    try:
        told = repr(PostgresRepository(f"postgresql://scott:{password}@db.example/shop"))
    except ValueError as fault:
        told = f"{fault} {fault.__cause__}"
    assert "ger" not in told
    assert "scott" not in told


async def test_a_server_that_is_not_there_is_an_outage() -> None:
    with pytest.raises(RepositoryUnavailable, match="cannot be reached") as caught:
        await PostgresRepository("postgresql://scott:tiger@127.0.0.1:9/shop").__aenter__()
    assert isinstance(caught.value.__cause__, OSError)
    assert "tiger" not in str(caught.value)


async def test_a_database_that_does_not_exist_is_no_outage(postgres_server: Postgres) -> None:
    with pytest.raises(RepositoryError, match="does not exist") as caught:
        await PostgresRepository(postgres_server.url("nowhere")).__aenter__()
    assert not isinstance(caught.value, RepositoryUnavailable)


async def test_a_schema_that_was_changed_by_hand_is_no_outage(postgres_server: Postgres) -> None:
    name = postgres_server.create_database()
    async with PostgresRepository(postgres_server.url(name)) as repository:
        postgres_server.execute("DROP TABLE executions CASCADE", name)
        with pytest.raises(RepositoryError, match="does not fit the schema") as caught:
            await repository.count_executions(ExecutionFilter())
        assert isinstance(caught.value.__cause__, asyncpg.UndefinedTableError)
        assert not isinstance(caught.value, RepositoryUnavailable)


async def test_the_holders_of_all_names_that_a_group_meets_are_one_query(postgres_url: str) -> None:
    async with PostgresRepository(f"{postgres_url}?pool_size=1") as repository:
        held = [await start(repository, state_machine_id=machine) for machine in ("one", "one", "two")]
        again = [
            StartExecution(
                execution=attrs.evolve(execution(), state_machine_id=each.state_machine_id, name=each.name), owner="w"
            )
            for each in (*held, held[0])
        ]
        fresh = StartExecution(execution=execution(), owner="w")
        told, outcomes = await statements_of(repository, [*again, fresh])
    assert outcomes == [*held, held[0], fresh.execution]
    assert len(told) == 2
