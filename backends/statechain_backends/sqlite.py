"""Storage in a SQLite file, or in the process's memory: one writer, readers beside it, durable by default.

SQLAlchemy's async engine owns the connections, and aiosqlite gives each a thread of its own (`sqlite_lane`). A commit
group is one hop to the writer's thread, a read one to a reader's. The SQL is compiled from the Core expressions that
PostgreSQL has too.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Collection, Coroutine, Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from statechain.cancellation import outlast
from statechain.storage.repository import CreateBatch
from statechain_backends import scripts
from statechain_backends.compiled import Parameters
from statechain_backends.hearts import SharedHeart
from statechain_backends.migrate import STORED_VERSION, is_current, upgrade
from statechain_backends.reads import Reads
from statechain_backends.sqlite_freezing import Freezing
from statechain_backends.sqlite_lane import Lane, make_engine
from statechain_backends.sqlite_workers import WorkerLocks
from statechain_backends.sqlite_writes import commit, fetch, perform

if TYPE_CHECKING:
    from sqlalchemy import Connection, Executable

    from statechain.records import Claim
    from statechain.storage.repository import Heart, Write
    from statechain_backends.decoding import Row

__all__ = ["SQLiteRepository"]

T = TypeVar("T")

READERS = 4
PATIENCE = 30.0
"""How long a connection waits for another one's lock, and a read for a connection, in seconds."""

SYNCHRONOUS = ("full", "normal", "extra", "off")


