"""The shards that a worker has claimed, each run by a separate task, and then ended, left to others, or passed on."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Literal

from statechain.chaining.runner import BatchServices, Target
from statechain.chaining.shards.run import ShardRun
from statechain.chaining.shards.trials import ShardTrials
from statechain.chaining.transformers import as_function, stored_transformer
from statechain.errors import LeaseLost, StatechainError
from statechain.logs import BATCH
from statechain.observers import ShardEnded, ShardStarted, emit
from statechain.records.batches import Batch, BatchStatus
from statechain.records.results import BatchStopped
from statechain.storage.shards import Shard, ShardPlan
from statechain.tickets import Ticket

if TYPE_CHECKING:
    from statechain.chaining.shards.looks import Looks
    from statechain.chaining.shards.served import ServedBatches
    from statechain.chaining.source import InputTransformer

__all__ = ["RunningShards"]

logger = logging.getLogger(__name__)


class RunningShards:
    """The shards that run in one worker.

    Arguments:
        services: What a batch needs of the engine.

        worker_id: Returns the identity under which shards are claimed.

        served: Which batches may start items here, and how callers here take part in them.

        looks: Is notified where a slot is free again, or a batch was stopped.

        goes_on: Returns whether a shard that is done may be followed by another one of its batch, in one transaction.

        slots: How many shards run at once, besides those of batches that callers here take part in.
    """

    def __init__(
        self,
        services: BatchServices,
        worker_id: Callable[[], str],
        served: ServedBatches,
        looks: Looks,
        *,
        goes_on: Callable[[Batch, ShardPlan], bool],
        slots: int,
    ) -> None:
        self._services = services
        self._repository = services.repository
        self._worker_id = worker_id
        self._served = served
        self._looks = looks
        self._goes_on = goes_on
        self._slots = slots
        self._tasks: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._trials: ShardTrials | None = None
        self._claiming = asyncio.Lock()

    @contextmanager
    def open(self, group: asyncio.TaskGroup) -> Iterator[None]:
        """While inside, run what is claimed, in a group of tasks."""
        self._trials = self._trials or ShardTrials(asyncio.get_running_loop().time)
        self._group = group
        try:
            yield
        finally:
            self._group = None

    @property
    def is_open(self) -> bool:
        """Whether shards can be claimed."""
        return self._group is not None

    @property
    def has_slot(self) -> bool:
        """Whether another shard may run, of any batch."""
        return sum(self._served.part_in(id_) is None for id_, _ in self._tasks) < self._slots

    def has_room(self, batch_id: str) -> bool:
        """Return whether another shard of a batch may run."""
        return self._served.part_in(batch_id) is not None or self.has_slot

    def held(self, batch_id: str) -> list[int]:
        """Return the numbers of a batch's shards that run here."""
        return [number for id_, number in self._tasks if id_ == batch_id]

    def cancel(self) -> None:
        """Cancel all that run, and leave them to other workers."""
        for task in tuple(self._tasks.values()):
            task.cancel()

    # Claiming

    async def claim(self, batch: Batch, target: Target, ticket: Ticket | None = None) -> asyncio.Task[None] | None:
        """Claim a shard and return the task that runs it, or None where there is none to claim."""
        async with self._claiming:  # a shard that is claimed and not among `held` yet looks like one that was lost
            if not self.has_room(batch.id) or self._trials is None:
                return None
            shard = await self._repository.claim_shard(
                batch.id,
                self._worker_id(),
                running=self.held(batch.id),
                at=self._services.clock.now(),
                ticket=ticket,
                most_deaths=self._trials.most_deaths(),
            )
            return None if shard is None else await self._start(batch, shard, target)

    async def _start(self, batch: Batch, shard: Shard, target: Target) -> asyncio.Task[None] | None:
        """Return the task that runs a shard that was just claimed; None where the engine was left meanwhile."""
        if self._group is None or self._trials is None:
            await self._repository.release_shard(shard)
            return None
        task = self._group.create_task(self._run(batch, shard, target))
        self._tasks[batch.id, shard.number] = task
        self._trials.begin(shard.claims, task)
        task.add_done_callback(partial(self._forget, (batch.id, shard.number)))
        return task

    def _forget(self, key: tuple[str, int], task: asyncio.Task[None]) -> None:
        # The shard may have been claimed again here, under a later epoch.
        if self._tasks.get(key) is task:
            del self._tasks[key]
        self._looks.wake()

    # Running

    async def _run(self, batch: Batch, shard: Shard, target: Target) -> None:
        """Run a shard to its end; an error leaves it to the next claim, by this worker or another."""
        BATCH.set(batch.id)
        task = asyncio.current_task()
        if task is not None:
            self._services.running[batch.id].add(task)
        observers = self._services.observers
        emit(observers, ShardStarted(batch_id=batch.id, shard=shard.number, claims=shard.claims))
        began = time.monotonic()
        outcome: Literal["DONE", "LEFT"] = "LEFT"
        drains = partial(self._served.drains, batch.id)
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

    def _transformer_of(self, batch: Batch) -> InputTransformer | None:
        """Return what maps the sources' outputs here: what a caller that takes part has given, or what is stored."""
        part = self._served.part_in(batch.id)
        return as_function(stored_transformer(batch), self._services.tasks) if part is None else part.transformer

    async def _end(self, run: ShardRun, batch: Batch, plan: ShardPlan, target: Target) -> None:
        """End a shard; where this worker has no more than its share of the batch, claim the next in one transaction."""
        if not self._goes_on(batch, plan):
            await run.end()
            return
        async with self._claiming:  # what is claimed and not among `held` yet looks like one that was lost
            claimed = await run.pass_on()
            if claimed is not None:
                await self._start(batch, claimed, target)

    async def _leave(self, batch: Batch, shard: Shard) -> None:
        """Leave a shard of a batch that was stopped.

        In order, where the batch is over or another process resumes it with other options. Otherwise the claim counts,
        so that a shard that is stopped each time is given up.
        """
        self._looks.read_again()
        with suppress(StatechainError):
            stored = await self._repository.batch(batch.id, is_counted=False)
            if stored is None or stored.status is not BatchStatus.RUNNING or stored.options != batch.options:
                await self._repository.release_shard(shard)
