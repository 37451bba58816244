"""Chaining on each kind of storage."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from support.chaining.harness import ChainingHarness, chaining_harness
from support.postgres import without_pooler


@pytest.fixture
async def chaining(repository_url: str) -> AsyncIterator[ChainingHarness]:
    """Return the two machines on a separate engine."""
    async with chaining_harness(without_pooler(repository_url)) as opened:
        yield opened
