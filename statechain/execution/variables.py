"""How much the variables of an execution may hold: in one Assign, and in all scopes together.

A sum of what was assigned is kept, which forgets nothing: only where it goes past the bound are the variables counted
that are still there, so that an Assign costs the same however many there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from statechain.codec import JSONValue, require_fit, size_of
from statechain.codec.faults import is_deeper
from statechain.errors import InvalidPayload, StateError
from statechain.tasks.retry import RUNTIME

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
# A string that is not ASCII may have a character split into two surrogates, which is no JSON.
LOOKED_AT = frozenset({list, dict, str})


def admit(frame: Frame, assigned: Mapping[str, JSONValue], limits: Limits) -> None:
    """Count what a frame is about to assign; raise StateError where it is too much, nests too deep, or is no JSON."""
    size = _at_most(assigned)
    if size is None or size > limits.assign_bytes:
        size = _measured(frame.state, dict(assigned), limits)
    run = frame.run
    run.assigned_bytes += size
    if run.assigned_bytes > limits.variables_bytes:
        total = _kept(run.root or frame, {}, frame, assigned) + size_of(dict(assigned))
        if total > limits.variables_bytes:  # the sum stays past the bound, so that the next Assign counts again
            cause = f"The variables of the execution would have more than {limits.variables_bytes} bytes."
            raise StateError(LIMIT_EXCEEDED, cause)
        run.assigned_bytes = total


def _measured(state: str, assigned: dict[str, JSONValue], limits: Limits) -> int:
    """Return the size of an assignment; raise StateError where it cannot be kept."""
    # The object of all variables is one level more.
    deepest = limits.payload_depth + 1
    try:
        require_fit(assigned, max_bytes=limits.assign_bytes, max_depth=deepest)
    except InvalidPayload as fault:
        cause = f"The variables that the state '{state}' assigns have more than {limits.assign_bytes} bytes."
        if not fault.is_too_large or is_deeper(assigned, deepest):
            cause = f"the variables that the state '{state}' assigns: {fault}"
        raise StateError(LIMIT_EXCEEDED if fault.is_too_large else RUNTIME, cause) from fault
    return size_of(assigned)


def _at_most(assigned: Mapping[str, JSONValue]) -> int | None:
    """Return a size that an assignment of scalars does not exceed; None for one that needs a second look."""
    size = 2
    for name, value in assigned.items():
        kind = type(value)
        if kind is str and cast("str", value).isascii():
            # An upper bound that needs no text: nearly every Assign is far below the limit.
            size += WIDEST_CHARACTER * len(cast("str", value)) + 2
        elif kind in LOOKED_AT or (kind is int and not -WORD < cast("int", value) < WORD):
            return None
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
