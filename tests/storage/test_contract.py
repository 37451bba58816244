"""The three backends keep the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from statechain import MemoryRepository
from statechain.testing import RepositoryContract


class TestMemory(RepositoryContract):
    @pytest_asyncio.fixture
    async def repository(self) -> AsyncIterator[MemoryRepository]:
        async with MemoryRepository() as repository:
            yield repository
