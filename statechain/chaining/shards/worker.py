"""A worker's look for shards of DISTRIBUTED batches: they are claimed from storage, or on a ticket (see `running`).

A worker looks for shards four times a second, and at once when one of its shards ends or a batch is started here. It
takes no more than its share of a batch at a time, so that other workers find some; where it has had its share for a
second, and the batch has room, it takes what is left. A batch in any mode is run in shards where callers resume it, by
their processes only (`ServedBatches.joined`).

With a dispatcher the look, or *sweep*, sends tickets instead, and claims what the dispatcher did not deliver. Tickets
that arrive are claimed by `ShardWorker.run_ticket`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from math import ceil

from statechain.chaining.options import DISTRIBUTED
from statechain.chaining.runner import BatchServices, Target
from statechain.chaining.shards.looks import Looks
from statechain.chaining.shards.running import RunningShards
from statechain.chaining.shards.sending import TicketSender
from statechain.chaining.shards.served import ServedBatches
from statechain.errors import StatechainError
from statechain.records.batches import Batch
from statechain.storage.retrying import backoff_delays
from statechain.storage.shards import OVER, ShardPlan
from statechain.tickets import Dispatcher, Outcome, Ticket

__all__ = ["SLOTS", "ShardWorker"]

logger = logging.getLogger(__name__)

SLOTS = 8
"""How many shards a worker runs at once by default."""

LOOK_SECONDS = 0.25
"""Seconds between two looks, as for executions that no worker has (`statechain.worker.recovery`)."""

SHARE_SECONDS = 1.0
"""How long a worker has its share of a batch before it takes what others have left."""

SERVE_AGAIN_SECONDS = (0.1, 10.0)
"""The first and the longest pause before a dispatcher that failed is served again."""


class ShardWorker:
    """Runs shards in one process.

    Arguments:
        services: What a batch needs of the engine.

        worker_id: Returns the identity under which shards are claimed.

        has_lease: Returns whether this worker's lease holds: what is claimed without one is not safe from others.

        find_target: Returns the machine that a batch runs, or None where this process cannot run it.

        slots: How many shards run at once here.

        serves_all: Whether to run shards of batches that were started elsewhere, too.

        dispatcher: What carries tickets between the workers; without one, each worker claims what it finds.

        sweep: With a dispatcher, how many seconds there are between two looks.
    """

    def __init__(
        self,
        services: BatchServices,
        worker_id: Callable[[], str],
        has_lease: Callable[[], bool],
        find_target: Callable[[Batch], Awaitable[Target | None]],
        *,
        slots: int = SLOTS,
        serves_all: bool = True,
        dispatcher: Dispatcher | None = None,
        sweep: float = LOOK_SECONDS,
    ) -> None:
        self._repository = services.repository
        self._worker_id = worker_id
        self._has_lease = has_lease
        self._find_target = find_target
        self._slots = slots
        self._dispatcher = dispatcher
        self._sender = None if dispatcher is None else TicketSender(dispatcher, sweep)
        self._looks = Looks()
        self.served = ServedBatches(self._looks, serves_all=serves_all)
        self._running = RunningShards(services, worker_id, self.served, self._looks, goes_on=self._goes_on, slots=slots)
        self._has_share_since: dict[str, float] = {}
        self._known: tuple[Sequence[Batch], int] = ((), 1)
        self._looking: asyncio.Task[None] | None = None
        self._revived: asyncio.Task[None] | None = None

    # What the engine and its callers say

    async def announce(self, batch_id: str) -> None:
        """Send the first tickets of a batch that was started here, and look for its shards at once.

        What keeps the tickets from being sent is logged: the batch is stored, and the workers' sweeps find it.
        """
        self.served.add_started(batch_id)
        if self._sender is not None:
            try:
                tickets = await self._repository.open_tickets(batch_id, self._worker_id(), running=())
                await self._sender.send(batch_id, tickets)
            except StatechainError as error:
                logger.warning("no tickets of the batch %s could be sent: %s", batch_id, error)
        self._looks.read_again()

    def look_now(self) -> None:
        """Look for shards at once: another worker's may have become claimable."""
        self._looks.read_again()

    def revive(self, group: asyncio.TaskGroup) -> None:
        """Run again, in a group of tasks, where that has ended since the engine is being left."""
        is_reviving = self._revived is not None and not self._revived.done()
        if self.served.is_draining and not self._running.is_open and not is_reviving:
            self._revived = group.create_task(self.run(), name="statechain shards")

    def drain(self) -> None:
        """Claim nothing more, and start no more items, but of batches that a caller here awaits."""
        self.served.drain()

    def interrupt(self) -> None:
        """Cancel what runs, and leave it to other workers."""
        self.served.drain(leaves_awaited=True)
        # Storage may not answer; a shard that was claimed all the same is another worker's later.
        if self._looking is not None:
            self._looking.cancel()
        self._running.cancel()

    # Looking

    async def run(self) -> None:
        """Claim and run shards until drained."""
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(self._serve(), name="statechain tickets")
            try:
                with self._running.open(group):
                    while not self.served.is_over:
                        look = self._try_look(is_due=self._looks.take_due(self._interval))
                        self._looking = group.create_task(look, name="statechain shards, a look")
                        await asyncio.wait([self._looking])
                        await self._looks.wait()
            finally:
                serving.cancel()

    async def _serve(self) -> None:
        """Run what the dispatcher delivers; it may fail in any way, and the sweep goes on meanwhile."""
        pauses = backoff_delays(*SERVE_AGAIN_SECONDS)
        while self._dispatcher is not None:
            try:
                await self._dispatcher.serve(self.run_ticket, slots=self._slots)
            except Exception as error:  # noqa: BLE001 -- an adapter's errors are not this worker's
                logger.warning("the dispatcher failed and is served again: %s", type(error).__name__)
                await asyncio.sleep(next(pauses))
            else:
                return

    @property
    def _interval(self) -> float:
        """How many seconds there are between two looks now."""
        sender = self._sender
        return LOOK_SECONDS if sender is None or sender.is_away or self.served.is_draining else sender.interval

    async def _try_look(self, *, is_due: bool) -> None:
        try:
            await self._look(is_due=is_due)
        except StatechainError as error:
            logger.warning("shards could not be claimed, trying again: %s", error)

    async def _look(self, *, is_due: bool) -> None:
        sender = None if self.served.is_draining else self._sender
        if not self._has_lease() or (sender is None and not self._running.has_slot and not self.served.has_parts):
            return
        running, alive = await self._batches(is_due=is_due)
        ids = {batch.id for batch in running}
        self._has_share_since = {id_: since for id_, since in self._has_share_since.items() if id_ in ids}
        for batch in running:
            if self.served.serves(batch.id) and (target := await self._target_of(batch)) is not None:
                if sender is None or not batch.is_distributed or self.served.part_in(batch.id) is not None:
                    await self._claim_share(batch, target, alive, is_due=is_due)
                else:
                    await self._send(sender, batch, target)
        if sender is not None:
            sender.keep(ids)

    async def _batches(self, *, is_due: bool) -> tuple[Sequence[Batch], int]:
        """Return the batches that run, and how many workers there are; after a shard's end, as they were before."""
        if is_due or self._looks.is_outdated:
            self._looks.is_outdated = False  # what changes while storage is asked is read at the next look
            started = self.served.started()
            try:
                running = await self._repository.running_batches(None if self.served.has_parts else DISTRIBUTED)
                leases = await self._repository.workers() if running else ()
            except BaseException:
                self._looks.is_outdated = True
                raise
            self.served.forget_ended(started, {batch.id for batch in running})
            self._known = running, max(1, sum(not lease.is_over for lease in leases))
        return self._known

    async def _target_of(self, batch: Batch) -> Target | None:
        """Return the machine that a batch runs, where it is run here."""
        if part := self.served.part_in(batch.id):
            return part.target
        return await self._find_target(batch) if batch.is_distributed else None

    # Claiming

    async def _claim_share(self, batch: Batch, target: Target, alive: int, *, is_due: bool) -> None:
        """Claim as many shards as are this worker's share; what is left, too, where it has had that for a while.

        After a shard that ends between due looks no more than the share is claimed, so that other workers find some.
        """
        plan = ShardPlan.of(batch.options)
        share = ceil(plan.width / alive)
        now = asyncio.get_running_loop().time()
        had_share = now - self._has_share_since.get(batch.id, now) >= SHARE_SECONDS
        most = plan.width if is_due and had_share else share
        # What is outdated may have ended, or have other options: the next look reads it.
        while not self._looks.is_outdated:
            held = len(self._running.held(batch.id))
            if is_due and held >= share:
                self._has_share_since.setdefault(batch.id, now)
            if held >= most or not self._running.has_room(batch.id):
                return
            if held >= share and not await self._open_tickets(batch):
                # A claim, in vain, would lock the batch and keep others waiting that have less.
                self._has_share_since[batch.id] = now
                return
            if await self._running.claim(batch, target) is None:
                # Nothing is left of it, and what this worker has is less than its share.
                if held < share:
                    self._has_share_since.pop(batch.id, None)
                return

    async def _open_tickets(self, batch: Batch) -> Sequence[Ticket]:
        return await self._repository.open_tickets(batch.id, self._worker_id(), running=self._running.held(batch.id))

    async def _send(self, sender: TicketSender, batch: Batch, target: Target) -> None:
        """Send the tickets of a batch, and claim what they did not lead to."""
        tickets = await self._open_tickets(batch)
        for ticket in await sender.send(batch.id, tickets):
            if not self._running.has_slot:
                return
            await self._running.claim(batch, target, ticket)
        if not tickets and self._running.has_slot:  # a claim ends a batch of which nothing is open
            await self._running.claim(batch, target)

    def _goes_on(self, batch: Batch, plan: ShardPlan) -> bool:
        """Return whether a shard of a batch is followed by another one here: it may, and needs no ticket."""
        running, alive = self._known
        is_sent = self._sender is not None and not self.served.is_draining and self.served.part_in(batch.id) is None
        return (
            not is_sent
            and self.served.serves(batch.id)
            and self._has_lease()
            # Resumed with other options, its next shard is claimed by a look, which reads them.
            and any(each.id == batch.id and each.options == batch.options for each in running)
            and len(self._running.held(batch.id)) <= ceil(plan.width / alive)
        )

    # Tickets

    async def run_ticket(self, ticket: Ticket) -> Outcome:
        """Run the shard that a ticket names, to its end; cancelling this does not touch the shard.

        Raises StatechainError where this engine runs no shards: it is not open, or no worker.
        """
        if not self._running.is_open:
            raise StatechainError("tickets are run by an engine that is open, with role='worker'")
        if not self._running.has_slot or not self._has_lease() or self.served.drains(ticket.batch_id):
            return Outcome.BUSY
        batch = await self._running_batch(ticket.batch_id)
        if batch is None:
            return Outcome.DONE
        target = await self._target_of(batch)
        if target is None:
            return Outcome.BUSY
        task = await self._running.claim(batch, target, ticket)
        if task is None:
            # Not claimed although its ticket is good: no width is free, or another worker is about to claim it.
            return Outcome.DONE if await self._is_stale(ticket) else Outcome.BUSY
        await asyncio.wait([task])
        return Outcome.DONE

    async def _running_batch(self, batch_id: str) -> Batch | None:
        running = await self._repository.running_batches(DISTRIBUTED)
        return next((batch for batch in running if batch.id == batch_id), None)

    async def _is_stale(self, ticket: Ticket) -> bool:
        """Return whether a ticket's shard is over, or was claimed since the ticket was made."""
        shards = await self._repository.shards(ticket.batch_id)
        if not 0 <= ticket.shard < len(shards):
            return True
        shard = shards[ticket.shard]
        return shard.epoch != ticket.epoch or shard.status in OVER
