"""Durable storages that take damage."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from statechain import Repository, open_repository
from support.postgres import Postgres
from support.storage.damage import Damage, damager, unchecked_tables


@pytest.fixture(scope="session")
def unchecked_database(postgres_server: Postgres) -> str:
    """A PostgreSQL database whose tables have lost their checks."""
    return unchecked_tables(postgres_server)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of a durable storage that takes damage: PostgreSQL without its checks."""
    if request.param == "sqlite":
        found: str = request.getfixturevalue("sqlite_url")
        return found
    server: Postgres = request.getfixturevalue("postgres_server")
    name: str = request.getfixturevalue("unchecked_database")
    server.empty(name)
    return server.url(name)


@pytest.fixture
async def repository(url: str) -> AsyncIterator[Repository]:
    async with open_repository(url) as opened:
        yield opened


@pytest.fixture
def damage(url: str) -> Damage:
    return damager(url)
