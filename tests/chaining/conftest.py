"""A workshop on every storage."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from workshop import Workshop, open_workshop


@pytest.fixture
async def workshop(repository_url: str) -> AsyncIterator[Workshop]:
    """Return the two machines on an engine of their own."""
    async with open_workshop(repository_url) as opened:
        yield opened
