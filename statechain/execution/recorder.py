"""When the visits of a line of control must be durable, and when they may be written later."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from statechain.execution.frame import Frame
    from statechain.storage.journal import Journal
    from statechain.worker.lease import Lease

__all__ = ["VisitRecorder"]


class VisitRecorder:
    """Writes for frames through the journal; an EXPRESS execution has nothing to write before its end."""

    def __init__(self, journal: Journal, lease: Lease) -> None:
        self._journal = journal
        self._lease = lease

    async def flush(self, frame: Frame) -> None:
        """Make durable all that the execution has to write."""
        if not frame.run.is_express:
            lapses = self._lease.lapses
            await self._journal.record(frame.run.ledger)
            frame.has_unsaved_effect = False
            frame.run.lapses = lapses

    async def flush_before_effect(self, frame: Frame) -> None:
        """Before an effect: what earlier effects produced must be durable; the rest may follow at leisure.

        Nothing begins while the lease does not hold. Once it had lapsed, others may have taken the execution over: a
        write tells, for it is refused then.
        """
        if not self._lease.holds:
            await self._lease.regained()
        if frame.has_unsaved_effect or frame.run.lapses != self._lease.lapses:
            await self.flush(frame)
        elif not frame.run.is_express and frame.run.ledger.backlog:
            self._journal.post(frame.run.ledger)

    def add_open_visit(self, frame: Frame) -> None:
        """Have the visit that a frame is in written as it stands, with the next write."""
        if not frame.run.is_express:
            frame.run.ledger.add(frame.waiting())

    def record_cancelled(self, frame: Frame) -> None:
        """Have the history show a visit that is cut short, and nobody wait any more for an answer to it."""
        self.add_open_visit(frame)
        if frame.outside is not None:
            for each in frame.outside.callbacks:
                frame.run.ledger.close_callback(each)

    async def checkpoint(self, frame: Frame) -> None:
        """Before a wait: make durable where the frame stands, so that a crash loses neither deadline nor attempts."""
        self.add_open_visit(frame)
        await self.flush(frame)
