"""The transform operator ``|pattern|update, delete|``: a copy of an object, changed where the pattern matches."""

from __future__ import annotations

from collections.abc import Sequence

from jsonata import jsonata as library
from jsonata import utils

from statechain.asl.expressions.jsonata.library import Evaluator, Frame, Node, Value
from statechain.asl.expressions.jsonata.messages import JSONataError

__all__ = ["transformer"]

SIGNATURE = "<(oa):o>"


def transformer(engine: Evaluator, node: Node, frame: Frame) -> Value:
    """Return the function that a transform is."""
    return library.Jsonata.JFunction(_Transformer(engine, node, frame), SIGNATURE)


class _Transformer(library.Jsonata.JFunctionCallable):  # type: ignore[misc]
    def __init__(self, engine: Evaluator, node: Node, frame: Frame) -> None:
        self._engine = engine
        self._node = node
        self._frame = frame

    def call(self, _value: Value, arguments: Sequence[Value]) -> Value:
        """Return the changed copy of the first argument."""
        if arguments[0] is None:
            return None
        result = self._engine.copy(arguments[0])
        matches = self._engine.eval(self._node.pattern, result, self._frame)
        for match in matches if isinstance(matches, list) else [] if matches is None else [matches]:
            if isinstance(match, dict):
                self._update(match)
        return result

    def _update(self, match: dict[str, Value]) -> None:
        update = self._engine.eval(self._node.update, match, self._frame)
        if update is not None and not isinstance(update, dict):
            raise JSONataError("T2011", self._node.update.position, update)
        match.update(update or {})
        if self._node.delete is None:
            return
        deletions = self._engine.eval(self._node.delete, match, self._frame)
        names = deletions if isinstance(deletions, list) else [] if deletions is None else [deletions]
        if not utils.Utils.is_array_of_strings(names):
            raise JSONataError("T2012", self._node.delete.position, deletions)
        for name in names:
            match.pop(name, None)