class SQLiteRepository(Reads):
    """A `Repository` in SQLite.

    Args:
        url: ``sqlite:///relative.db``, ``sqlite:////absolute.db``, or ``sqlite://`` for a private database in memory.
            ``?synchronous=normal`` gives up the last commits before a power failure for speed (default: ``full``).

    Raises:
        ValueError: The URL names a host, or an option that is not known.
    """

    def __init__(self, url: str) -> None:
        self._database, self._synchronous = _parse(url)
        self._locks = WorkerLocks(self._database)
        self._image: bytes | None = None
        self._writing = make_engine(self._database, self._prepare_writer, connections=1, patience=PATIENCE)
        self._reading = self._writing
        if self._database is not None:
            self._reading = make_engine(self._database, _prepare_reader, connections=READERS, patience=PATIENCE)
        self._writer = Lane(self._writing)
        self._reads: set[asyncio.Task[Any]] = set()

    def __repr__(self) -> str:
        return f"<SQLiteRepository {self._database or 'in memory'}>"

    async def __aenter__(self) -> Self:
        """Open the database; create or upgrade its schema."""
        try:
            await outlast(asyncio.create_task(self._open(), name="statechain opening"))
        except BaseException:
            await outlast(asyncio.create_task(self._close(), name="statechain closing"))
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
        await outlast(asyncio.create_task(self._close(keep=self._database is None), name="statechain closing"))

    async def _open(self) -> None:
        await self._writer.__aenter__()
        if not is_current(await self._writer.run(_stored_version)):
            # Alembic takes its time, so that it does not run in this thread; aiosqlite answers any event loop.
            await asyncio.to_thread(asyncio.run, self._writer.run_sync(_upgrade))

    async def _close(self, *, keep: bool = False) -> None:
        if self._reads:
            await asyncio.wait(self._reads)
        if self._reading is not self._writing:
            await self._reading.dispose()
        try:
            if keep:
                self._image = await self._writer.run(sqlite3.Connection.serialize)
        finally:
            await self._writer.__aexit__(None, None, None)
            await self._writing.dispose()  # the last connection to close tidies the file up

    async def commit(self, writes: Sequence[Write[object]]) -> Sequence[object]:
        """Commit writes in one transaction: one hop to the writer's thread."""
        if len(writes) == 1 and isinstance(writes[0], CreateBatch) and self._database is not None:
            return [await self._freeze(writes[0])]
        return await self._writer.run(commit, writes)

    async def _freeze(self, write: CreateBatch) -> object:
        """Store a batch in many short transactions, the last of which makes it visible."""
        self._writer.check_open()
        freezing = Freezing(self._writer, Lane(self._reading), write)
        task = self._track(freezing.run())
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            freezing.give_up()
            raise

    async def heartbeat(self, worker_id: str, lease: timedelta) -> None:
        """Register a worker or renew its lease."""
        await self._writer.run(self._heartbeat, worker_id, lease)

    def heart(self, worker_id: str, lease: timedelta) -> Heart:
        """Return what renews a worker's lease; the writer's thread takes calls from any thread and event loop."""
        return SharedHeart(self, worker_id, lease)

    async def claim(
        self,
        worker_id: str,
        *,
        page: int,
        leaving: Collection[tuple[str, int]] = (),
        running: Collection[str] | None = None,
    ) -> Sequence[Claim]:
        """Take over executions whose workers are dead, or whose leases are over."""
        script = scripts.claim(worker_id, page, leaving, running)
        return cast("Sequence[Claim]", await self._writer.run(self._claim, worker_id, script))

    async def release(self, worker_id: str) -> None:
        """Give up all that a worker owns."""
        await self._writer.run(perform, scripts.release(worker_id))
        self._locks.release(worker_id)

    async def _fetch(self, statement: Executable, parameters: Parameters = None) -> Sequence[Row]:
        self._writer.check_open()
        return await asyncio.shield(self._track(self._read(statement, parameters)))

    def _track(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run what borrows a connection: its caller may be cancelled, it may not, and `_close` waits for it."""
        task = asyncio.create_task(work, name="statechain reading")
        self._reads.add(task)
        task.add_done_callback(self._reads.discard)
        return task

    async def _read(self, statement: Executable, parameters: Parameters) -> Sequence[Row]:
        async with Lane(self._reading) as lane:
            return await lane.run(fetch, statement, parameters)

    def _heartbeat(self, connection: sqlite3.Connection, worker_id: str, lease: timedelta) -> None:
        self._locks.hold(worker_id)
        perform(connection, scripts.heartbeat(worker_id, lease))

    def _claim(self, connection: sqlite3.Connection, worker_id: str, script: scripts.Script) -> object:
        leased = perform(connection, scripts.leased_workers())  # before the locks: who has a lease has locked its file
        free = self._locks.free()
        dead = self._locks.dead(leased, free)
        perform(connection, scripts.forget_workers(dead))
        self._locks.remove(free)
        self._locks.warn_of_company(set(leased) - {worker_id, *dead})
        return perform(connection, script)

    def _prepare_writer(self, connection: sqlite3.Connection) -> None:
        if self._database is not None:
            _patiently(lambda: connection.execute("PRAGMA journal_mode=WAL"))
            connection.execute(f"PRAGMA synchronous={self._synchronous}")
        elif self._image is not None:
            connection.deserialize(self._image)


def _prepare_reader(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA query_only=ON")


def _patiently(act: Callable[[], object]) -> None:
    """Do what SQLite refuses at once, instead of waiting, while another connection holds a lock."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            act()
        except sqlite3.OperationalError as fault:
            if fault.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _stored_version(connection: sqlite3.Connection) -> str | None:
    try:
        rows = fetch(connection, STORED_VERSION, {})
    except sqlite3.OperationalError as fault:
        if fault.sqlite_errorcode != sqlite3.SQLITE_ERROR:  # else the table is missing
            raise
        rows = []
    return str(next(iter(rows[0]))) if rows else None


def _upgrade(connection: Connection) -> None:
    with connection.begin():
        upgrade(connection)


def _parse(url: str) -> tuple[Path | None, str]:
    parts = urlsplit(url)
    if parts.netloc:
        raise ValueError("a SQLite URL names no host: write sqlite:///relative.db or sqlite:////absolute.db")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    synchronous = options.pop("synchronous", "full").lower()
    if options:
        raise ValueError(f"SQLite takes no option {next(iter(options))!r}; it takes synchronous")
    if synchronous not in SYNCHRONOUS:
        raise ValueError(f"synchronous is {synchronous!r}: it must be one of {', '.join(SYNCHRONOUS)}")
    path = unquote(parts.path.removeprefix("/"))
    return (None if path in {"", ":memory:"} else Path(path).absolute()), synchronous
