"""A workshop on every storage."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from workshop import Workshop, open_workshop


@pytest.fixture
async def workshop(repository_url: str) -> AsyncIterator[Workshop]:
    """Return the two machines on an engine of their own."""
    async with open_workshop(repository_url) as opened:
        yield opened


@pytest.fixture
def repository_url() -> str:
    return "memory://"
