"""How much something does, counted and not timed: the functions that it calls, the lines that it runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["counted_calls", "counted_lines"]


@contextmanager
def counted_calls() -> Iterator[Callable[[], int]]:
    """Yield what returns how many functions, in Python and in C, this thread called in the body until now."""
    calls, before = 0, sys.getprofile()

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    sys.setprofile(note)
    try:
        yield lambda: calls
    finally:
        sys.setprofile(before)


@contextmanager
def counted_lines() -> Iterator[Callable[[], int]]:
    """Yield what returns how many lines of Python this thread ran in the body until now, in functions called there."""
    lines, before = 0, sys.gettrace()

    def note(_frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal lines
        lines += event == "line"
        return note

    sys.settrace(note)
    try:
        yield lambda: lines
    finally:
        sys.settrace(before)
