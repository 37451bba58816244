"""When the visits of a line of control must be durable, and when they may be written later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from statechain.execution.frame import Frame
    from statechain.storage.journal.journal import Journal
    from statechain.storage.journal.waiters import Waiting

__all__ = ["VisitRecorder"]


class Lease(Protocol):
    """What a worker knows of its lease: `statechain.worker.lease.Lease`."""

    @property
    def holds(self) -> bool:
        """Whether no other worker can have taken over yet what the worker owns."""

    @property
    def lapses(self) -> int:
        """How often it was renewed too late."""

    async def regained(self) -> None:
        """Return once it holds again."""


class VisitRecorder:
    """Writes for frames through the journal; an EXPRESS execution has nothing to write before its end."""

    def __init__(self, journal: Journal, lease: Lease) -> None:
        self._journal = journal
        self.lease = lease

    async def flush(self, frame: Frame) -> None:
        """Make durable all that the execution has to write."""
        if not frame.run.is_express:
            # Read before the write: a lapse while it is under way is not vouched for by it.
            lapses = self.lease.lapses
            await self._journal.record(frame.run.ledger)
            frame.has_unsaved_effect = False
            frame.run.lapses = lapses

    async def flush_effects(self, frame: Frame) -> None:
        """Make durable what a line of control that has ended produced last."""
        if frame.has_unsaved_effect:
            await self.flush(frame)

    async def flush_before_effect(self, frame: Frame) -> None:
        """Before an effect: what earlier effects produced must be durable; the rest may follow later.

        Nothing begins while the lease does not hold. Once it had lapsed, others may have taken the execution over: a
        write shows, for it is refused then.
        """
        # A handler must not be called by two workers: without a lease another may own the execution by now.
        if not self.lease.holds:
            await self.lease.regained()
        if frame.has_unsaved_effect or frame.run.lapses != self.lease.lapses:
            await self.flush(frame)
        else:
            self.post_backlog(frame)

    # The same for a line, which does not wait itself

    def must_flush(self, frame: Frame) -> bool:
        """Return whether something must be durable before the next effect of a frame."""
        return frame.has_unsaved_effect or frame.run.lapses != self.lease.lapses

    def post(self, frame: Frame, waiting: Waiting) -> None:
        """Write all that the execution has to write, and resolve what waits for it."""
        self._journal.post(frame.run.ledger, waiting)

    def post_backlog(self, frame: Frame) -> None:
        """Have visits that wait to be written follow later."""
        if frame.run.ledger.backlog and not frame.run.is_express:
            self._journal.post(frame.run.ledger)

    def flushed(self, frame: Frame, lapses: int) -> None:
        """Take note that a write is durable that was begun when the lease had lapsed so often."""
        frame.has_unsaved_effect = False
        frame.run.lapses = lapses

    def add_open_visit(self, frame: Frame) -> None:
        """Have the visit that a frame is in written as it is, with the next write."""
        if not frame.run.is_express:
            frame.run.ledger.add(frame.waiting())

    def record_cancelled(self, frame: Frame) -> None:
        """Have the history show a visit that is interrupted, and nothing wait any more for an answer to it."""
        # What goes on elsewhere is not cancelled: its open visit is taken up there.
        if not frame.is_open or frame.run.is_left:
            return
        self.add_open_visit(frame)
        if frame.outside is not None:
            # An answer that comes later is refused, as one that comes after a timeout is.
            for each in frame.outside.callbacks:
                frame.run.ledger.close_callback(each)

    async def checkpoint(self, frame: Frame) -> None:
        """Before a wait: make durable where the frame is, so that a crash loses neither deadline nor attempts."""
        self.add_open_visit(frame)
        await self.flush(frame)
