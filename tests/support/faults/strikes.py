"""Signals to whichever processes run a shared batch, chosen by the ledger that they write: SIGKILL, or SIGSTOP.

The signals are spread over the progress of the work, so that a slow machine gets as many as a fast one.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from contextlib import suppress

import attrs

from support.faults.width_ledger import WidthLedger

__all__ = ["Strikes"]

SILENCE = 90.0
"""After this many seconds without a call the work is stuck."""


@attrs.frozen(kw_only=True)
class Strikes:
    """How often processes are killed, and stopped past their lease.

    Attributes:
        kills: How many signals kill.

        stops: How many stop a process for one and a half leases.

        lease: The workers' lease, in seconds.
    """

    kills: int
    stops: int
    lease: float

    async def fall(self, ledger: WidthLedger, calls: int, seed: int) -> None:
        """Send the signals while that many calls are made, at random moments."""
        chance = random.Random(seed)
        kinds = ["kill"] * self.kills + ["stop"] * self.stops
        chance.shuffle(kinds)
        marks = sorted(chance.uniform(0.02, 0.9) * calls for _ in kinds)
        async with asyncio.TaskGroup() as stopped, asyncio.timeout(None) as patience:
            for kind, mark in zip(kinds, marks, strict=True):
                while len(set(ledger.begun())) < mark:
                    await self._wait_for_call(ledger, patience)
                process = chance.choice(ledger.last_processes())
                if kind == "kill":
                    _strike(ledger, process, signal.SIGKILL)
                elif _strike(ledger, process, signal.SIGSTOP):
                    stopped.create_task(self._wake(process))

    async def _wait_for_call(self, ledger: WidthLedger, patience: asyncio.Timeout) -> None:
        patience.reschedule(asyncio.get_running_loop().time() + SILENCE)
        before = len(ledger.begun())
        while len(ledger.begun()) == before:  # noqa: ASYNC110 -- other processes write it
            await asyncio.sleep(0.01)
        patience.reschedule(None)

    async def _wake(self, process: int) -> None:
        try:
            await asyncio.sleep(1.5 * self.lease)
        finally:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)


def _strike(ledger: WidthLedger, process: int, number: signal.Signals) -> bool:
    """Send a signal to a process that may be gone; return whether it was there."""
    with suppress(ProcessLookupError):
        os.kill(process, number)
        ledger.write("struck", process)
        return True
    return False
