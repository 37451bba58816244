"""The searches run small by default, and far with ``--full``."""

from __future__ import annotations

import pytest


@pytest.fixture
def walks(pytestconfig: pytest.Config) -> int:
    """How many random walks a search takes."""
    return 5_000 if pytestconfig.getoption("--full", default=False) else 50


@pytest.fixture
def most(pytestconfig: pytest.Config) -> int:
    """How many states a search looks at that goes breadth first."""
    return 100_000 if pytestconfig.getoption("--full", default=False) else 400
