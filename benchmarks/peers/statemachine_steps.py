"""python-statemachine: an asynchronous machine in memory that goes round its states, a callback at each."""

import time
from typing import Any

from peer import arguments, play, report
from statemachine import State, StateMachine


class Ring(StateMachine):
    """Five states in a ring."""

    s0 = State(initial=True)
    s1 = State()
    s2 = State()
    s3 = State()
    s4 = State()
    advance = s0.to(s1) | s1.to(s2) | s2.to(s3) | s3.to(s4) | s4.to(s0)

    async def on_advance(self) -> None:
        """Do nothing."""


async def measure(options: Any) -> None:
    """Make transitions, after some that do not count."""
    ring = Ring()
    await ring.activate_initial_state()
    for _ in range(1000):
        await ring.advance()
    began = time.perf_counter()
    for _ in range(options.executions * options.steps):
        await ring.advance()
    report(options, time.perf_counter() - began)


if __name__ == "__main__":
    settings = arguments(__doc__)
    play(settings, measure(settings))
