"""A visit to evaluate expressions in: the context that the language asks for, always of the same moment."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import attrs

__all__ = ["Visit"]


@attrs.define
class Visit:
    """The context of one visit; always the same moment and the same draws."""

    variables: Mapping[str, Any] = attrs.Factory(dict)
    about: dict[str, Any] = attrs.Factory(
        lambda: {"Execution": {"Id": "e1", "Input": {"n": 1}}, "State": {"Name": "A"}}
    )

    def object(self) -> dict[str, Any]:
        return self.about

    def now(self) -> datetime:
        return datetime(2024, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)

    def random(self) -> random.Random:
        return random.Random(1)

    def rng(self, purpose: str) -> random.Random:
        return random.Random(purpose)
