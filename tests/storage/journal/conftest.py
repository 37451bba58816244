"""A journal that runs, the storage below it, and the clock that both go by."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from statechain.storage.journal import committing, stragglers
from statechain.storage.journal import journal as journals
from statechain.storage.journal.journal import Journal
from support.faulty_repository import FaultyRepository
from support.storage.journals import HeldClock, gated, running


@pytest.fixture
def storage() -> FaultyRepository:
    return gated()


@pytest.fixture
async def journal(storage: FaultyRepository) -> AsyncIterator[Journal]:
    async with running(storage) as opened:
        yield opened


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> HeldClock:
    held = HeldClock()
    for module in (committing, journals, stragglers):
        monkeypatch.setattr(module, "time", held)
    return held
