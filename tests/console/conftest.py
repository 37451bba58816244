"""A console on an engine with executions of every kind, asked over ASGI."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from support.console.office import Office, open_office


@pytest_asyncio.fixture
async def office() -> AsyncIterator[Office]:
    """Return an engine in memory with finished, failed, waiting and chained executions, and a batch."""
    async with open_office("memory://") as opened:
        yield opened
