"""A journal that runs, and the storage below it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from statechain.storage.journal.journal import Journal
from support.faulty_repository import FaultyRepository
from support.storage.journals import gated, running


@pytest.fixture
def storage() -> FaultyRepository:
    return gated()


@pytest.fixture
async def journal(storage: FaultyRepository) -> AsyncIterator[Journal]:
    async with running(storage) as opened:
        yield opened
