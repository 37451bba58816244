"""The three backends keep the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from statechain import MemoryRepository, PostgresRepository, SQLiteRepository
from statechain.testing import RepositoryContract
from support.postgres import without_pooler


class TestMemory(RepositoryContract):
    @pytest_asyncio.fixture
    async def repository(self) -> AsyncIterator[MemoryRepository]:
        async with MemoryRepository() as repository:
            yield repository


@pytest.mark.slow
class TestSQLite(RepositoryContract):
    @pytest_asyncio.fixture
    async def repository(self, sqlite_url: str) -> AsyncIterator[SQLiteRepository]:
        async with SQLiteRepository(sqlite_url) as repository:
            yield repository

    @pytest_asyncio.fixture
    async def other(self, sqlite_url: str, repository: SQLiteRepository) -> AsyncIterator[SQLiteRepository]:
        async with SQLiteRepository(sqlite_url) as other:
            yield other


class TestPostgres(RepositoryContract):
    @pytest_asyncio.fixture
    async def repository(self, postgres_url: str) -> AsyncIterator[PostgresRepository]:
        async with PostgresRepository(without_pooler(postgres_url)) as repository:
            yield repository

    @pytest_asyncio.fixture
    async def other(self, postgres_url: str, repository: PostgresRepository) -> AsyncIterator[PostgresRepository]:
        async with PostgresRepository(without_pooler(postgres_url)) as other:
            yield other


def test_no_two_chapters_share_a_test() -> None:
    names = [name for chapter in RepositoryContract.__mro__ for name in vars(chapter) if name.startswith("test_")]
    assert len(names) == len(set(names))
