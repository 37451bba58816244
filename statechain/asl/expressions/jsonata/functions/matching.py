"""What matchers find in a string: regular expressions, and functions that answer as a regular expression does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attrs import define
from jsonata import functions as library_functions
from jsonata import jexception

from statechain.asl.expressions.cause_text import is_number
from statechain.asl.expressions.jsonata.engine import Engine
from statechain.asl.expressions.jsonata.library import Value, is_function

__all__ = ["Found", "matches"]


@define
class Found:
    """One match."""

    text: str
    start: int
    end: int
    groups: list[str]

    def as_object(self) -> dict[str, Any]:
        """Return it as a function of a replacement is given it."""
        return {"match": self.text, "start": self.start, "end": self.end, "groups": self.groups}


def matches(engine: Engine, name: str, matcher: Value, text: str) -> Iterator[Found]:
    """Yield what a matcher finds in a string, for the function of this name.

    Raises JException: D1004 for a match of nothing, and T1010 for a function whose answer is no match.
    """
    if not library_functions.Functions.is_regex(matcher):
        yield from _answers(engine, name, matcher, text)
        return
    for match in matcher.finditer(text, engine.charge):
        if match.start() == match.end():
            raise jexception.JException("D1004", -1)
        # JSONata has an empty string for a group that took no part.
        yield Found(match[0], match.start(), match.end(), [group or "" for group in match.groups()])


def _answers(engine: Engine, name: str, function: Value, text: str) -> Iterator[Found]:
    answer = engine.apply(function, [text], None, None)
    while answer is not None:
        engine.charge(1)
        yield _found(answer, name)
        following = answer.get("next")
        answer = engine.apply(following, [], None, None) if is_function(following) else None


def _found(answer: Value, name: str) -> Found:
    if not isinstance(answer, dict):
        raise jexception.JException("T1010", -1, name)
    text, start, end, groups = (answer.get(key) for key in ("match", "start", "end", "groups"))
    if not (is_number(start) and is_number(end) and isinstance(text, str) and isinstance(groups or [], list)):
        raise jexception.JException("T1010", -1, name)
    return Found(text, int(start), int(end), [group if isinstance(group, str) else "" for group in groups or []])
