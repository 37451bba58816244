"""What one execution has yet to write, collected until the journal commits it as one transition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from statechain.errors import LeaseLost
from statechain.storage.repository import Advance, End

if TYPE_CHECKING:
    from statechain.records.callbacks import Callback
    from statechain.records.executions import Claim, Visit
    from statechain.storage.journal.waiters import Waiting

__all__ = ["ExecutionWrites"]


class ExecutionWrites:
    """What one execution has yet to write, and the claim under which it may.

    The journal alone moves ``seq``: it commits the transitions of an execution strictly one after the other.
    ``current_state`` is where the root line of control is; the interpreter moves it. ``highest_number`` is that of any
    visit so far: numbers are never used twice in one execution. ``is_lost`` says that the
    claim is no longer good, ``is_running`` that the execution goes on since its last write was durable, ``is_closed``
    that this worker writes no more for it. ``end`` is written with its last transition; ``waiter`` is resolved once
    what is pending is durable. The journal sets both.
    """

    __slots__ = (
        "_closed",
        "_epoch",
        "_first",
        "_opened",
        "_pending",
        "current_state",
        "end",
        "execution_id",
        "highest_number",
        "is_closed",
        "is_lost",
        "is_running",
        "seq",
        "waiter",
    )

    def __init__(self, claim: Claim) -> None:
        self.execution_id = claim.execution.id
        self._epoch = claim.epoch
        self.seq = self._first = claim.seq
        self.current_state = claim.execution.current_state
        self._pending: list[Visit] | None = None
        self.highest_number = 0
        self._opened: Sequence[Callback] = ()
        self._closed: Sequence[str] = ()
        self.end: End | None = None
        self.is_lost = False
        self.is_running = False
        self.is_closed = False
        self.waiter: Waiting | None = None

    def settle(self, write: Advance, outcome: object) -> None:
        """Note how a transition went: done, or to be tried again with the next one, or lost with the lease."""
        if outcome is None:
            self.seq += len(write.visits)
        elif isinstance(outcome, LeaseLost):
            # The epoch is another one now, or the execution has ended: nothing more can be written here.
            self.is_lost = True
        else:
            # Pending again, before what was added since: visits keep their order and their places.
            self._pending = [*write.visits, *(self._pending or ())]
            self._opened = (*write.opened, *self._opened)
            self._closed = (*write.closed, *self._closed)

    @property
    def is_going_on(self) -> bool:
        """Whether the execution runs on once its last write is durable."""
        return self.end is None and not (self.is_lost or self.is_closed)

    @property
    def has_advanced(self) -> bool:
        """Whether a visit was written under this claim."""
        return self.seq > self._first

    @property
    def backlog(self) -> int:
        """How many visits wait to be written."""
        return len(self._pending or ())

    def add(self, visit: Visit) -> None:
        """Remember a visit; it becomes durable with the next write of the execution."""
        if self._pending is None:
            self._pending = [visit]
        else:
            self._pending.append(visit)

    def open_callback(self, callback: Callback) -> None:
        """Have a callback begin to wait with the next write of the execution."""
        self._opened = (*self._opened, callback)

    def close_callback(self, callback_id: str) -> None:
        """Have a callback closed with the next write of the execution: nothing waits for it any more."""
        self._closed = (*self._closed, callback_id)

    def take(self) -> Advance:
        """Hand out all that is pending as one transition."""
        # `end` stays: where this transition is not committed, the next one has it, too.
        visits, self._pending = self._pending or (), None
        opened, self._opened = self._opened, ()
        closed, self._closed = self._closed, ()
        return Advance(
            execution_id=self.execution_id,
            epoch=self._epoch,
            seq=self.seq,
            visits=visits,
            current_state=self.current_state,
            end=self.end,
            opened=opened,
            closed=closed,
        )
