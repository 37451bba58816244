"""A PostgreSQL server of our own and a standby that streams from it, to fail over to."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import asyncpg

from support.postgres import USER, PrivateServer, find_binaries

__all__ = ["Pair", "replicated"]

PATIENCE = 60.0


class Primary(PrivateServer):
    """The server that takes writes."""

    def kill(self) -> None:
        """Crash the server: nothing more is sent to the standby."""
        self._end("immediate")


class Standby(PrivateServer):
    """A copy of a primary that follows it."""

    def follow(self, primary: Primary) -> Self:
        """Copy the primary, and start following it."""
        self._folder.chmod(0o755)
        self._data.mkdir(mode=0o700)
        if self._account is not None:
            os.chown(self._data, self._account.pw_uid, self._account.pw_gid)
        source = f"host=127.0.0.1 port={primary.port} user={USER} application_name=standby"
        self._call("pg_basebackup", "-D", self._data, "-R", "-X", "stream", "-c", "fast", "-d", source)
        self._start()
        return self

    def cut_off(self) -> None:
        """Stop following: what the primary commits from now on is lost with it."""
        self.execute("ALTER SYSTEM SET primary_conninfo = ''")
        self.execute("SELECT pg_reload_conf()")

    def promote(self) -> None:
        """Take writes."""
        self.execute("SELECT pg_promote()")


class Pair:
    """A primary and its standby."""

    def __init__(self, primary: Primary, standby: Standby) -> None:
        self.primary = primary
        self.standby = standby

    def be_synchronous(self) -> None:
        """Acknowledge no commit before the standby has applied it."""
        self.primary.execute("ALTER SYSTEM SET synchronous_commit = 'remote_apply'")
        self.primary.execute("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        self.primary.execute("SELECT pg_reload_conf()")

    async def caught_up(self) -> None:
        """Return once the standby has applied what the primary has committed by now."""
        written = await fetch_value(self.primary.url(), "SELECT pg_current_wal_lsn()::text")
        await until(self.standby.url(), f"SELECT pg_last_wal_replay_lsn() >= '{written}'::pg_lsn")

    async def separated(self) -> None:
        """Return once the standby receives nothing any more."""
        await until(self.primary.url(), "SELECT count(*) = 0 FROM pg_stat_replication")

    async def fail_over(self) -> None:
        """Kill the primary and promote the standby."""
        await asyncio.to_thread(self.primary.kill)
        await asyncio.to_thread(self.standby.promote)


@asynccontextmanager
async def replicated() -> AsyncIterator[Pair]:
    """Yield a primary and its standby, both running; stop them at the end. Raises NoPostgres."""
    with tempfile.TemporaryDirectory(prefix="statechain-", ignore_cleanup_errors=True) as folder:
        primary, standby = _prepare(Path(folder))
        try:
            await asyncio.to_thread(primary.initialise)
            await asyncio.to_thread(standby.follow, primary)
            yield Pair(primary, standby)
        finally:
            await asyncio.to_thread(standby.stop)
            await asyncio.to_thread(primary.stop)


def _prepare(folder: Path) -> tuple[Primary, Standby]:
    binaries = find_binaries()
    folder.chmod(0o755)
    homes = folder / "primary", folder / "standby"
    for home in homes:
        home.mkdir()
    return Primary(binaries, homes[0]), Standby(binaries, homes[1])


async def fetch_value(url: str, question: str) -> Any:
    """Return the one value that answers a question."""
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


async def until(url: str, question: str) -> None:
    """Return once the answer to a question is true."""
    deadline = time.monotonic() + PATIENCE
    while not await fetch_value(url, question):
        assert time.monotonic() < deadline, question
        await asyncio.sleep(0.02)
