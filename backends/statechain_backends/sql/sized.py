"""Constant statements that take any number of ids: one for each of a few sizes, so that each is compiled once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from statechain_backends.sql.compiler import param

if TYPE_CHECKING:
    from sqlalchemy import BindParameter, Executable

__all__ = ["MOST_IDS", "Ids", "Sized", "asking"]

SIZES = (1, 8, 64, 500)
MOST_IDS = SIZES[-1]
"""How many ids a statement takes at most."""

Ids = Sequence["BindParameter[Any]"]


class Sized:
    """A statement for each size, made of the parameters for its ids when it is first asked for.

    Most processes ask for few ids only, and thousands of parameters take memory.
    """

    __slots__ = ("_made", "_make")

    def __init__(self, make: Callable[[Ids], Executable]) -> None:
        self._make = make
        self._made: dict[int, Executable] = {}

    def of(self, size: int) -> Executable:
        """Return the statement of one of the sizes."""
        if size not in self._made:
            self._made[size] = self._make([param(f"id_{place}") for place in range(size)])
        return self._made[size]


def asking(statements: Sized, ids: Collection[str], **others: object) -> tuple[Executable, dict[str, object]]:
    """Return the statement for some ids, at most `MOST_IDS`, and its parameters: fewer are filled up with the first."""
    some = list(ids)
    size = next(size for size in SIZES if size >= len(some))
    # An id that is given twice changes nothing in `IN`.
    some += [some[0]] * (size - len(some))
    return statements.of(size), {**{f"id_{place}": id_ for place, id_ in enumerate(some)}, **others}
