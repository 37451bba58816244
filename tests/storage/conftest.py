"""A journal that runs, and the storage below it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from statechain.storage.journal import Journal
from support.journals import GatedRepository, running


@pytest.fixture
def storage() -> GatedRepository:
    return GatedRepository()


@pytest.fixture
async def journal(storage: GatedRepository) -> AsyncIterator[Journal]:
    async with running(storage) as opened:
        yield opened
