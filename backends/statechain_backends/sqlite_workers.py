"""Which workers on a SQLite file are alive: each holds a lock on a file of its own for as long as it lives.

The system frees the lock with the process, however it died, so that what a dead worker owned is claimable at once.
Where there are no such locks (in memory, on Windows), leases alone decide.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["WorkerLocks"]


class WorkerLocks:
    """The locks of the workers on one database file; without a file there are none."""

    def __init__(self, database: Path | None) -> None:
        self._folder = None if database is None or fcntl is None else Path(f"{database}-workers")
        self._held: dict[str, int] = {}

    def hold(self, worker_id: str) -> None:
        """Lock a worker's file until `release`, or until the process ends."""
        if self._folder is None or worker_id in self._held:
            return
        self._folder.mkdir(exist_ok=True)
        file = os.open(self._folder / _file_name(worker_id), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if _lock(file):
            self._held[worker_id] = file
        else:  # somebody looks whether it is free; the lease holds until the next heartbeat
            os.close(file)

    def dead(self, worker_ids: Sequence[str]) -> list[str]:
        """Return the workers whose locks are free, and remove their files; one without a file has only its lease."""
        folder = self._folder
        if folder is None:
            return []
        return [each for each in worker_ids if each not in self._held and _is_free(folder / _file_name(each))]

    def release(self, worker_id: str) -> None:
        """Give up a worker's lock."""
        file = self._held.pop(worker_id, None)
        if file is not None and self._folder is not None:
            (self._folder / _file_name(worker_id)).unlink(missing_ok=True)
            os.close(file)

    def close(self) -> None:
        """Give up all locks, and leave the files: whose lock is free is dead."""
        for file in self._held.values():
            os.close(file)
        self._held.clear()


def _file_name(worker_id: str) -> str:
    return re.sub(r"[^\w-]", lambda found: f"%{ord(found[0]):x}", worker_id, flags=re.ASCII)


def _lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_free(path: Path) -> bool:
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if is_free := _lock(file):
            path.unlink(missing_ok=True)
    finally:
        os.close(file)
    return is_free
