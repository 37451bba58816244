"""A private PgBouncer before the test server, stopped by its own process id."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from support.postgres import Postgres

__all__ = ["NoPgBouncer", "PgBouncer", "pgbouncer"]

STARTUP_SECONDS = 30.0
PREPARES_FROM = (1, 21)
SESSIONS = 3
"""How many of the server's sessions there are in transaction mode for all clients of a database: fewer than clients."""


class NoPgBouncer(Exception):
    """This machine has no PgBouncer to test with; the text says what to install."""


class PgBouncer:
    """A pooler that runs; ``prepares`` says whether it keeps prepared statements in transaction mode."""

    def __init__(self, port: int, *, prepares: bool) -> None:
        self._port = port
        self.prepares = prepares

    def url(self, server_url: str) -> str:
        """Return the URL of a database as it is reached through the pooler."""
        parts = urlsplit(server_url)
        user = parts.netloc.rpartition("@")[0]
        return urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{self._port}"))


@contextmanager
def pgbouncer(server: Postgres, pool_mode: str) -> Iterator[PgBouncer]:
    """Yield a pooler before a server, and stop it. Raises NoPgBouncer where the program is missing."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        raise NoPgBouncer("no PgBouncer: install one (apt install pgbouncer, brew install pgbouncer)")
    with tempfile.TemporaryDirectory(prefix="statechain-") as name, socket.socket() as probe:
        folder = Path(name)
        folder.chmod(0o755)
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        probe.close()
        to = urlsplit(server.url())
        password = f" password={to.password}" if to.password else ""
        (folder / "users.txt").write_text(f'"{to.username}" "{to.password or ""}"\n')
        sessions = SESSIONS if pool_mode == "transaction" else 100
        prepares = pool_mode == "transaction" and _version(program) >= PREPARES_FROM
        prepared = "max_prepared_statements = 100\n" if prepares else ""
        (folder / "pgbouncer.ini").write_text(
            f"[databases]\n* = host={to.hostname} port={to.port or 5432} user={to.username}{password}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = trust\n"
            f"auth_file = {folder}/users.txt\npool_mode = {pool_mode}\ndefault_pool_size = {sessions}\n{prepared}"
        )
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([program, folder / "pgbouncer.ini"], stdout=log, stderr=log, **_identity())
        try:
            _await_port(process, port, folder / "log")
            yield PgBouncer(port, prepares=prepares)
        finally:
            process.terminate()
            process.wait()


def _version(program: str) -> tuple[int, ...]:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.match(r"PgBouncer (\d+)\.(\d+)", said)
    assert found is not None, said
    return tuple(map(int, found.groups()))


def _await_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + STARTUP_SECONDS
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"PgBouncer did not start:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.02)


def _identity() -> dict[str, Any]:
    """Return the account that runs it: PgBouncer refuses root."""
    if os.geteuid() != 0:
        return {}
    account = pwd.getpwnam("nobody")
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
