"""Storage in PostgreSQL, over asyncpg: any number of workers, on any number of machines.

A commit group of starts and advances is one statement, however many they are, and commits by itself; rarer writes
make the group a transaction. A connection is held for one of these and for nothing else. Commits have connections of
their own, on which every statement is planned by its keys (`url.BY_KEY`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Self

import asyncpg

from statechain.errors import DamagedRow, RepositoryError, RepositoryUnavailable
from statechain.storage.leases import missing_lease
from statechain_backends.postgres.claiming import CLAIM, rows_of_claims
from statechain_backends.postgres.connections import Connections
from statechain_backends.postgres.errors import RETRIED, translated
from statechain_backends.postgres.groups import CommitGroup
from statechain_backends.postgres.lease_renewal import ConnectionLeaseRenewer
from statechain_backends.postgres.performing import perform
from statechain_backends.postgres.poolers import resolve
from statechain_backends.postgres.schema import upgrade
from statechain_backends.postgres.url import parse
from statechain_backends.postgres.writes import COMPILER
from statechain_backends.sql.checks import Checks
from statechain_backends.sql.compiler import Parameters
from statechain_backends.sql.decoding import Row
from statechain_backends.sql.leases import queries as lease_queries
from statechain_backends.sql.leases import scripts as lease_scripts
from statechain_backends.sql.leases.reads import Leases
from statechain_backends.sql.queues.reads import Queues
from statechain_backends.sql.reads import Reads
from statechain_backends.sql.records import to_claim, to_worker_lease
from statechain_backends.sql.schema.migrate import STORED_VERSION, is_current
from statechain_backends.sql.scripts.shards import Shards
from statechain_backends.sql.scripts.steps import Script
from statechain_backends.sql.text_escape import unescape_text

if TYPE_CHECKING:
    from sqlalchemy import Executable

    from statechain.records.executions import Claim
    from statechain.storage.leases import LeaseRenewer, WorkerLease
    from statechain.storage.repository import Write

__all__ = ["PostgresRepository"]

TRIES = 5

FEWEST_CONNECTIONS = 4
"""One for reads, one for commits, one for the lease, and one for batches that freeze their sources."""

_DATABASE = (
    "SELECT current_database(), current_setting('server_encoding'), "
    "CASE WHEN rolsuper THEN -1 ELSE rolconnlimit END, CASE WHEN rolsuper THEN -1 ELSE datconnlimit END "
    "FROM pg_roles, pg_database WHERE rolname = session_user AND datname = current_database()"
)
_LEASES = lease_queries.leases()
_STRAYS = lease_queries.strays()


class PostgresRepository(Reads, Queues, Shards, Checks, Leases):
    """A `Repository` in PostgreSQL.

    Arguments:
        url: ``postgresql://user:password@host:port/database?options``. Options are libpq's (``sslmode`` and its
            kin, ``target_session_attrs``, ``passfile``, ``service``, ``application_name``), ``pool_size`` (default: 5)
            and, in seconds, ``connect_timeout`` (10), ``command_timeout`` (120), ``lock_timeout`` (0.5) and
            ``idle_in_transaction_session_timeout`` (5); 0 leaves one of the last two as the server has it. Behind a
            pooler, ``pool_mode`` (``session`` or ``transaction``) and ``statement_cache_size``, which are found out.

    Raises:
        ValueError: The URL has an option that is not known, or one that has no such value.
    """

    commits_in_process = False
    _limits_branches = True

    def __init__(self, url: str) -> None:
        self._asked = self._settings = parse(url)
        self._connections = Connections()
        self._writing = Connections()
        self._freezing = Connections()
        # Why nothing can be written; reading needs one connection.
        self._lacking: str | None = None
        # Whether the last claim took what is in a queue: the next one then begins with the transaction for queues.
        self._claims_queued = False
        # Whose leases were renewed over a connection: a later one replaces it, whichever renewer makes it.
        self._renewed: set[str] = set()

    def __repr__(self) -> str:
        # Where the constructor raised, tracebacks and debuggers show what there is of it.
        if not hasattr(self, "_settings"):
            return "<PostgresRepository, not constructed>"
        return f"<PostgresRepository {self._settings.place}>"

    async def __aenter__(self) -> Self:
        """Connect; create or upgrade the schema."""
        self._asked.check_files()
        with translated():
            self._settings = settings = await resolve(self._asked)
            await self._connections.open(settings.pool(), settings.begin())
            await self._writing.open(settings.pool("writes"), settings.begin("writes"))
            await self._freezing.open(settings.pool("freezes"), settings.begin("freezes"))
        try:
            await self._check_database()
            if not is_current(await self._stored_version()):
                self._check_connections()
                with translated():
                    await upgrade(settings)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close all connections."""
        await self._close()

    async def _close(self) -> None:
        pools = (self._freezing, self._writing, self._connections)
        try:
            await asyncio.gather(*(each.close() for each in pools))
        finally:
            for each in pools:
                each.cut()  # a task that is cancelled before its first step has closed nothing

    async def _check_database(self) -> None:
        """Refuse a database that cannot keep every text: in another encoding some executions could not be written.

        Where too few connections are allowed, each write is refused later: it would wait for one for ever.
        """
        name, encoding, *limits = (await self._fetch_once(_DATABASE, ()))[0]
        if encoding != "UTF8":
            quoted = '"' + f"{name}_utf8".replace('"', '""') + '"'
            raise RepositoryError(
                f"PostgreSQL: the database {name!r} is in {encoding}, which cannot keep every text; make another: "
                f"CREATE DATABASE {quoted} ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
            )
        # Of a pooler's connections to the server these limits say nothing.
        allowed = min((each for each in limits if each >= 0), default=FEWEST_CONNECTIONS)
        if allowed < FEWEST_CONNECTIONS and self._settings.pool_mode != "transaction":
            self._lacking = (
                f"PostgreSQL: the user or the database may have {allowed} connection{'s' * (allowed != 1)} "
                f"(CONNECTION LIMIT), and an engine needs at least {FEWEST_CONNECTIONS}: raise the limit"
            )

    def _check_connections(self) -> None:
        if self._lacking is not None:
            raise RepositoryError(self._lacking)

    async def _stored_version(self) -> str | None:
        try:
            rows = await self._fetch(STORED_VERSION, {})
        except RepositoryError as error:
            if isinstance(error.__cause__, asyncpg.UndefinedTableError):
                return None
            raise
        return str(next(iter(rows[0]))) if rows else None

    # Writing

    async def commit(self, writes: Sequence[Write[object]]) -> Sequence[object]:
        """Commit writes in one transaction, or in one statement."""
        self._check_connections()
        with translated():
            for _ in range(TRIES - 1):
                try:
                    return await self._commit(writes)
                except RETRIED:
                    continue
            return await self._commit(writes)

    async def _commit(self, writes: Sequence[Write[object]]) -> Sequence[object]:
        group = CommitGroup(writes)
        if not group.others:
            async with self._writing.statement() as connection:
                await group.move(connection)
        else:
            # A batch with many sources holds its connection for long: none of those that other commits wait for.
            async with (self._freezing if group.freezes else self._writing).transaction() as connection:
                await group.move(connection)
                await group.perform(connection)
        return group.outcomes

    # Reading

    async def _fetch(self, statement: Executable, parameters: Parameters = None) -> Sequence[Row]:
        text, arguments = COMPILER.render(statement, parameters)
        try:
            return await self._fetch_once(text, arguments)
        except RepositoryUnavailable as error:  # a connection that died in the pool says nothing of the server
            if error.timed_out:
                raise
            return await self._fetch_once(text, arguments)

    async def _fetch_once(self, text: str, arguments: Sequence[object]) -> Sequence[Row]:
        with translated():
            async with self._connections.lend() as connection:
                return await connection.fetch(text, *arguments)

    # Leases

    async def renew_lease(self, worker_id: str, lease: timedelta) -> bool:
        """Register a worker or renew its lease."""
        self._check_connections()
        return bool(await self._perform(lease_scripts.renew_lease(worker_id, lease)))

    def lease_renewer(self, worker_id: str, lease: timedelta) -> LeaseRenewer:
        """Return what renews a worker's lease over its own connection."""
        return ConnectionLeaseRenewer(self._settings, worker_id, lease, self._renewed)

    async def release(self, worker_id: str) -> None:
        """Release all that a worker owns."""
        await super().release(worker_id)
        self._renewed.discard(worker_id)

    async def claim(
        self,
        worker_id: str,
        *,
        page: int,
        excluded_revisions: Collection[tuple[str, int]] = (),
        orphaned: Mapping[str, int] | None = None,
        suspects: range | None = None,
        only_queued: Collection[str] | None = None,
    ) -> Sequence[Claim]:
        """Take over executions without an owner: by one statement, unless more is asked for or a queue is open."""
        is_usual = not excluded_revisions and not orphaned and suspects is None and only_queued is None
        if is_usual and not self._claims_queued:
            claims = await self._claim_unqueued(worker_id, page)
            if claims is not None:
                return claims
        claims = await super().claim(
            worker_id,
            page=page,
            excluded_revisions=excluded_revisions,
            orphaned=orphaned,
            suspects=suspects,
            only_queued=only_queued,
        )
        self._claims_queued = any(claim.is_limited for claim in claims)
        return claims

    async def _claim_unqueued(self, worker_id: str, page: int) -> Sequence[Claim] | None:
        """Take over executions that are in no queue; None, and nothing, while a queue is open."""
        text, arguments = COMPILER.render(CLAIM, {"worker": worker_id, "page": page})
        with translated():
            async with self._connections.statement() as connection:
                rows = rows_of_claims(await connection.fetch(text, *arguments))
        if rows is None:
            return None
        claims: list[Claim] = []
        for row in rows:
            try:
                claims.append(to_claim(row))
            except DamagedRow as damage:
                await self._perform(lease_scripts.end_damaged(row, damage))
        return claims

    async def workers(self) -> Sequence[WorkerLease]:
        """Return the leases of all workers."""
        return [to_worker_lease(row) for row in await self._fetch(_LEASES, {})]

    async def strays(self) -> Sequence[WorkerLease]:
        """Return the missing leases of owners without one."""
        return [missing_lease(unescape_text(owner)) for (owner,) in await self._fetch(_STRAYS, {})]

    async def _change(self, statement: Executable, parameters: Parameters) -> Sequence[Row]:
        text, arguments = COMPILER.render(statement, parameters)
        with translated():
            async with self._connections.statement() as connection:
                return await connection.fetch(text, *arguments)

    async def _perform(self, script: Script) -> object:
        with translated():
            async with self._connections.transaction() as connection:
                return await perform(connection, script)
