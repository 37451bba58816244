"""Fixtures for every room: each storage in turn, engines and harnesses on it, a PostgreSQL server."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import closing
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from statechain import Engine, MemoryRepository, Repository, open_repository
from statechain_backends.sqlite import repository as sqlite
from support.engine_harness import EngineFactory, EngineHarness, engine_harness
from support.postgres import NoPostgres, Postgres, PrivateServer, server, without_pooler

pytest_plugins = ["support.long_first", "support.summary"]

BACKENDS = ("memory", "sqlite", "postgresql")

ROOT = Path(__file__).parent
MARKED_FOLDERS = {
    "benchmarks": "docs",
    "chaining/distributed": "slow",  # workers that look for shards by the clock on the wall
    "conformance": "slow",
    "docs": "docs",
    "examples": "docs",
    "faults": "faults",
}
"""The folders whose tests have a marker."""

LEFT_OUT = frozenset({"browser", "docs", "faults", "postgres", "slow"})
"""The markers that the inner loop, ``-m quick``, leaves out (see CONTRIBUTING.md)."""

# Child processes would otherwise compile the library from its sources at every start, and worker processes the tests.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Nothing here depends on the machine's speed: a busy one takes longer over an example than Hypothesis allows.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", settings.get_profile("default"), max_examples=20)
settings.register_profile("ci", settings.get_profile("default"), derandomize=True, print_blob=True, max_examples=40)
settings.register_profile("full", settings.get_profile("default"), print_blob=True, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "default"))


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faults")
    group.addoption("--full", action="store_true", help="run harnesses, models and properties at the size of the docs")
    group.addoption("--faults-seed", type=int, help="the seed of a harness to be repeated")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return the worker processes of ``-n auto``: more than processors, since tests wait for leases and processes.

    Those of the inner loop start no servers, and wait half of the time.
    """
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 5 * processors // 2 if config.getoption("markexpr") == "quick" else 2 * processors


def pytest_configure(config: pytest.Config) -> None:
    """Give properties fewer examples in the inner loop; let Ctrl-C reach the programs that tests start.

    A shell has its background jobs ignore SIGINT, and a program inherits what is ignored.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if _is_quick(config):
        settings.load_profile("quick")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import the tests that the inner loop leaves out by their folder."""
    is_left_out = collection_path.is_dir() and _marker_of(collection_path) in LEFT_OUT
    return True if is_left_out and _is_quick(config) else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Leave the tests themselves, which stay to the end, to no garbage collection: neither now nor while they run.

    While they run there is less of it, too: what a test has made is mostly gone with its last reference.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(10_000, 20, 50)
        gc.enable()


def _is_quick(config: pytest.Config) -> bool:
    return config.getoption("markexpr", default="") == "quick"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by their folder, those that need PostgreSQL, and those of the inner loop."""
    for item in items:
        marker = _marker_of(item.path.parent)
        if marker is not None:
            item.add_marker(marker)
        if _needs_postgres(item):
            item.add_marker("postgres")
        if LEFT_OUT.isdisjoint(mark.name for mark in item.iter_markers()):
            item.add_marker("quick")


@cache
def _marker_of(folder: Path) -> str | None:
    if ROOT not in folder.parents:
        return None
    path = folder.relative_to(ROOT)
    names = (each.as_posix() for each in (path, *path.parents))
    return next((MARKED_FOLDERS[name] for name in names if name in MARKED_FOLDERS), None)


def _needs_postgres(item: pytest.Item) -> bool:
    """Return whether a test has a fixture of the server, or a parameter that names one (``postgresql``)."""
    parameters = getattr(item, "callspec", None)
    named = [*getattr(item, "fixturenames", ()), *(parameters.params.values() if parameters is not None else ())]
    return any(
        isinstance(name, str) and (name == "postgresql" or name.startswith(("postgres_", "unchecked_")))
        for name in named
    )


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A server for the whole session; where there is none, a skip that says so, or in CI a failure."""
    try:
        with server() as running, pytest.MonkeyPatch.context() as patch:
            if isinstance(running, PrivateServer):
                patch.setenv("PGSSLMODE", "disable")  # it has no TLS, which each connection would ask for
            yield running
    except NoPostgres as fault:
        if os.environ.get("CI") or os.environ.get("STATECHAIN_REQUIRE_POSTGRES"):
            pytest.fail(str(fault))
        pytest.skip(str(fault))


@pytest.fixture(scope="session")
def postgres_database(postgres_server: Postgres) -> str:
    """The name of a database that has the schema."""
    name = postgres_server.create_database()
    _create_schema(postgres_server.url(name))
    return name


@pytest.fixture
def postgres_url(postgres_server: Postgres, postgres_database: str) -> str:
    """The URL of a database with the schema, emptied for this test."""
    postgres_server.empty(postgres_database)
    return postgres_server.url(postgres_database)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file that has the schema and nothing else."""
    file = tmp_path_factory.mktemp("template") / "statechain.db"
    _create_schema(f"sqlite:///{file}")
    return file


@pytest.fixture(scope="session")
def sqlite_schema(sqlite_template: Path) -> list[str]:
    """The statements that make the template's schema."""
    with closing(sqlite3.connect(sqlite_template)) as template:
        return [line for line in template.iterdump() if not line.startswith(("BEGIN", "COMMIT"))]


@pytest.fixture
def copied_schema(sqlite_schema: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Give databases in memory the template's schema, statement by statement: ten times faster than migrations."""

    def create(connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN")
        for statement in sqlite_schema:
            connection.execute(statement)
        connection.execute("COMMIT")

    monkeypatch.setattr(sqlite, "upgrade", create)


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """The URL of a fresh database file with the schema."""
    file = tmp_path / "statechain.db"
    shutil.copyfile(sqlite_template, file)
    return f"sqlite:///{file}"


@pytest.fixture(params=BACKENDS)
def repository_url(request: pytest.FixtureRequest) -> str:
    """The URL of a fresh storage of each kind."""
    if request.param == "memory":
        return "memory://"
    url: str = request.getfixturevalue({"sqlite": "sqlite_url", "postgresql": "postgres_url"}[request.param])
    return url


@pytest.fixture
def engine_factory(repository_url: str) -> EngineFactory:
    """What makes engines that share one storage, one after the other or side by side."""
    storage: str | Repository = MemoryRepository() if repository_url == "memory://" else without_pooler(repository_url)

    def make(**options: object) -> Engine:
        return Engine(storage, **options)  # type: ignore[arg-type]

    return make


@pytest.fixture
async def engine(engine_factory: EngineFactory) -> AsyncIterator[Engine]:
    """An engine on each kind of storage, without handlers."""
    async with engine_factory() as running:
        yield running


@pytest.fixture
async def harness(repository_url: str) -> AsyncIterator[EngineHarness]:
    """Engines on each kind of storage, in virtual time, that can crash at any commit."""
    async with engine_harness(without_pooler(repository_url)) as opened:
        yield opened


@pytest.fixture
async def quick() -> AsyncIterator[EngineHarness]:
    """The same in memory alone, for what storage has no part in."""
    async with engine_harness("memory://") as opened:
        yield opened


def _create_schema(url: str) -> None:
    """Open a storage once, in a separate event loop."""

    async def open_and_close() -> None:
        async with open_repository(url):
            pass

    asyncio.run(open_and_close())
