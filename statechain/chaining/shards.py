"""A worker's shards of DISTRIBUTED batches: claimed from storage, or on a ticket, and run (see `shard_run`).

A worker looks for shards four times a second, and at once when one of its shards ends or a batch is started here. It
takes no more than its share of a batch at a time, so that other workers find some; where it has had its share for a
second, and the batch has room, it takes what is left. A batch in any mode is run in shards where callers resume it, by
their processes only (`ShardWorker.joined`).

With a dispatcher the look, or *sweep*, sends tickets instead, and claims what the dispatcher did not deliver. Tickets
that arrive are claimed by `ShardWorker.run_ticket`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, Literal

import attrs

from statechain.chaining.options import DISTRIBUTED
from statechain.chaining.runner import BatchServices, Target
from statechain.chaining.sending import TicketSender
from statechain.chaining.shard_run import ShardRun
from statechain.chaining.shard_trials import ShardTrials
from statechain.chaining.transformers import as_function, stored_transformer
from statechain.errors import LeaseLost, StatechainError
from statechain.logs import BATCH
from statechain.observers import ShardEnded, ShardStarted, emit
from statechain.records.batches import Batch, BatchStatus
from statechain.records.results import BatchStopped
from statechain.storage.retrying import backoff_delays
from statechain.storage.shards import OVER, Shard, ShardPlan
from statechain.tickets import Dispatcher, Outcome, Ticket

if TYPE_CHECKING:
    from statechain.chaining.source import InputTransformer

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


@attrs.frozen(eq=False)
class _Part:
    """That a caller here takes part in a batch: with this machine, and this transformer."""

    target: Target
    transformer: InputTransformer | None


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
        self._services = services
        self._repository = services.repository
        self._worker_id = worker_id
        self._has_lease = has_lease
        self._find_target = find_target
        self._slots = slots
        self._serves_all = serves_all
        self._dispatcher = dispatcher
        self._sender = None if dispatcher is None else TicketSender(dispatcher, sweep)
        self._group: asyncio.TaskGroup | None = None
        self._claiming = asyncio.Lock()
        self._running: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._trials: ShardTrials | None = None
        self._started_here: dict[str, object] = {}
        self._awaited: Counter[str] = Counter()
        self._has_share_since: dict[str, float] = {}
        self._parts: defaultdict[str, list[_Part]] = defaultdict(list)
        self._changed = asyncio.Event()
        self._due_at = float("-inf")
        self._known: tuple[Sequence[Batch], int] = ((), 1)
        self._is_outdated = True
        self._is_draining = False
        self._looking: asyncio.Task[None] | None = None
        self._revived: asyncio.Task[None] | None = None

    @contextmanager
    def joined(self, batch_id: str, target: Target, transformer: InputTransformer | None) -> Iterator[None]:
        """Run a batch's shards here, in any mode and beyond the slots, as its caller does who takes part in it."""
        part = _Part(target, transformer)
        self._parts[batch_id].append(part)
        try:
            yield
        finally:
            self._is_outdated = True
            self._parts[batch_id].remove(part)
            if not self._parts[batch_id]:
                del self._parts[batch_id]

    # What the engine and its callers say

    async def begin(self, batch_id: str) -> None:
        """Send the first tickets of a batch that was started here, and look for shards at once.

        What keeps the tickets from being sent is logged: the batch is stored, and the workers' sweeps find it.
        """
        if not self._serves_all:
            self._started_here[batch_id] = object()
        if self._sender is not None:
            try:
                tickets = await self._repository.open_tickets(batch_id, self._worker_id(), running=())
                await self._sender.send(batch_id, tickets)
            except StatechainError as error:
                logger.warning("no tickets of the batch %s could be sent: %s", batch_id, error)
        self._read_again()

    def look(self) -> None:
        """Look for shards at once: another worker's may have become claimable."""
        self._read_again()

    @contextmanager
    def awaiting(self, batch_id: str) -> Iterator[None]:
        """Run a batch's shards also while the engine is being left: a caller here waits for its end."""
        self._awaited[batch_id] += 1
        try:
            yield
        finally:
            self._awaited[batch_id] -= 1
            if self._awaited[batch_id] <= 0:
                del self._awaited[batch_id]
            self._read_again()

    def revive(self, group: asyncio.TaskGroup) -> None:
        """Run again, in a group of tasks, where that has ended since the engine is being left."""
        is_reviving = self._revived is not None and not self._revived.done()
        if self._is_draining and self._group is None and not is_reviving:
            self._revived = group.create_task(self.run(), name="statechain shards")

    def drain(self) -> None:
        """Claim nothing more, and start no more items, but of batches that a caller here awaits."""
        self._is_draining = True
        self._read_again()

    def interrupt(self) -> None:
        """Cancel what runs, and leave it to other workers."""
        self._is_draining = True
        self._awaited.clear()
        self._read_again()
        # Storage may not answer; a shard that was claimed all the same is another worker's later.
        if self._looking is not None:
            self._looking.cancel()
        for task in tuple(self._running.values()):
            task.cancel()

    def _read_again(self) -> None:
        """Look at once, and for other batches than at the look before, too."""
        self._is_outdated = True
        self._changed.set()

    def _serves(self, batch_id: str) -> bool:
        """Return whether this worker claims shards of a batch by itself."""
        is_served = self._serves_all or batch_id in self._started_here or batch_id in self._parts
        return is_served and not self._drains(batch_id)

    def _drains(self, batch_id: str) -> bool:
        return self._is_draining and self._awaited[batch_id] <= 0

    # Claiming

    async def run(self) -> None:
        """Claim and run shards until drained."""
        self._trials = self._trials or ShardTrials(asyncio.get_running_loop().time)
        async with asyncio.TaskGroup() as group:
            self._group = group
            serving = group.create_task(self._serve(), name="statechain tickets")
            try:
                while not self._is_draining or any(count > 0 for count in self._awaited.values()):
                    look = self._try_look(is_due=self._is_due())
                    self._looking = group.create_task(look, name="statechain shards, a look")
                    await asyncio.wait([self._looking])
                    await self._wait_for_change()
            finally:
                self._group = None
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

    def _is_due(self) -> bool:
        """Return whether a look is due, however many changes there were meanwhile; the next one is due later."""
        now = asyncio.get_running_loop().time()
        if now < self._due_at:
            return False
        sender = self._sender
        seconds = LOOK_SECONDS if sender is None or sender.is_away or self._is_draining else sender.interval
        self._due_at = now + seconds
        return True

    async def _wait_for_change(self) -> None:
        """Return at the next change, at the latest when the next look is due."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._due_at):
                await self._changed.wait()
        self._changed.clear()

    async def _try_look(self, *, is_due: bool) -> None:
        try:
            await self._look(is_due=is_due)
        except StatechainError as error:
            logger.warning("shards could not be claimed, trying again: %s", error)

    async def _look(self, *, is_due: bool) -> None:
        sender = None if self._is_draining else self._sender
        if not self._has_lease() or (sender is None and not self._has_slot and not self._parts):
            return
        running, alive = await self._batches(is_due=is_due)
        ids = {batch.id for batch in running}
        self._has_share_since = {id_: since for id_, since in self._has_share_since.items() if id_ in ids}
        for batch in running:
            if self._serves(batch.id) and (target := await self._target_of(batch)) is not None:
                if sender is None or not _is_distributed(batch) or batch.id in self._parts:
                    await self._claim_share(batch, target, alive, is_due=is_due)
                else:
                    await self._send(sender, batch, target)
        if sender is not None:
            sender.keep(ids)

    async def _batches(self, *, is_due: bool) -> tuple[Sequence[Batch], int]:
        """Return the batches that run, and how many workers there are; after a shard's end, as they were before."""
        if is_due or self._is_outdated:
            self._is_outdated = False  # what changes while storage is asked is read at the next look
            started = dict(self._started_here)
            try:
                running = await self._repository.running_batches(None if self._parts else DISTRIBUTED)
                leases = await self._repository.workers() if running else ()
            except BaseException:
                self._is_outdated = True
                raise
            for batch_id in started.keys() - {batch.id for batch in running}:
                # It has ended, unless it was begun again since storage was asked.
                if self._started_here.get(batch_id) is started[batch_id]:
                    del self._started_here[batch_id]
            self._known = running, max(1, sum(not lease.is_over for lease in leases))
        return self._known

    async def _target_of(self, batch: Batch) -> Target | None:
        """Return the machine that a batch runs, where it is run here."""
        if parts := self._parts.get(batch.id):
            # The last caller's: all of them resumed the same batch.
            return parts[-1].target
        return await self._find_target(batch) if _is_distributed(batch) else None

    def _transformer_of(self, batch: Batch) -> InputTransformer | None:
        """Return what maps the sources' outputs here: what a caller that takes part has given, or what is stored."""
        if parts := self._parts.get(batch.id):
            return parts[-1].transformer
        return as_function(stored_transformer(batch), self._services.tasks)

    @property
    def _has_slot(self) -> bool:
        return sum(id_ not in self._parts for id_, _ in self._running) < self._slots

    def _has_room(self, batch_id: str) -> bool:
        return batch_id in self._parts or self._has_slot

    def _held(self, batch_id: str) -> list[int]:
        return [number for id_, number in self._running if id_ == batch_id]

    async def _claim_share(self, batch: Batch, target: Target, alive: int, *, is_due: bool) -> None:
        """Claim as many shards as are this worker's share; what is left, too, where it has had that for a while.

        After a shard that ends between due looks no more than the share is claimed, so that other workers find some.
        """
        plan = ShardPlan.of(batch.options)
        share = ceil(plan.width / alive)
        now = asyncio.get_running_loop().time()
        had_share = now - self._has_share_since.get(batch.id, now) >= SHARE_SECONDS
        most = plan.width if is_due and had_share else share
        while not self._is_outdated:  # else the batch may have ended, or have other options: the next look reads it
            held = len(self._held(batch.id))
            if is_due and held >= share:
                self._has_share_since.setdefault(batch.id, now)
            if held >= most or not self._has_room(batch.id):
                return
            if held >= share and not await self._open_tickets(batch):
                # A claim, in vain, would lock the batch and keep others waiting that have less.
                self._has_share_since[batch.id] = now
                return
            if await self._claim(batch, target) is None:
                # Nothing is left of it, and what this worker has is less than its share.
                if held < share:
                    self._has_share_since.pop(batch.id, None)
                return

    async def _open_tickets(self, batch: Batch) -> Sequence[Ticket]:
        return await self._repository.open_tickets(batch.id, self._worker_id(), running=self._held(batch.id))

    async def _send(self, sender: TicketSender, batch: Batch, target: Target) -> None:
        """Send the tickets of a batch, and claim what they did not lead to."""
        tickets = await self._open_tickets(batch)
        for ticket in await sender.send(batch.id, tickets):
            if not self._has_slot:
                return
            await self._claim(batch, target, ticket)
        if not tickets and self._has_slot:  # a claim ends a batch of which nothing is open
            await self._claim(batch, target)

    async def _claim(self, batch: Batch, target: Target, ticket: Ticket | None = None) -> asyncio.Task[None] | None:
        """Claim a shard and return the task that runs it, or None where there is none to claim."""
        async with self._claiming:  # a shard that is claimed and not among `held` yet looks like one that was lost
            if not self._has_room(batch.id) or self._trials is None:
                return None
            shard = await self._repository.claim_shard(
                batch.id,
                self._worker_id(),
                running=self._held(batch.id),
                at=self._services.clock.now(),
                ticket=ticket,
                most_deaths=self._trials.most_deaths(),
            )
            return None if shard is None else await self._begin(batch, shard, target)

    async def _begin(self, batch: Batch, shard: Shard, target: Target) -> asyncio.Task[None] | None:
        """Return the task that runs a shard that was just claimed; None where the engine was left meanwhile."""
        if self._group is None or self._trials is None:
            await self._repository.release_shard(shard)
            return None
        task = self._group.create_task(self._run_shard(batch, shard, target))
        self._running[batch.id, shard.number] = task
        self._trials.begin(shard.claims, task)
        task.add_done_callback(partial(self._forget, (batch.id, shard.number)))
        return task

    # Tickets

    async def run_ticket(self, ticket: Ticket) -> Outcome:
        """Run the shard that a ticket names, to its end; cancelling this does not touch the shard.

        Raises StatechainError where this engine runs no shards: it is not open, or no worker.
        """
        if self._group is None:
            raise StatechainError("tickets are run by an engine that is open, with role='worker'")
        if not self._has_slot or not self._has_lease() or self._drains(ticket.batch_id):
            return Outcome.BUSY
        batch = await self._running_batch(ticket.batch_id)
        if batch is None:
            return Outcome.DONE
        target = await self._target_of(batch)
        if target is None:
            return Outcome.BUSY
        task = await self._claim(batch, target, ticket)
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

    def _forget(self, key: tuple[str, int], task: asyncio.Task[None]) -> None:
        # The shard may have been claimed again here, under a later epoch.
        if self._running.get(key) is task:
            del self._running[key]
        self._changed.set()

    # Running

    async def _run_shard(self, batch: Batch, shard: Shard, target: Target) -> None:
        """Run a shard to its end; an error leaves it to the next claim, by this worker or another."""
        BATCH.set(batch.id)
        task = asyncio.current_task()
        if task is not None:
            self._services.running[batch.id].add(task)
        observers = self._services.observers
        emit(observers, ShardStarted(batch_id=batch.id, shard=shard.number, claims=shard.claims))
        began = time.monotonic()
        outcome: Literal["DONE", "LEFT"] = "LEFT"
        drains = partial(self._drains, batch.id)
        plan = ShardPlan.of(batch.options)
        try:
            transformer = self._transformer_of(batch)
            run = ShardRun(self._services, batch, plan, shard, target, transformer, drains)
            if await run.run():
                await self._end(run, batch, plan, target)
                outcome = "DONE"
        except BatchStopped:
            logger.info("shard %s of the batch %s is stopped", shard.number, batch.name_prefix)
            await self._leave(batch, shard)
        except LeaseLost as lost:
            logger.info("%s", lost)
        except StatechainError as error:
            logger.warning("shard %s of the batch %s could not go on: %s", shard.number, batch.name_prefix, error)
        except Exception:
            logger.exception("shard %s of the batch %s met an internal error", shard.number, batch.name_prefix)
        finally:
            seconds = time.monotonic() - began
            emit(observers, ShardEnded(batch_id=batch.id, shard=shard.number, outcome=outcome, seconds=seconds))
            if task is not None:
                self._services.running[batch.id].discard(task)
            if not self._services.running[batch.id]:
                del self._services.running[batch.id]

    async def _end(self, run: ShardRun, batch: Batch, plan: ShardPlan, target: Target) -> None:
        """End a shard; where this worker has no more than its share of the batch, claim the next in one transaction."""
        if not self._goes_on(batch, plan):
            await run.end()
            return
        async with self._claiming:  # what is claimed and not among `held` yet looks like one that was lost
            claimed = await run.pass_on()
            if claimed is not None:
                await self._begin(batch, claimed, target)

    def _goes_on(self, batch: Batch, plan: ShardPlan) -> bool:
        """Return whether a shard of a batch is followed by another one here: it may, and needs no ticket."""
        running, alive = self._known
        is_sent = self._sender is not None and not self._is_draining and batch.id not in self._parts
        return (
            not is_sent
            and self._serves(batch.id)
            and self._has_lease()
            # Resumed with other options, its next shard is claimed by a look, which reads them.
            and any(each.id == batch.id and each.options == batch.options for each in running)
            and len(self._held(batch.id)) <= ceil(plan.width / alive)
        )

    async def _leave(self, batch: Batch, shard: Shard) -> None:
        """Leave a shard of a batch that was stopped.

        In order, where the batch is over or another process resumes it with other options. Otherwise the claim counts,
        so that a shard that is stopped each time is given up.
        """
        self._read_again()
        with suppress(StatechainError):
            stored = await self._repository.batch(batch.id, is_counted=False)
            if stored is None or stored.status is not BatchStatus.RUNNING or stored.options != batch.options:
                await self._repository.release_shard(shard)


def _is_distributed(batch: Batch) -> bool:
    return batch.options.get("mode") == DISTRIBUTED
