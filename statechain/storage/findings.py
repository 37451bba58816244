"""What a check of a storage finds: rows that cannot be read, or that lead to nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol, runtime_checkable

import attrs

__all__ = ["Checkable", "Finding"]


@attrs.frozen(kw_only=True)
class Finding:
    """A row that is damaged, and what a repair does about it.

    Attributes:
        table: The table.

        key: The values of its key that name the row.

        problem: What is wrong with it.

        repair: What a repair does; None where the row cannot be repaired.

        is_repaired: Whether that was done.
    """

    table: str
    key: tuple[object, ...]
    problem: str
    repair: str | None
    is_repaired: bool = False


@runtime_checkable
class Checkable(Protocol):
    """A repository that can check what it has stored."""

    def check(self, *, repair: bool = False) -> AsyncIterator[Finding]:
        """Yield what is damaged; with ``repair``, each is repaired first, beside what runs.

        A repair takes effect only where the row is still as it was found.
        """
