"""A stage for executions: one storage, one virtual time, and engines that can be struck down in the midst."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from stage import Stage, open_stage


@pytest.fixture
async def stage(repository_url: str) -> AsyncIterator[Stage]:
    """Return a stage on each storage."""
    async with open_stage(repository_url) as opened:
        yield opened


@pytest.fixture
async def quick() -> AsyncIterator[Stage]:
    """Return a stage in memory, for what storage has no part in."""
    async with open_stage("memory://") as opened:
        yield opened
