"""How lines of control are named: by the states and indexes that lead to them."""

from __future__ import annotations

__all__ = ["branch_prefix"]


def branch_prefix(path: str, state: str) -> str:
    """Return what the paths of all branches of a state begin with, up to the index."""
    # As in a JSON pointer: `~` first, and then no name looks like a path of two states.
    name = state.replace("~", "~0").replace("/", "~1")
    return f"{path}{'/' if path else ''}{name}"
