"""A user's regular expression → a matcher whose time is linear in the text.

Matching is without backtracking, so no pattern runs away; what needs it (look-around, back-references) is refused.
`parser` reads a pattern as RE2 does, and is the one gate for all; `program` compiles its syntax; `automaton` and
`captures` run it; `speed` has google-re2 do so where it is installed, with the same results. Nothing here knows which
query language the pattern came from.
"""

from __future__ import annotations

from functools import lru_cache

from statechain.asl.expressions.regex.matcher import Charge, Match, Regex
from statechain.asl.expressions.regex.parser import parse
from statechain.asl.expressions.regex.program import MOST_INSTRUCTIONS, TooLarge
from statechain.asl.expressions.regex.speed import FastRegex, is_fast
from statechain.asl.expressions.regex.syntax import RegexSyntaxError

__all__ = ["Charge", "FastRegex", "Match", "Regex", "RegexSyntaxError", "compile_regex"]


@lru_cache(maxsize=256)
def compile_regex(pattern: str, *, ignore_case: bool = False, multiline: bool = False, dot_all: bool = False) -> Regex:
    """Return an object with the methods of `re.Pattern`. Raises RegexSyntaxError."""
    parsed = parse(pattern, ignore_case=ignore_case, multiline=multiline, dot_all=dot_all)
    try:
        return (FastRegex if is_fast(parsed) else Regex)(pattern, parsed)
    except TooLarge as error:
        too_large = f"it comes to more than {MOST_INSTRUCTIONS} instructions"
        raise RegexSyntaxError(f"the regular expression /{pattern}/ is not supported: {too_large}") from error
