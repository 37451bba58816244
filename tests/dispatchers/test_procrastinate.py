"""The dispatcher over procrastinate, on PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

pytest.importorskip("procrastinate")

from statechain.dispatchers import open_dispatcher
from statechain.dispatchers.procrastinate import ProcrastinateDispatcher
from statechain.testing import DispatcherContract


class TestProcrastinateDispatcher(DispatcherContract):
    @pytest.fixture
    def url(self, postgres_url: str) -> str:
        return postgres_url

    @pytest.fixture
    async def dispatcher(self, url: str) -> AsyncIterator[ProcrastinateDispatcher]:
        async with ProcrastinateDispatcher(f"{url}?pool_size=3") as opened:
            yield opened

    @pytest.fixture
    async def other(self, url: str) -> AsyncIterator[ProcrastinateDispatcher]:
        async with ProcrastinateDispatcher(url) as opened:
            yield opened


async def test_it_is_found_by_its_name(postgres_url: str) -> None:
    async with open_dispatcher("procrastinate", postgres_url) as found:
        assert isinstance(found, ProcrastinateDispatcher)
        assert await found.depth() == 0


def test_it_needs_postgresql_and_shows_no_password() -> None:
    with pytest.raises(ValueError, match="needs PostgreSQL") as refused:
        ProcrastinateDispatcher("sqlite:///secret.db")
    assert "secret" not in str(refused.value)
    assert "secret" not in repr(ProcrastinateDispatcher("postgresql://shop:secret@db/shop"))
    with pytest.raises(ValueError, match="no dispatcher is installed under the name 'pigeon'"):
        open_dispatcher("pigeon", "memory://")
