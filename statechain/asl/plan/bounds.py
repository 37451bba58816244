"""The bound on what a state hands to its branches and iterations: that of every state's input."""

from __future__ import annotations

from statechain.codec import JSONValue, require_fit
from statechain.errors import InvalidPayload, StateError
from statechain.limits import Limits

__all__ = ["refused_input", "within_bounds"]


def within_bounds(value: JSONValue, state: str, limits: Limits) -> JSONValue:
    """Return an input that a state has made; raise StateError where it is too large, nests too deep, or is no JSON."""
    try:
        require_fit(value, max_bytes=limits.payload_bytes, max_depth=limits.payload_depth)
    except InvalidPayload as refused:
        raise refused_input(refused, state) from refused
    return value


def refused_input(refused: InvalidPayload, state: str) -> StateError:
    """Return the error of a state whose input cannot be handed on."""
    error = "States.DataLimitExceeded" if refused.is_too_large else "States.Runtime"
    return StateError(error, f"the input of the state '{state}': {refused}")
