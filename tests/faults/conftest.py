"""The proof runs small by default, and at full size with ``--full``; each harness tells its figures and its seed."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]  # `tests` is no package: its modules are imported by their names

Figures: TypeAlias = Callable[..., None]

_TOLD = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faults")
    group.addoption("--full", action="store_true", help="run the fault harnesses at the size that the guarantees quote")
    group.addoption("--faults-seed", type=int, help="the seed of a harness to be repeated")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    told = config.stash.get(_TOLD, [])
    if told:
        terminalreporter.section("faults: figures")
        for line in told:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def full(pytestconfig: pytest.Config) -> bool:
    """Whether to run at full size."""
    return bool(pytestconfig.getoption("--full", default=False))


@pytest.fixture
def seed(pytestconfig: pytest.Config) -> int:
    """What a harness draws its chances from; ``--faults-seed`` repeats a run."""
    given = pytestconfig.getoption("--faults-seed", default=None)
    return random.SystemRandom().randrange(10**6) if given is None else int(given)


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    """What writes a line of figures at the end of the run, and beside a failure."""
    told = request.config.stash.setdefault(_TOLD, [])

    def tell(**facts: object) -> None:
        line = f"{request.node.name}: " + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items())
        told.append(line)
        print(line)  # noqa: T201 -- pytest shows it where the test fails

    return tell
