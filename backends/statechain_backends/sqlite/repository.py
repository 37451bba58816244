"""Storage in a SQLite file, or in the process's memory: one writer, readers beside it, durable by default.

A commit group is one hop to the writer's thread, a read one to a reader's. A database in memory has one connection,
which does both. The SQL is compiled from the Core expressions that PostgreSQL has too.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

import attrs

from statechain.cancellation import GRACE, await_shielded
from statechain.storage.leases import missing_lease
from statechain.storage.repository import CreateBatch
from statechain_backends.lease_renewal import SharedLeaseRenewer
from statechain_backends.sql.checks import Checks
from statechain_backends.sql.compiler import Parameters
from statechain_backends.sql.leases import queries as lease_queries
from statechain_backends.sql.leases import scripts as lease_scripts
from statechain_backends.sql.leases.reads import Leases
from statechain_backends.sql.queues.reads import Queues
from statechain_backends.sql.reads import Reads
from statechain_backends.sql.records import to_worker_lease
from statechain_backends.sql.schema.migrate import STORED_VERSION, is_current
from statechain_backends.sql.scripts.shards import Shards
from statechain_backends.sql.text_escape import unescape_text
from statechain_backends.sqlite import unsynced
from statechain_backends.sqlite.connection import ConnectionThread
from statechain_backends.sqlite.file import DatabaseFile
from statechain_backends.sqlite.freezing import Freezing
from statechain_backends.sqlite.readers import Readers
from statechain_backends.sqlite.schema import upgrade
from statechain_backends.sqlite.workers import WorkerLocks
from statechain_backends.sqlite.writes import COMPILER, commit, fetch, perform

if TYPE_CHECKING:
    from sqlalchemy import Executable

    from statechain.storage.leases import LeaseRenewer, WorkerLease
    from statechain.storage.repository import Write
    from statechain_backends.sql.decoding import Row
    from statechain_backends.sql.scripts.steps import Script

__all__ = ["SQLiteRepository"]

T = TypeVar("T")

READERS = 4
PATIENCE = 30.0
"""How long a connection waits for another one's lock while it is opened, and a read for a connection, in seconds."""

STATEMENTS = 200
"""How many statements a connection keeps compiled."""

BUSY_SECONDS = 2.0
"""How long a write waits for another process's; then it is tried again by its caller, which can be left meanwhile."""

_LEASES = lease_queries.leases()
_STRAYS = lease_queries.strays()

SYNCHRONOUS = ("full", "normal", "extra", "off")


