"""The sender of tickets: gives what can be claimed to a dispatcher, and finds out what was not delivered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence

from statechain.tickets import Dispatcher, Ticket

__all__ = ["TicketSender"]

logger = logging.getLogger(__name__)

DISPATCH_SECONDS = 2.0
"""How long a dispatcher has to accept tickets."""


class TicketSender:
    """Sends each ticket once an interval, for as long as its shard can be claimed.

    Arguments:
        dispatcher: What carries the tickets.

        interval: The seconds after which a ticket whose shard can still be claimed counts as lost.

    A dispatcher that refuses tickets, or does not answer in time, is away: for an interval it is given none.
    """

    def __init__(self, dispatcher: Dispatcher, interval: float) -> None:
        self._dispatcher = dispatcher
        self.interval = interval
        self._sent: dict[str, dict[Ticket, float]] = {}
        self._away_until: float | None = None

    @property
    def is_away(self) -> bool:
        """Whether the dispatcher took none of the last tickets."""
        return self._away_until is not None

    async def send(self, batch_id: str, tickets: Sequence[Ticket]) -> list[Ticket]:
        """Send the tickets of what can be claimed of a batch; return those that are to be run by the sender.

        These are the ones that were sent an interval ago and led to nothing, and, where the dispatcher is away, all.
        What was sent before and is not among the tickets was claimed, and is forgotten.
        """
        now = asyncio.get_running_loop().time()
        if self._away_until is not None and now < self._away_until:
            return list(tickets)
        former = self._sent.get(batch_id, {})
        due = [each for each in tickets if now - former.get(each, float("-inf")) >= self.interval]
        if due and not await self._dispatch(due):
            return list(tickets)
        # A ticket has its shard's epoch: what is claimable again after a claim is another ticket, and sent at once.
        self._sent[batch_id] = {each: now if each in due else former[each] for each in tickets}
        return [each for each in due if each in former]

    async def _dispatch(self, tickets: Sequence[Ticket]) -> bool:
        """Return whether the dispatcher accepted tickets; an adapter may raise anything, or hang."""
        try:
            # The look that sends tickets also claims: a dispatcher that hangs must not keep shards waiting.
            async with asyncio.timeout(min(self.interval, DISPATCH_SECONDS)):
                await self._dispatcher.dispatch(tickets)
        except Exception as error:  # noqa: BLE001 -- the sweep goes on without the dispatcher
            if not self.is_away:
                logger.warning("the dispatcher takes no tickets, shards run without it: %s", type(error).__name__)
            self._away_until = asyncio.get_running_loop().time() + self.interval
            return False
        self._away_until = None
        return True

    def keep(self, batch_ids: Collection[str]) -> None:
        """Forget what was sent for other batches than these."""
        self._sent = {id_: sent for id_, sent in self._sent.items() if id_ in batch_ids}
