"""A pytest plugin: an engine for each test, in virtual time, on the storage that the command line names.

It is found by its entry point. A test asks for `engine`; a test suite overrides `statechain_tasks` to give it handlers,
`statechain_clock` for real time, or `statechain_backend` for its own storage.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from statechain.clock import Clock
    from statechain.engine.engine import Engine
    from statechain.tasks.registry import TaskRegistry

__all__ = ["engine", "statechain_backend", "statechain_clock", "statechain_tasks"]

OPTION = "--statechain-backend"
MEMORY = "memory://"


def _async_fixture() -> Callable[[Callable[..., Any]], Any]:
    """Return the decorator that makes a fixture of an async generator, what runs the loop."""
    try:
        import pytest_asyncio  # noqa: PLC0415 -- anyio's plugin does as well
    except ImportError:
        return pytest.fixture
    return pytest_asyncio.fixture


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that names storages."""
    parser.getgroup("statechain").addoption(
        OPTION,
        action="append",
        default=[],
        metavar="URL",
        help=f"run tests that ask for an engine on this storage (default {MEMORY}); repeat it to run them on each",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test once for each storage that was named."""
    urls = metafunc.config.getoption(OPTION)
    if urls and "statechain_backend" in metafunc.fixturenames:
        metafunc.parametrize("statechain_backend", urls, indirect=True)


@pytest.fixture
def statechain_backend(request: pytest.FixtureRequest) -> str:
    """The URL of the storage: what the command line named, else memory.

    A memory is fresh for each test; any other storage keeps what earlier tests left in it.
    """
    return getattr(request, "param", MEMORY)


@pytest.fixture
def statechain_tasks() -> TaskRegistry | None:
    """The engine's handlers; override it."""
    return None


@pytest.fixture
def statechain_clock() -> Clock:
    """The engine's clock: virtual, so that waits, retries and timeouts take no real time."""
    from statechain.testing.clock import VirtualClock  # noqa: PLC0415 -- a run that asks for no engine loads nothing

    return VirtualClock()


class _TestIsOver(Exception):
    """Leaves an engine as an error does: what still runs is interrupted, and not waited for."""


@_async_fixture()
async def engine(
    statechain_backend: str, statechain_tasks: TaskRegistry | None, statechain_clock: Clock
) -> AsyncIterator[Engine]:
    """A running engine; when the test is over, what still runs is interrupted."""
    from statechain.engine.engine import Engine  # noqa: PLC0415

    with suppress(_TestIsOver):
        async with Engine(statechain_backend, tasks=statechain_tasks, clock=statechain_clock) as running:
            yield running
            raise _TestIsOver
