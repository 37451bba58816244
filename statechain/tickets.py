"""Tickets: what carries the shards of a DISTRIBUTED batch to workers, and how an existing engine takes part in it.

A ticket is a hint. Storage decides which worker runs a shard, and a worker's sweep sends again, or runs itself, what
no worker has claimed: a dispatcher may lose, repeat, delay or reorder tickets.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import Enum
from typing import Protocol, Self, TypeAlias, runtime_checkable

import attrs

from statechain.codec import JSONValue

__all__ = ["Dispatcher", "Outcome", "Ticket", "Work"]


@attrs.frozen
class Ticket:
    """Names a shard of a batch, at an epoch.

    Attributes:
        batch_id: The batch.

        shard: The shard's number.

        epoch: The epoch that the shard had when the ticket was made. A claim raises it, so that a second ticket for the
            same run of the shard is dropped.
    """

    batch_id: str
    shard: int
    epoch: int

    @property
    def key(self) -> str:
        """One string for the three: two tickets with the same key are duplicates."""
        return f"{self.batch_id}:{self.shard}:{self.epoch}"

    def to_json(self) -> dict[str, JSONValue]:
        """Return the ticket as a JSON object."""
        return {"batch_id": self.batch_id, "shard": self.shard, "epoch": self.epoch}

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> Self:
        """Return the ticket that `to_json` wrote.

        Arguments:
            value: The JSON object.

        Raises:
            ValueError: The value is not a ticket.
        """
        batch_id, shard, epoch = (value.get(name) for name in ("batch_id", "shard", "epoch"))
        if not (isinstance(batch_id, str) and isinstance(shard, int) and isinstance(epoch, int)):
            raise ValueError("a ticket has a batch_id (a string), a shard and an epoch (whole numbers)")
        return cls(batch_id, shard, epoch)


class Outcome(Enum):
    """What became of a ticket.

    ``DONE``: the shard was run, or has no need of this ticket. ``BUSY``: this worker could not take the shard; try
    again later or elsewhere, or drop the ticket.
    """

    DONE = "DONE"
    BUSY = "BUSY"


Work: TypeAlias = Callable[[Ticket], Awaitable[Outcome]]


@runtime_checkable
class Dispatcher(Protocol):
    """Carries tickets from the engines that have them to the engines that have free slots.

    A dispatcher that is an asynchronous context manager, too, is entered and left with its engine. It should connect
    when it is first used: an engine works while its dispatcher is away.
    """

    async def dispatch(self, tickets: Sequence[Ticket]) -> None:
        """Send tickets. It may raise: the sender's sweep then runs the shards itself, and sends again later."""

    async def serve(self, work: Work, *, slots: int) -> None:
        """Do the work for each ticket that arrives, at most ``slots`` at once, until cancelled.

        When cancelled, take no more tickets, wait for the work that runs, and raise CancelledError. A dispatcher whose
        engine calls `Engine.run_ticket` itself returns at once.
        """

    async def depth(self) -> int | None:
        """Return how many tickets wait for a slot, for autoscaling; None where that is not known."""
