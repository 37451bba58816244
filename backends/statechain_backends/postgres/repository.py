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
from typing import TYPE_CHECKING, Self, TypeAlias, cast

import asyncpg

from statechain.errors import DamagedRow, RepositoryError, RepositoryUnavailable
from statechain.storage.leases import lease_lost, missing_lease
from statechain.storage.queues import MachineLimited
from statechain.storage.repository import Advance, CreateBatch, RedriveExecution, StartExecution, TakeUpExecution
from statechain_backends.postgres.claiming import CLAIM, rows_of_claims
from statechain_backends.postgres.connections import Connection, Connections
from statechain_backends.postgres.errors import RETRIED, translated
from statechain_backends.postgres.poolers import resolve
from statechain_backends.postgres.schema import upgrade
from statechain_backends.postgres.url import Settings, parse
from statechain_backends.postgres.writes import COMPILER, changed_ids, transition
from statechain_backends.sql import queries
from statechain_backends.sql.checks import Checks
from statechain_backends.sql.compiler import Parameters
from statechain_backends.sql.decoding import Row, outcome
from statechain_backends.sql.leases import queries as lease_queries
from statechain_backends.sql.leases import scripts as lease_scripts
from statechain_backends.sql.leases.reads import Leases
from statechain_backends.sql.queues.queries import IS_LIMITED
from statechain_backends.sql.queues.reads import Queues
from statechain_backends.sql.reads import Reads
from statechain_backends.sql.records import to_claim, to_execution, to_worker_lease
from statechain_backends.sql.schema.migrate import STORED_VERSION, is_current
from statechain_backends.sql.scripts.redrives import redrive_all
from statechain_backends.sql.scripts.shards import Shards
from statechain_backends.sql.scripts.steps import Script
from statechain_backends.sql.scripts.transitions import (
    current_positions,
    last_written,
    may_be_committed,
    outcome_after_guard_miss,
)
from statechain_backends.sql.scripts.writes import SCRIPTS
from statechain_backends.sql.text_escape import unescape_text

if TYPE_CHECKING:
    from sqlalchemy import Executable

    from statechain.records.executions import Claim
    from statechain.storage.leases import LeaseRenewer, WorkerLease
    from statechain.storage.repository import Write

__all__ = ["PostgresRepository"]

AnyConnection: TypeAlias = "Connection | asyncpg.Connection[asyncpg.Record]"

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
        group = _Group(writes)
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
        return _LeaseRenewer(self._settings, worker_id, lease, self._renewed)

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
                return await _run(connection, script)


class _Group:
    """The writes of one commit, sorted into those that one statement makes, and others."""

    def __init__(self, writes: Sequence[Write[object]]) -> None:
        self.outcomes: list[object] = [None] * len(writes)
        self._starts: dict[int, StartExecution] = {}
        self._advances: dict[int, Advance] = {}
        self._taken: dict[int, TakeUpExecution] = {}
        self.others: dict[int, Write[object]] = {}
        self.freezes = CreateBatch in map(type, writes)
        for place, write in enumerate(writes):
            if isinstance(write, Advance):
                self._advances[place] = write
            elif isinstance(write, StartExecution) and not (write.exclusive and write.execution.source):
                self._starts[place] = write
            elif isinstance(write, TakeUpExecution):
                self._taken[place] = write
            else:
                self.others[place] = write

    async def move(self, connection: Connection) -> None:
        """Make the starts and advances, and find out about those that were refused."""
        if not self._starts and not self._advances and not self._taken:
            return
        text, arguments = transition(self._starts.values(), self._advances.values(), self._taken.values())
        changed = await connection.fetchval(text, *arguments)
        if changed is None:
            for place, start in self._starts.items():
                self.outcomes[place] = start.execution
        else:
            await self._find_missed(connection, changed_ids(changed))

    async def _find_missed(self, connection: Connection, done: Collection[str]) -> None:
        """Find the outcomes of what did not take effect, where only some executions were changed."""
        others: dict[int, StartExecution] = {}
        for place, start in self._starts.items():
            if start.execution.id in done:
                self.outcomes[place] = start.execution
            else:
                others[place] = start
        if others:
            await self._find_holders(connection, others)
        guarded: dict[int, Advance | TakeUpExecution] = {**self._advances, **self._taken}
        missed = {place: write for place, write in guarded.items() if write.execution_id not in done}
        if missed:
            rows = await _fetch(connection, current_positions([write.execution_id for write in missed.values()]), None)
            found = {unescape_text(row[0]): row for row in cast("Sequence[asyncpg.Record]", rows)}
            for place, write in missed.items():
                row, last = found.get(write.execution_id), cast("Sequence[Row]", [])
                if isinstance(write, Advance) and may_be_committed(write, row):
                    last = await _fetch(connection, last_written(write), None)
                self.outcomes[place] = _outcome_of_missed(write, row, last)

    async def _find_holders(self, connection: Connection, starts: Mapping[int, StartExecution]) -> None:
        """Find the executions that hold the names of refused starts: one query for all."""
        names = {place: (each.execution.state_machine_id, each.execution.name) for place, each in starts.items()}
        rows = await _fetch(connection, queries.executions_by_names(sorted(set(names.values()))), None)
        holders: dict[tuple[str, str], Row] = {}
        for row in rows:
            _, name, machine, *_ = row
            holders[unescape_text(machine), unescape_text(name)] = row
        for place, name_in_machine in names.items():
            if name_in_machine in holders:
                self.outcomes[place] = outcome(to_execution, holders[name_in_machine])
            else:
                self.outcomes[place] = await _why_not_started(connection, starts[place])

    async def perform(self, connection: Connection) -> None:
        """Run the scripts of the other writes; redrives have one for all of them."""
        for place, write in self.others.items():
            if not isinstance(write, RedriveExecution):
                self.outcomes[place] = await _run(connection, SCRIPTS[type(write)](write))
        redrives = {place: write for place, write in self.others.items() if isinstance(write, RedriveExecution)}
        if redrives:
            outcomes = await _run(connection, redrive_all([*redrives.values()]))
            for place, each in zip(redrives, cast("Sequence[object]", outcomes), strict=True):
                self.outcomes[place] = each


