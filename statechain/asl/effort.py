"""How much an evaluation may do in the thread of an event loop: past that it is begun again in another thread.

Evaluations have no effects, so that one may be given up and made again. The bound is counted in steps and not in time:
the same evaluation always takes the same way.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["STEPS_ON_LOOP", "TakesLong", "at_length", "need_time", "serving_loop"]

STEPS_ON_LOOP = 5_000
"""Steps of JSONata, nodes of a path, or what costs about as much (some 5 µs), between two turns of the event loop."""


class TakesLong(Exception):
    """An evaluation does more than may be done in the thread of an event loop."""


class _Thread(threading.local):
    loops = 0


_thread = _Thread()


@contextmanager
def serving_loop() -> Iterator[None]:
    """Have evaluations in this thread, which runs an event loop, raise TakesLong past the bound while the body runs."""
    # Counted, since several engines may run in one event loop.
    _thread.loops += 1
    try:
        yield
    finally:
        _thread.loops -= 1


@contextmanager
def at_length() -> Iterator[None]:
    """Let evaluations in this thread go past the bound while the body runs, which awaits nothing."""
    # Restored afterwards: the thread may go on to serve its event loop.
    before, _thread.loops = _thread.loops, 0
    try:
        yield
    finally:
        _thread.loops = before


def need_time() -> None:
    """Raise TakesLong where this thread runs an event loop for an engine."""
    if _thread.loops:
        raise TakesLong
