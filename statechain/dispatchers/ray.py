"""A dispatcher over Ray: detached actors, each with a separate engine, run the tickets on many machines.

An actor is made again by Ray when its process dies, and a call that was lost is not repeated (``max_task_retries=0``):
the death is reported to storage, and the sweeps of the actors' engines send what is open.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from statechain.dispatchers.opening import OpenedOnUse
from statechain.errors import StatechainError
from statechain.storage.retrying import backoff_delays
from statechain.tickets import Ticket, Work

try:
    import ray
    from ray.exceptions import RayActorError, RayError
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "the Ray dispatcher needs an extra: pip install 'statechain[ray]'", name=error.name
    ) from error

if TYPE_CHECKING:
    from statechain.engine.engine import Engine

__all__ = ["EngineActor", "RayDispatcher"]

logger = logging.getLogger(__name__)

NAMESPACE = "statechain"
OPEN_AGAIN_SECONDS = (0.5, 30.0)
"""The first and the longest pause before an actor tries again to open its engine."""


class EngineActor:
    """An actor: one worker's engine, open from the actor's creation on.

    An actor that Ray makes again has its engine look for shards at once: no dispatcher may be left to send tickets.

    Arguments:
        factory: ``"module:function"``; the function takes nothing and returns an `Engine` that is not open yet.
    """

    async def __init__(self, factory: str) -> None:  # type: ignore[misc]  # Ray awaits it, in the actor's event loop
        self._engine = OpenedOnUse(partial(_make_engine, factory))
        self._opening = asyncio.create_task(self._keep_trying(), name="statechain engine")

    async def _keep_trying(self) -> None:
        """Open the engine, however long its storage is away: an error in the creation would end the actor."""
        for delay in backoff_delays(*OPEN_AGAIN_SECONDS):
            try:
                await self._engine.get()
            except Exception as error:  # noqa: BLE001 -- the factory is the user's; the next ticket raises it, too
                logger.warning("the engine of an actor could not be opened, trying again: %s", type(error).__name__)
                await asyncio.sleep(delay)
            else:
                return

    async def open(self) -> str:
        """Open the engine where it is not open yet; return its worker's id."""
        return (await self._engine.get()).worker.id

    async def run(self, ticket: dict[str, Any]) -> str:
        """Run a ticket; return the name of its outcome."""
        return (await (await self._engine.get()).run_ticket(Ticket.from_json(ticket))).value

    async def close(self) -> None:
        """Leave the engine: what runs is awaited."""
        self._opening.cancel()
        await self._engine.close()


def _make_engine(factory: str) -> Engine:
    module, _, name = factory.partition(":")
    make: Callable[[], Engine] = getattr(import_module(module), name)
    return make()


class RayDispatcher:
    """Hands tickets to actors of a Ray cluster, to which the process is connected (`ray.init`).

    The actors are detached and have the names ``statechain-0``, ``statechain-1`` and so on; they go on when this
    process ends, and another dispatcher with the same name finds them. Tickets that find no free slot are not accepted
    beyond ``actors`` × ``slots``: the next sweep sends them.

    Arguments:
        factory: ``"module:function"``, importable on every machine: it returns an `Engine` with the handlers.

        actors: How many there are.

        slots: How many tickets an actor runs at once; not above the ``slots`` of its engine.

        name: What the actors' names begin with.

        options: More options of the actors, such as ``num_cpus``, ``num_gpus`` or ``runtime_env``.

    Attributes:
        report_death: Awaited with the worker's id when an actor dies: set it to `Engine.report_death`, so that others
            take over at once instead of when the lease is over.
    """

    def __init__(
        self,
        factory: str,
        *,
        actors: int = 1,
        slots: int = 8,
        name: str = "statechain",
        **options: Any,  # noqa: ANN401
    ) -> None:
        self._factory, self._count, self._slots, self._name, self._options = factory, actors, slots, name, options
        self._finding = asyncio.Lock()
        self._actors: list[Any] = []
        self._worker_ids: dict[int, str] = {}
        self._outstanding: dict[int, set[asyncio.Task[None]]] = {}
        self.report_death: Callable[[str], Awaitable[None]] | None = None

    def __repr__(self) -> str:
        return f"<RayDispatcher, {self._count} actors {self._name}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop waiting for the actors, which go on."""
        tasks = [task for tasks in self._outstanding.values() for task in tasks]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _find_actors(self) -> list[Any]:
        """Return the actors, made where they do not exist; it blocks."""
        kind = ray.remote(EngineActor)
        return [
            kind.options(
                name=f"{self._name}-{number}",
                namespace=NAMESPACE,
                lifetime="detached",
                get_if_exists=True,
                # Made again without end; what was running is not repeated, since storage hands it out.
                max_restarts=-1,
                max_task_retries=0,
                # Room beside the runs: an actor that is full still answers `open` and `close`.
                max_concurrency=self._slots + 2,
                **self._options,
            ).remote(self._factory)
            for number in range(self._count)
        ]

    async def dispatch(self, tickets: Sequence[Ticket]) -> None:
        """Submit each ticket to the actor with the fewest outstanding; what finds no slot is left to the sweep."""
        async with self._finding:  # found once: what another call has submitted is not to be forgotten
            if not self._actors:
                self._actors = await asyncio.to_thread(self._find_actors)
                self._outstanding = {number: set() for number in range(len(self._actors))}
        for ticket in tickets:
            number = min(self._outstanding, key=lambda each: len(self._outstanding[each]))
            # The one with the fewest is full, so that all are: the next sweep sends what is left.
            if len(self._outstanding[number]) >= self._slots:
                return
            task = asyncio.create_task(self._submit(number, ticket), name="statechain ticket")
            self._outstanding[number].add(task)
            task.add_done_callback(self._outstanding[number].discard)

    async def _submit(self, number: int, ticket: Ticket) -> None:
        """Await a ticket's run; a lost one is sent again by the sweep of an engine."""
        actor = self._actors[number]
        try:
            if number not in self._worker_ids:
                self._worker_ids[number] = await actor.open.remote()
            await actor.run.remote(ticket.to_json())
        except RayActorError as error:
            # Reported once, although all tickets of the actor fail; its next process has another worker's id.
            worker_id = self._worker_ids.pop(number, None)
            logger.warning("actor %s-%s died: %s", self._name, number, type(error).__name__)
            if worker_id is not None:
                await self._report(worker_id)
        except RayError as error:
            logger.warning("shard %s of %s: %s", ticket.shard, ticket.batch_id, type(error).__name__)

    async def _report(self, worker_id: str) -> None:
        """Report a death; where that fails, others take over once the lease is over."""
        if self.report_death is not None:
            try:
                await self.report_death(worker_id)
            except Exception as error:  # noqa: BLE001 -- it is the user's, and nothing awaits this task
                reason = error if isinstance(error, StatechainError) else type(error).__name__
                logger.warning("the death of the worker %s could not be reported: %s", worker_id, reason)

    async def serve(self, work: Work, *, slots: int) -> None:
        """Return at once: the actors call `Engine.run_ticket`."""

    async def depth(self) -> None:
        """Return None: Ray's queues are its own."""
