"""Logs what holds the event loop, such as a handler that calculates, or blocks, without an ``await``.

A thread asks the loop to answer, again and again. Where no answer comes in time it looks at the stack of the loop's
thread, which costs the loop nothing.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["watched"]

logger = logging.getLogger(__name__)

# `_holder` reads their variables by name: task, frame, answer, attempt.
CALLERS = {("statechain.tasks.call", "serve"), ("statechain.execution.lines.fast_path", "_work")}
"""The functions that await a handler, whose variables name it."""


@contextmanager
def watched(seconds: float | None) -> Iterator[None]:
    """Watch the running event loop while the body runs; None watches nothing."""
    if seconds is None:
        yield
        return
    watchdog = _Watchdog(asyncio.get_running_loop(), seconds)
    watchdog.start()
    try:
        yield
    finally:
        watchdog.ended.set()


class _Watchdog(threading.Thread):
    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        super().__init__(name="statechain watchdog", daemon=True)
        self._loop = loop
        self._seconds = seconds
        self._watched = threading.get_ident()
        self.ended = threading.Event()

    def run(self) -> None:
        """Ask the loop to answer until the watch is over, or the loop is closed."""
        while not self.ended.wait(self._seconds / 2):
            answered = threading.Event()
            asked = time.monotonic()
            try:
                self._loop.call_soon_threadsafe(answered.set)
            except RuntimeError:
                # The loop is closed.
                return
            if not answered.wait(self._seconds):
                self._log(answered, asked)

    def _log(self, answered: threading.Event, asked: float) -> None:
        top = sys._current_frames().get(self._watched)  # noqa: SLF001 -- documented, for exactly this
        holder, tags = _holder(top)
        where = "unknown" if top is None else f"{top.f_code.co_filename}:{top.f_lineno} in {top.f_code.co_qualname}"
        # A frame keeps all its variables alive, payloads among them, for as long as it is referenced.
        del top
        extra = {"statechain": tags}
        logger.warning("the event loop is held by %s: %s", holder, where, extra=extra)
        while not answered.wait(self._seconds):
            if self.ended.is_set():
                return
        held = time.monotonic() - asked
        logger.warning("the event loop was held for %.2f seconds by %s", held, holder, extra={"statechain": tags})


def _holder(frame: FrameType | None) -> tuple[str, dict[str, Any]]:
    """Return which handler a stack is in, in words and as tags."""
    while frame is not None:
        if (frame.f_globals.get("__name__"), frame.f_code.co_name) in CALLERS:
            found = frame.f_locals
            task, line = found.get("task"), found.get("frame") or getattr(found.get("answer"), "frame", None)
            id_ = getattr(found.get("attempt"), "execution_id", None) if line is None else line.run.execution.id
            name = getattr(task, "name", None)
            return f"the handler {name!r} of the execution {id_}", {"handler": name, "execution": id_}
        frame = frame.f_back
    return "what is no handler", {}