class SQLiteRepository(Reads, Queues, Shards, Checks, Leases):
    """A `Repository` in SQLite.

    Arguments:
        url: ``sqlite:///relative.db``, ``sqlite:////absolute.db``, or ``sqlite://`` for a private database in memory.
            ``?synchronous=normal`` gives up the last commits before a power failure for speed (default: ``full``).

    Raises:
        ValueError: The URL names a host, or an option that is not known.
    """

    commits_in_process = True

    def __init__(self, url: str) -> None:
        self._database, self._synchronous = _parse(url)
        self._file = None if self._database is None else DatabaseFile(self._database)
        self._locks = WorkerLocks(self._file)
        self._image: bytes | None = None
        self._writer = ConnectionThread(self._connect, None if self._file is None else self._file.check)
        self._readers: Readers | None = None
        if self._database is not None:
            self._readers = Readers(self._database, connections=READERS, patience=PATIENCE)
        self._reads: set[asyncio.Task[Any]] = set()

    def __repr__(self) -> str:
        # Where the constructor raised, tracebacks and debuggers show what there is of it.
        if not hasattr(self, "_database"):
            return "<SQLiteRepository, not constructed>"
        return f"<SQLiteRepository {self._database or 'in memory'}>"

    async def __aenter__(self) -> Self:
        """Open the database; create or upgrade its schema."""
        try:
            await await_shielded(asyncio.create_task(self._open(), name="statechain opening"))
        except BaseException:
            await await_shielded(asyncio.create_task(self._close(), name="statechain closing"))
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close all connections, also when cancelled meanwhile; what a worker still holds is free for others.

        A database in memory is kept for when the repository is entered again.
        """
        self._locks.close()
        await await_shielded(asyncio.create_task(self._close(keep=self._database is None), name="statechain closing"))

    async def _open(self) -> None:
        if self._file is not None:
            self._file.make()
        await self._writer.open()
        if self._file is not None:
            self._file.remember()
        if not is_current(await self._writer.run(_stored_version)):
            await self._writer.run(upgrade)
        await self._writer.run(_wait_briefly)

    async def _close(self, *, keep: bool = False) -> None:
        if self._reads:
            await asyncio.wait(self._reads)
        if self._readers is not None:
            await self._readers.close()
        try:
            if keep:
                self._image = await self._writer.run(sqlite3.Connection.serialize)
        finally:
            await self._writer.close()  # the last connection to close tidies the file up

    async def commit(self, writes: Sequence[Write[object]]) -> Sequence[object]:
        """Commit writes in one transaction: one hop to the writer's thread."""
        # A journal commits a CreateBatch alone. In memory no reader keeps the ids: it is one transaction there.
        if len(writes) == 1 and isinstance(writes[0], CreateBatch) and self._readers is not None:
            return [await self._freeze(writes[0], self._readers)]
        return await self._writer.run(commit, writes)

    async def _freeze(self, write: CreateBatch, readers: Readers) -> object:
        """Store a batch in many short transactions, the last of which makes it visible."""
        self._writer.check_open()
        freezing = Freezing(self._writer, readers, write)
        task = self._track(freezing.run())
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            freezing.give_up()
            raise

    async def renew_lease(self, worker_id: str, lease: timedelta) -> bool:
        """Register a worker or renew its lease."""
        return await self._writer.run(self._heartbeat, worker_id, lease)

    def lease_renewer(self, worker_id: str, lease: timedelta) -> LeaseRenewer:
        """Return what renews a worker's lease; the writer's thread takes calls from any thread and event loop."""
        return SharedLeaseRenewer(self, worker_id, lease)

    async def workers(self) -> Sequence[WorkerLease]:
        """Return the leases of all workers; one whose lock is free has died."""
        return await self._writer.run(self._look_at_workers)

    async def release_dead(self, leases: Sequence[WorkerLease]) -> Sequence[str]:
        """Release what dead workers own."""
        released = await super().release_dead(leases)
        self._locks.remove_of(released)
        return released

    async def strays(self) -> Sequence[WorkerLease]:
        """Return the missing leases of owners without one; an owner that has no lock either has died."""
        return await self._writer.run(self._look_at_strays)

    async def release(self, worker_id: str) -> None:
        """Release all that a worker owns."""
        await super().release(worker_id)
        self._locks.release(worker_id)

    async def _perform(self, script: Script) -> object:
        return await self._writer.run(perform, script)

    async def _perform_claim(self, script: Script) -> object:
        return await self._writer.run(unsynced.claim, script)

    async def _fetch(self, statement: Executable, parameters: Parameters = None) -> Sequence[Row]:
        self._writer.check_open()
        return await await_shielded(self._track(self._read(statement, parameters)), GRACE)

    def _track(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run what borrows a connection: its caller may be cancelled, it may not, and `_close` waits for it."""
        task = asyncio.create_task(work, name="statechain reading")
        self._reads.add(task)
        task.add_done_callback(self._reads.discard)
        return task

    async def _read(self, statement: Executable, parameters: Parameters) -> Sequence[Row]:
        if self._readers is None:
            return await self._writer.run(fetch, statement, parameters)
        async with self._readers.lend() as reader:
            return await reader.fetch(*COMPILER.render(statement, parameters))

    def _heartbeat(self, connection: sqlite3.Connection, worker_id: str, lease: timedelta) -> bool:
        # Before the lease is there: another process takes a worker with a lease, and no lock, for dead.
        self._locks.lock(worker_id)
        return bool(perform(connection, lease_scripts.renew_lease(worker_id, lease)))

    def _look_at_workers(self, connection: sqlite3.Connection) -> Sequence[WorkerLease]:
        found = fetch(connection, _LEASES, {})  # before the locks: a worker that has a lease has locked its file
        leases = [to_worker_lease(row) for row in found]
        dead = set(self._locks.dead_workers([each.worker_id for each in leases]))
        alive = {each.worker_id for each in leases if not each.is_over} - dead
        self._locks.warn_of_concurrent_writers(alive)
        return [attrs.evolve(each, is_dead=each.worker_id in dead) for each in leases]

    def _look_at_strays(self, connection: sqlite3.Connection) -> Sequence[WorkerLease]:
        owners = [unescape_text(owner) for (owner,) in fetch(connection, _STRAYS, {})]  # before the locks, as above
        unlocked = set(self._locks.unlocked(owners))
        return [missing_lease(each, is_dead=each in unlocked) for each in owners]

    def _connect(self) -> sqlite3.Connection:
        """Return the connection that writes, set up; in the writer's thread."""
        # No isolation level: the driver begins no transaction by itself, `writes` does, with BEGIN IMMEDIATE.
        connection = sqlite3.connect(
            self._database or ":memory:", timeout=PATIENCE, isolation_level=None, cached_statements=STATEMENTS
        )
        try:
            if self._database is not None:
                _patiently(lambda: connection.execute("PRAGMA journal_mode=WAL"))
                connection.execute(f"PRAGMA synchronous={self._synchronous}")
            elif self._image is not None:
                connection.deserialize(self._image)
        except BaseException:
            connection.close()
            raise
        return connection


def _wait_briefly(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA busy_timeout={round(BUSY_SECONDS * 1000)}")


def _patiently(act: Callable[[], object]) -> None:
    """Do what SQLite refuses at once, instead of waiting, while another connection holds a lock."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            act()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _stored_version(connection: sqlite3.Connection) -> str | None:
    try:
        rows = fetch(connection, STORED_VERSION, {})
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:  # else the table is missing
            raise
        rows = []
    return str(next(iter(rows[0]))) if rows else None


def _parse(url: str) -> tuple[Path | None, str]:
    parts = urlsplit(url, allow_fragments=False)  # `#` is a character of a file's name as any other
    if parts.netloc:
        raise ValueError("a SQLite URL names no host: write sqlite:///relative.db or sqlite:////absolute.db")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    synchronous = options.pop("synchronous", "full").lower()
    if options:
        raise ValueError(f"SQLite takes no option {next(iter(options))!r}; it takes synchronous")
    if synchronous not in SYNCHRONOUS:
        raise ValueError(f"synchronous is {synchronous!r}: it must be one of {', '.join(SYNCHRONOUS)}")
    path = unquote(parts.path.removeprefix("/"))
    if "\0" in path:
        raise ValueError("a SQLite URL names a file, whose name has no null character")
    return (None if path in {"", ":memory:"} else Path(path).absolute()), synchronous
