"""A journal that runs, and the storage below it."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from statechain.storage.journal import Journal

sys.path.insert(0, str(Path(__file__).parent))

from gated import Storage, running


@pytest.fixture
def storage() -> Storage:
    return Storage()


@pytest.fixture
async def journal(storage: Storage) -> AsyncIterator[Journal]:
    async with running(storage) as opened:
        yield opened
