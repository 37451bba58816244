"""Constant statements that take any number of ids: one for each of a few sizes, so that each is compiled once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from statechain_backends.sql.compiler import param

if TYPE_CHECKING:
    from sqlalchemy import BindParameter, Executable

__all__ = ["MOST_IDS", "Ids", "Sized", "asking", "sized"]

SIZES = (1, 8, 64, 500)
MOST_IDS = SIZES[-1]
"""How many ids a statement takes at most."""

Ids = Sequence["BindParameter[Any]"]
Sized = Mapping[int, "Executable"]


def sized(make: Callable[[Ids], Executable]) -> Sized:
    """Return a statement for each size, made of the parameters for its ids."""
    return {size: make([param(f"id_{place}") for place in range(size)]) for size in SIZES}


def asking(statements: Sized, ids: Collection[str], **others: object) -> tuple[Executable, dict[str, object]]:
    """Return the statement for some ids, at most `MOST_IDS`, and its parameters: fewer are filled up with the first."""
    some = list(ids)
    size, statement = next((size, each) for size, each in statements.items() if size >= len(some))
    # An id that is given twice changes nothing in `IN`.
    some += [some[0]] * (size - len(some))
    return statement, {**{f"id_{place}": id_ for place, id_ in enumerate(some)}, **others}