def _outcome_of_missed(write: Advance | TakeUpExecution, row: Row | None, last: Sequence[Row]) -> object:
    if isinstance(write, Advance):
        return outcome_after_guard_miss(write, row, last[0] if last else None)
    _, _, epoch, *_ = row or (None, None, None)
    return lease_lost(write.execution_id, write.epoch, epoch)


class _LeaseRenewer:
    """Renews a lease over a connection of the renewer, made anew where it was lost."""

    def __init__(self, settings: Settings, worker_id: str, lease: timedelta, renewed: set[str]) -> None:
        self._settings = settings
        self._worker_id = worker_id
        self._lease = lease
        self._renewed = renewed
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._connection is not None:
            self._connection.terminate()

    async def renew(self) -> bool:
        """Renew the lease; return whether it was there, and the connection is that of the renewal before."""
        with translated():
            is_same = self._connection is not None and not self._connection.is_closed()
            if self._connection is None or not is_same:
                self._connection = await self._connect()
                # A worker's first connection replaces none, so that nothing can have been lost with one. That of
                # another renewer counts: a loss is mostly noticed by a renewal that fails, and ends its renewer.
                is_same = self._worker_id not in self._renewed
            try:
                await self._connection.execute(self._settings.begin())
                was_there = await _run(self._connection, lease_scripts.renew_lease(self._worker_id, self._lease))
                await self._connection.execute("COMMIT")
            except BaseException:
                self._connection.terminate()
                raise
        self._renewed.add(self._worker_id)
        return bool(was_there) and is_same

    async def _connect(self) -> asyncpg.Connection[asyncpg.Record]:
        connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(**self._settings.connection())
        try:
            await self._settings.prepare(connection)
        except BaseException:
            connection.terminate()  # else the next renewal would take it for one that is set up
            raise
        return connection


async def _why_not_started(connection: Connection, start: StartExecution) -> MachineLimited:
    """Return the refusal of a start that no holder of its name explains."""
    machine = start.execution.state_machine_id
    rows = await _fetch(connection, IS_LIMITED, {"machine": machine})
    if start.owner is not None and any(is_limited for (is_limited,) in rows):
        return MachineLimited(machine)
    # The journal commits the group again: what is committed has the same outcome, and this start is tried anew.
    raise RepositoryUnavailable("what kept an execution from being started is gone: another one of its name, or limits")


async def _fetch(connection: AnyConnection, statement: Executable, parameters: Parameters) -> Sequence[Row]:
    text, arguments = COMPILER.render(statement, parameters)
    return cast("Sequence[Row]", await connection.fetch(text, *arguments))


async def _run(connection: AnyConnection, script: Script) -> object:
    try:
        question = next(script)
        while True:
            question = script.send(await _fetch(connection, *question))
    except StopIteration as done:
        return done.value
    except DamagedRow as damage:  # of this write alone; the others of the group take effect
        return damage
