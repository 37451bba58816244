"""A user's regular expression → a matcher whose time is linear in the text.

RE2 matches without backtracking, so no pattern runs away; what it cannot do (look-around, back-references) it refuses.
The library is imported with the first pattern. Nothing here knows which query language the pattern came from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from re import Pattern

__all__ = ["RegexSyntaxError", "compile_regex"]

MAX_MEMORY = 1 << 20


class RegexSyntaxError(ValueError):
    """A pattern is no regular expression, or one that cannot be matched in linear time."""


def compile_regex(
    pattern: str, *, ignore_case: bool = False, multiline: bool = False, dot_all: bool = False
) -> Pattern[str]:
    """Return an object with the methods of `re.Pattern`. Raises RegexSyntaxError."""
    import re2  # noqa: PLC0415 -- only machines with a pattern pay for it

    options = re2.Options()
    options.case_sensitive = not ignore_case
    options.dot_nl = dot_all
    options.log_errors = False
    options.max_mem = MAX_MEMORY
    try:
        compiled: Pattern[str] = re2.compile(f"(?m){pattern}" if multiline else pattern, options=options)
    except re2.error as fault:
        raise RegexSyntaxError(f"the regular expression /{pattern}/ is not supported: {_said(fault)}") from fault
    return compiled


def _said(fault: Exception) -> str:
    said = fault.args[0] if fault.args else fault
    return said.decode(errors="replace") if isinstance(said, bytes) else str(said)
