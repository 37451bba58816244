"""What renews a lease on PostgreSQL says where a connection was lost, since the server may have failed over with it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta

import asyncpg
import pytest

from statechain import PostgresRepository, RepositoryError, RepositoryUnavailable
from statechain_backends.postgres import lease_renewal

LEASE = timedelta(seconds=30)
# Waits until they have ended: they are only sent a signal, which a busy server comes to later.
END_ALL = "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE application_name = 'renewing'"
COUNT = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'renewing'"


async def test_a_renewal_after_one_that_failed_says_that_the_connection_is_another(postgres_url: str) -> None:
    async with PostgresRepository(f"{postgres_url}?lock_timeout=0.01") as repository:
        await repository.renew_lease("worker", LEASE)
        async with repository.lease_renewer("worker", LEASE) as renewer:
            assert [await renewer.renew(), await renewer.renew()] == [True, True]
            other = await asyncpg.connect(postgres_url)
            async with other.transaction():
                await other.execute("SELECT FROM workers FOR UPDATE")
                with pytest.raises(RepositoryError):
                    await renewer.renew()
            await other.close()
        # As the worker's thread does after a failure: it makes another renewer.
        async with repository.lease_renewer("worker", LEASE) as renewer:
            assert [await renewer.renew(), await renewer.renew()] == [False, True]


async def test_a_renewal_after_the_server_ended_its_connections_says_that_it_is_another(postgres_url: str) -> None:
    async with PostgresRepository(f"{postgres_url}?application_name=renewing") as repository:
        await repository.renew_lease("worker", LEASE)
        async with repository.lease_renewer("worker", LEASE) as renewer:
            assert [await renewer.renew(), await renewer.renew()] == [True, True]
            server = await asyncpg.connect(postgres_url)
            await server.execute(END_ALL)
            await server.close()
            with suppress(RepositoryUnavailable):  # where the event loop has not seen yet that the connection is gone
                assert not await renewer.renew()
        async with repository.lease_renewer("worker", LEASE) as renewer:
            assert [await renewer.renew(), await renewer.renew()] == [False, True]
        assert [each.worker_id for each in await repository.workers()] == ["worker"]  # a read replaces lost connections
        await repository.release("worker")
        await repository.renew_lease("worker", LEASE)
        async with repository.lease_renewer("worker", LEASE) as renewer:
            assert await renewer.renew()


async def test_a_connection_that_could_not_be_set_up_renews_nothing(postgres_url: str) -> None:
    # The server takes no such time limit: each connection is made, and refused what it is to be set up with.
    repository = PostgresRepository(f"{postgres_url}?application_name=renewing&lock_timeout=1e10")
    async with repository.lease_renewer("worker", LEASE) as renewer:
        for _ in range(2):
            with pytest.raises(RepositoryError, match="22023"):
                await renewer.renew()
    server = await asyncpg.connect(postgres_url)
    while await server.fetchval(COUNT):  # the server ends a session once it sees that its connection is gone
        pass
    await server.close()


async def test_a_renewal_that_is_not_answered_ends_while_the_lease_still_holds(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one, over a new connection, keeps the lease where the old one was lost without a word."""
    monkeypatch.setattr(lease_renewal, "SHORTEST_PATIENCE", 0.1)
    async with PostgresRepository(f"{postgres_url}?lock_timeout=0") as repository:
        await repository.renew_lease("worker", LEASE)
        async with repository.lease_renewer("worker", timedelta(seconds=1)) as renewer:
            assert await renewer.renew()
            other = await asyncpg.connect(postgres_url)
            async with other.transaction():
                await other.execute("SELECT FROM workers FOR UPDATE")
                async with asyncio.timeout(30):
                    with pytest.raises(RepositoryUnavailable, match="cannot be reached, or the connection was lost"):
                        await renewer.renew()
            await other.close()
            assert not await renewer.renew()
            assert await renewer.renew()
