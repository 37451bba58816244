"""Names for what is inside the JSONata library, which ships no types, and the engine as its operators see it."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

from jsonata import functions, utils

__all__ = ["Evaluator", "Frame", "JList", "Node", "Value", "is_function", "sequence_of"]

Node: TypeAlias = Any
"""A node of the library's syntax tree."""

Value: TypeAlias = Any
"""A value inside the library: JSON, its null, None for undefined, or a function."""

Frame: TypeAlias = Any
"""A scope of variables."""

JList = utils.Utils.JList
"""An array that knows whether it is a sequence, which a single item represents, or a stream of tuples."""

sequence_of = utils.Utils.create_sequence


class Evaluator(Protocol):
    """The engine, as operators in files of their own use it."""

    def eval(self, node: Node, value: Value, frame: Frame) -> Value:
        """Evaluate a node in the context of a value."""

    def copy(self, value: Value) -> Value:
        """Return a deep copy."""

    def charge(self, steps: int) -> None:
        """Take steps from the budget."""

    def create_frame_from_tuple(self, frame: Frame, bindings: Value, /) -> Frame:
        """Return a scope in which a tuple's variables are bound."""


def is_function(value: Value) -> bool:
    """Return whether a value can be called: a function, a lambda or a regular expression."""
    library = functions.Functions
    return bool(utils.Utils.is_function(value) or library.is_lambda(value) or library.is_regex(value))
