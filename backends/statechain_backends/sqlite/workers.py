"""Which workers on a SQLite file are alive: each holds its own lock on a file for as long as it is open.

The system frees the lock with the process, however it died, so that what a dead worker owned is claimable at once.
Where there are no such locks (in memory, on Windows), leases alone decide.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import sqlite3
import stat
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from weakref import WeakSet

from statechain_backends.sqlite.file import OWNERS_ALONE, DatabaseFile

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["WorkerLocks"]

logger = logging.getLogger(__name__)

TRIES = 100
LONGEST_NAME = 255
"""How many characters the name of a file may have, on every common file system."""

FIXED = (((3, 44, 6), (3, 45)), ((3, 50, 7), (3, 51)), ((3, 51, 3), (4,)))
"""From which version of SQLite on, and before which, two that write and checkpoint at once cannot harm a database."""

_warned: set[Path] = set()
_all: WeakSet[WorkerLocks] = WeakSet()


def _forget_in_child() -> None:
    for each in _all:
        each.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)


class WorkerLocks:
    """The locks of the workers on one database file; without a file there are none."""

    def __init__(self, file: DatabaseFile | None) -> None:
        self._file = file
        self._database = None if file is None else file.path
        self._folder = None if file is None or fcntl is None else Path(f"{file.path}-workers")
        self._held: dict[str, int] = {}
        _all.add(self)

    def lock(self, worker_id: str) -> None:
        """Lock a worker's file until `release`, or until the process ends."""
        if self._folder is None or worker_id in self._held:
            return
        mode = self._make_folder(self._folder)
        for _ in range(TRIES):  # another process may look at this moment whether it is free, or remove it
            file = os.open(self._folder / _file_name(worker_id), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            # Without a link the file was removed between open and lock: no other process would ever see this lock.
            if _lock(file) and os.fstat(file).st_nlink:
                with suppress(OSError):
                    os.fchmod(file, mode)
                self._held[worker_id] = file
                return
            os.close(file)
            time.sleep(0.001)
        logger.warning(
            "the worker %s has no lock in %s, which another process holds or the file system does not have: "
            "only its lease says that it is alive",
            worker_id,
            self._folder,
        )

    def _make_folder(self, folder: Path) -> int:
        """Make the folder for all who may use the database, and no others; return the mode for its files."""
        mode = OWNERS_ALONE if self._file is None else self._file.shared_mode()
        wanted = 0o700 | sum(each for each in (0o070, 0o007) if mode & each)
        folder.mkdir(mode=0o700, exist_ok=True)
        if stat.S_IMODE(folder.stat().st_mode) != wanted:
            with suppress(OSError):  # it is another user's
                folder.chmod(wanted)
        return mode

    def forget(self) -> None:
        """In a process that was forked: keep no copy of the locks, which would hold them when their worker is dead."""
        self.close()

    def dead_workers(self, worker_ids: Collection[str]) -> list[str]:
        """Return those of the workers, known to have a lease, whose files are not locked; remove files of no worker."""
        free = self._free()
        names = {_file_name(each): each for each in worker_ids}
        for each in free:
            if each.name not in names:  # of a worker that died before its first heartbeat, or was released since
                _is_free(each, remove=True)
        return [names[each.name] for each in free if each.name in names]

    def unlocked(self, worker_ids: Collection[str]) -> list[str]:
        """Return those of the workers, known to have no lease, whose locks no process holds; without locks, none."""
        if self._folder is None:
            return []
        paths = {each: self._folder / _file_name(each) for each in worker_ids if each not in self._held}
        return [each for each, path in paths.items() if not os.path.lexists(path) or _is_free(path)]

    def remove_of(self, worker_ids: Collection[str]) -> None:
        """Remove the files of workers that were released, unless one of them is alive."""
        if self._folder is not None:
            for each in worker_ids:
                _is_free(self._folder / _file_name(each), remove=True)

    def _free(self) -> list[Path]:
        """Return the files that no process has locked."""
        if self._folder is None or not self._folder.is_dir():
            return []
        ours = {_file_name(each) for each in self._held}
        return [each for each in self._folder.iterdir() if each.name not in ours and _is_free(each)]

    def warn_of_concurrent_writers(self, others: Collection[str]) -> None:
        """Warn, once in a process, where other live workers write to the same file and SQLite is not up to that."""
        if self._database is None or self._database in _warned or not set(others) - self._held.keys() or _has_wal_fix():
            return
        _warned.add(self._database)
        logger.warning(
            "%s has several workers, and SQLite %s can damage a database that two write and checkpoint at once: "
            "run one worker, update SQLite to 3.51.3 or later, or use PostgreSQL",
            self._database,
            sqlite3.sqlite_version,
        )

    def release(self, worker_id: str) -> None:
        """Give up a worker's lock."""
        file = self._held.pop(worker_id, None)
        if file is not None and self._folder is not None:
            # Removed while it is locked: freed first, it would be the file of a dead worker.
            (self._folder / _file_name(worker_id)).unlink(missing_ok=True)
            os.close(file)

    def close(self) -> None:
        """Give up all locks, and leave the files: whose lock is free is dead."""
        for file in self._held.values():
            os.close(file)
        self._held.clear()


def _has_wal_fix() -> bool:
    return any(first <= sqlite3.sqlite_version_info < last for first, last in FIXED)


def _file_name(worker_id: str) -> str:
    """Return the name of a worker's file, which is no other worker's."""
    name = re.sub(r"[^\w-]", _escaped, worker_id, flags=re.ASCII)
    if len(name) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(worker_id.encode(errors="surrogatepass")).hexdigest()
    return f"{name[: LONGEST_NAME - len(digest) - 1]}-{digest}"


def _escaped(found: re.Match[str]) -> str:
    # Each of a fixed width, so that no two ids have one name; u is no hexadecimal digit.
    code = ord(found[0])
    return f"%{code:02x}" if code <= 0xFF else f"%u{code:06x}"


def _lock(file: int) -> bool:
    try:
        # flock, not POSIX locks: those are gone when any descriptor of the file is closed, as each look does.
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_free(path: Path, *, remove: bool = False) -> bool:
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        # Missing, or another user's: nothing is known of a death, so that no live worker is taken for dead.
        return False
    try:
        is_free = _lock(file)
        if is_free and remove:
            # Under its lock: a worker that has opened it sees that it has no link.
            path.unlink(missing_ok=True)
    finally:
        os.close(file)
    return is_free
