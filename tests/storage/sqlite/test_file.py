"""The file of a SQLite database: who may read it, and that it is noticed where it is gone."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from statechain import Engine, RepositoryError, SQLiteRepository
from statechain.errors import RepositoryUnavailable
from statechain.testing.contract.samples import advance, start, visit

LEASE = timedelta(seconds=30)


def modes(database: Path) -> dict[str, str]:
    """Return the modes of a database's files and of what is beside them."""
    files = [database, *database.parent.glob(f"{database.name}-*"), *Path(f"{database}-workers").iterdir()]
    return {file.name: f"{stat.S_IMODE(file.stat().st_mode):o}" for file in files}


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


async def test_a_new_database_is_its_owners_alone(tmp_path: Path) -> None:
    database = tmp_path / "shop.db"
    with umask(0o022):
        async with SQLiteRepository(f"sqlite:///{database}") as repository:
            await repository.renew_lease("worker", LEASE)
            assert modes(database) == {
                "shop.db": "600",
                "shop.db-wal": "600",
                "shop.db-shm": "600",
                "shop.db-workers": "700",
                "worker": "600",
            }


@pytest.mark.parametrize(("mode", "folder"), [(0o660, "770"), (0o666, "777"), (0o640, "700"), (0o644, "700")])
async def test_what_is_beside_a_database_is_for_those_who_may_write_it(sqlite_url: str, mode: int, folder: str) -> None:
    database = Path(sqlite_url.removeprefix("sqlite:///"))
    prepare(database, mode)
    with umask(0o022):
        async with SQLiteRepository(sqlite_url) as repository:
            await repository.renew_lease("worker", LEASE)
            found = modes(database)
    assert found[database.name] == f"{mode:o}"
    assert found[f"{database.name}-workers"] == folder
    assert found["worker"] == folder.replace("7", "6")


async def test_a_worker_without_a_lock_is_warned_of(sqlite_url: str, caplog: pytest.LogCaptureFixture) -> None:
    with locked(Path(f"{sqlite_url.removeprefix('sqlite:///')}-workers") / "worker"):
        async with SQLiteRepository(sqlite_url) as repository:
            await repository.renew_lease("worker", LEASE)
    assert "the worker worker has no lock in" in caplog.text


@contextmanager
def locked(path: Path) -> Iterator[None]:
    path.parent.mkdir()
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def prepare(database: Path, mode: int) -> None:
    """Give a file a mode, and the folder beside it that of an older release."""
    database.chmod(mode)
    Path(f"{database}-workers").mkdir(mode=0o755)


def move(database: Path, target: Path) -> None:
    database.rename(target)


def delete(database: Path) -> None:
    database.unlink()


def replace(database: Path) -> None:
    shutil.copyfile(database, f"{database}.copy")
    Path(f"{database}.copy").replace(database)


def delete_log(database: Path) -> None:
    Path(f"{database}-wal").unlink()


def move_folder(database: Path) -> None:
    database.parent.rename(f"{database.parent}-moved")


@pytest.mark.parametrize("harm", [delete, replace, delete_log, move_folder])
async def test_a_file_that_is_gone_acknowledges_nothing(
    sqlite_template: Path, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    database = tmp_path / "folder" / "shop.db"
    database.parent.mkdir()
    shutil.copyfile(sqlite_template, database)
    async with SQLiteRepository(f"sqlite:///{database}") as repository:
        made = await start(repository)
        harm(database)
        with pytest.raises(RepositoryError, match=r"shop\.db, or its -wal file, was deleted or replaced") as caught:
            await repository.commit([advance(made, visit(made))])
        assert not isinstance(caught.value, RepositoryUnavailable)


async def test_a_file_that_is_put_back_is_written_again(sqlite_url: str) -> None:
    database = Path(sqlite_url.removeprefix("sqlite:///"))
    async with SQLiteRepository(sqlite_url) as repository:
        made = await start(repository)
        move(database, away := Path(f"{database}.away"))
        with pytest.raises(RepositoryError):
            await repository.commit([advance(made, visit(made))])
        move(away, database)
        assert list(await repository.commit([advance(made, visit(made))])) == [None]


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Make a folder read-only: for root, whom no mode holds back, by mounting it so."""
    if os.geteuid():
        folder.chmod(0o500)
        try:
            yield
        finally:
            folder.chmod(0o700)
        return
    for options in (["--bind", str(folder)], ["-o", "remount,ro,bind"]):
        if subprocess.run(["mount", *options, str(folder)], capture_output=True, check=False).returncode:
            pytest.skip("root may not mount here, and no mode keeps root from writing")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("exists", [True, False], ids=["a-database", "none-yet"])
async def test_an_engine_on_a_read_only_file_system_says_so_when_it_is_opened(
    sqlite_template: Path, tmp_path: Path, *, exists: bool
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    if exists:
        shutil.copyfile(sqlite_template, folder / "shop.db")
    with read_only(folder), pytest.raises(RepositoryError, match=r"must (be|exist and be) writable") as caught:
        await Engine(f"sqlite:///{folder / 'shop.db'}").__aenter__()
    assert not isinstance(caught.value, RepositoryUnavailable)


async def test_an_engine_on_a_read_only_file_says_so_when_it_is_opened(sqlite_url: str) -> None:
    database = Path(sqlite_url.removeprefix("sqlite:///"))
    if not os.geteuid():
        pytest.skip("no mode keeps root from writing")
    prepare(database, 0o400)
    with pytest.raises(RepositoryError, match="must be writable"):
        await Engine(sqlite_url).__aenter__()
