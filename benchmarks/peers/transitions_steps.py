"""transitions: an asynchronous machine in memory that goes from state to state, a callback at each."""

import time
from typing import Any

from peer import arguments, play, report
from transitions.extensions.asyncio import AsyncMachine


class Model:
    """What the machine moves."""

    async def step(self) -> None:
        """Do nothing."""


async def measure(options: Any) -> None:
    """Make transitions, after some that do not count."""
    model = Model()
    states = [f"s{number}" for number in range(options.steps)]
    machine = AsyncMachine(model, states=states, initial="s0", auto_transitions=False)
    machine.add_ordered_transitions(trigger="advance", after="step")
    for _ in range(1000):
        await model.advance()  # type: ignore[attr-defined]
    began = time.perf_counter()
    for _ in range(options.executions * options.steps):
        await model.advance()  # type: ignore[attr-defined]
    report(options, time.perf_counter() - began)


if __name__ == "__main__":
    settings = arguments(__doc__)
    play(settings, measure(settings))
