"""What work costs besides time: processor time of this process and of a PostgreSQL server, and the log it writes.

Processor time does not follow how busy the machine is, as rates do. A server's is the sum over its processes, which
Linux shows to those on the same machine; elsewhere it is left out.
"""

import os
import time
from pathlib import Path

import asyncpg

TICK = 1 / os.sysconf("SC_CLK_TCK")
_WAL = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"
_PIDS = "SELECT pid FROM pg_stat_activity"


class Usage:
    """Measures from `start` to `figures`, per unit of work.

    Arguments:
        url: The storage that the work uses.
    """

    def __init__(self, url: str) -> None:
        self._url = url if url.startswith("postgres") else None
        self._began = 0.0
        self._server: dict[int, float] = {}
        self._wal = 0

    async def start(self) -> None:
        """Begin to measure."""
        self._wal, self._server = await self._server_usage()
        self._began = time.process_time()

    async def figures(self, count: int) -> dict[str, float]:
        """Return processor microseconds of client and server, and bytes of WAL, for each unit of work."""
        client = time.process_time() - self._began
        found = {"client us": 1e6 * client / count}
        if self._url is not None:
            wal, server = await self._server_usage()
            found["WAL bytes"] = (wal - self._wal) / count
            if server:
                seconds = sum(used - self._server.get(pid, 0.0) for pid, used in server.items())
                found["server us"] = 1e6 * seconds / count
        return found

    async def _server_usage(self) -> tuple[int, dict[int, float]]:
        if self._url is None:
            return 0, {}
        connection = await asyncpg.connect(self._url.partition("?")[0])  # the options are the storage's
        try:
            wal: int = await connection.fetchval(_WAL)
            pids = [pid for (pid,) in await connection.fetch(_PIDS)]
        finally:
            await connection.close()
        return wal, {pid: used for pid in pids if (used := processor_time(pid, "postgres")) is not None}


def processor_time(pid: int, name: str = "") -> float | None:
    """Return the processor seconds of a process on this machine whose name holds a string, or None."""
    file = Path(f"/proc/{pid}/stat")
    try:
        found, _, fields = file.read_text().partition("(")[2].rpartition(")")
    except OSError:
        return None
    if name not in found:
        return None
    user, system = fields.split()[11:13]
    return (int(user) + int(system)) * TICK
