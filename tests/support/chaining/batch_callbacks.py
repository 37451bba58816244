"""Callbacks of a batch that record what they were called with, and what those raise that refuse."""

from __future__ import annotations

import asyncio
from typing import Any


class Told:
    """Callbacks that record what they were called with."""

    def __init__(self) -> None:
        self.facts: list[tuple[Any, ...]] = []

    def start(self, source: str, index: int) -> None:
        self.facts.append(("start", source, index))

    def complete(self, source: str, index: int, error: Exception | None) -> None:
        self.facts.append(("complete", source, index, error))

    async def start_slowly(self, source: str, index: int) -> None:
        await asyncio.sleep(0.001)
        self.start(source, index)

    async def complete_slowly(self, source: str, index: int, error: Exception | None) -> None:
        await asyncio.sleep(0.001)
        self.complete(source, index, error)

    def check(self, count: int) -> None:
        """Assert that each of these items was begun and completed exactly once, in this order."""
        for kind in ("start", "complete"):
            assert sorted(fact[2] for fact in self.facts if fact[0] == kind) == list(range(count))
        for index in range(count):
            assert [fact[0] for fact in self.facts if fact[2] == index] == ["start", "complete"]


class Unwelcome(Exception):
    """What a callback raises."""
