"""Size, seed and storages of the harnesses of failures: they run small by default, and at full size with ``--full``."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.postgres import Postgres


@pytest.fixture(scope="session")
def full(pytestconfig: pytest.Config) -> bool:
    """Whether to run at full size."""
    return bool(pytestconfig.getoption("--full", default=False))


@pytest.fixture
def seed(pytestconfig: pytest.Config) -> int:
    """What a harness draws its chances from; ``--faults-seed`` repeats a run."""
    given = pytestconfig.getoption("--faults-seed", default=None)
    return random.SystemRandom().randrange(10**6) if given is None else int(given)


@pytest.fixture(params=["sqlite", "postgresql"])
def durable_url(request: pytest.FixtureRequest) -> str:
    """The URL of a fresh storage that outlives its process."""
    url: str = request.getfixturevalue({"sqlite": "sqlite_url", "postgresql": "postgres_url"}[request.param])
    return url


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], str]]:
    """What returns the URL of another fresh storage at each call, of each kind in turn."""
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres_server")
        name: str = request.getfixturevalue("postgres_database")

        def make() -> str:
            server.empty(name)
            return server.url(name)

        make()  # its kept connection is open before a test counts what is
        yield make
    elif request.param == "sqlite":
        numbers = count()
        file: Path = request.getfixturevalue("sqlite_template")
        yield lambda: f"sqlite:///{shutil.copyfile(file, tmp_path / f'{next(numbers)}.db')}"
    else:
        yield lambda: "memory://"


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> str:
    """The kind of storage that `fresh` makes."""
    found: str = request.node.callspec.params["fresh"]
    return found
