"""A workshop on every storage."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from workshop import Workshop, open_workshop

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
async def workshop(repository_url: str) -> AsyncIterator[Workshop]:
    """Return the two machines on an engine of their own."""
    async with open_workshop(repository_url) as opened:
        yield opened
