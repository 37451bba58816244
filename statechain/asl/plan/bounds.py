"""The bound on what a state hands to its branches and iterations: that of every state's input."""

from __future__ import annotations

from statechain.codec import JSONValue, require_fit
from statechain.errors import InvalidPayload, StateError
from statechain.limits import Limits

__all__ = ["within_bounds"]


def within_bounds(value: JSONValue, state: str, limits: Limits) -> JSONValue:
    """Return an input that a state has made; raise StateError where it is too large, or nests too deep."""
    try:
        require_fit(value, max_bytes=limits.payload_bytes, max_depth=limits.payload_depth)
    except InvalidPayload as fault:
        raise StateError("States.DataLimitExceeded", f"the input of the state '{state}': {fault}") from fault
    return value
