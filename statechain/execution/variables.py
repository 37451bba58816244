"""How much the variables of an execution may hold: in one Assign, and in all scopes together.

A sum of what was assigned is kept, which forgets nothing: only where it goes past the bound are the variables counted
that are still there, so that an Assign costs the same however many there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from statechain.codec import JSONValue, size_of
from statechain.errors import StateError

if TYPE_CHECKING:
    from statechain.execution.frame import Frame
    from statechain.execution.run import Scope
    from statechain.limits import Limits

__all__ = ["admit", "is_admitted"]

LIMIT_EXCEEDED = "States.DataLimitExceeded"
# The most bytes that one character takes in UTF-8 JSON text: those of `\u0000`.
WIDEST_CHARACTER = 6
# Integers within it have at most 20 characters, and floats 24.
WORD = 1 << 63
LONGEST_NUMBER = 32


def admit(frame: Frame, assigned: Mapping[str, JSONValue], limits: Limits) -> None:
    """Count what a frame is about to assign; raise StateError where it is too much."""
    size = _at_most(assigned)
    if size > limits.assign_bytes and (size := size_of(dict(assigned))) > limits.assign_bytes:
        cause = f"The variables that the state '{frame.state}' assigns have more than {limits.assign_bytes} bytes."
        raise StateError(LIMIT_EXCEEDED, cause)
    run = frame.run
    run.assigned_bytes += size
    if run.assigned_bytes > limits.variables_bytes:
        total = _kept(run.root or frame, {}, frame, assigned) + size_of(dict(assigned))
        if total > limits.variables_bytes:  # the sum stays past the bound, so that the next Assign counts again
            cause = f"The variables of the execution would have more than {limits.variables_bytes} bytes."
            raise StateError(LIMIT_EXCEEDED, cause)
        run.assigned_bytes = total


def _at_most(assigned: Mapping[str, JSONValue]) -> int:
    """Return a size that an assignment does not exceed; of scalars it is found without making their text."""
    size = 2
    for name, value in assigned.items():
        kind = type(value)
        if kind is str:
            # An upper bound that needs no text: nearly every Assign is far below the limit.
            size += WIDEST_CHARACTER * len(cast("str", value)) + 2
        elif kind is list or kind is dict or (kind is int and not -WORD < cast("int", value) < WORD):
            return size_of(dict(assigned))
        else:
            size += LONGEST_NUMBER
        size += WIDEST_CHARACTER * len(name) + 4
    return size


def is_admitted(frame: Frame, assigned: Mapping[str, JSONValue], limits: Limits) -> bool:
    """Count what a frame is about to assign; return whether it may."""
    try:
        admit(frame, assigned, limits)
    except StateError:
        return False
    return True


def _kept(frame: Scope, outer: Mapping[str, JSONValue], leaving: Scope, assigned: Mapping[str, JSONValue]) -> int:
    """Return the size of the variables of a frame and those below it, but for what an assignment replaces."""
    replaced = assigned if frame is leaving else {}
    own = {
        name: value
        for name, value in frame.variables.items()
        if name not in replaced and not (name in outer and outer[name] is value)
    }
    below = () if frame is leaving else frame.children.values()  # a frame that assigns has left what was below it
    return (size_of(own) if own else 0) + sum(_kept(child, frame.variables, leaving, assigned) for child in below)
