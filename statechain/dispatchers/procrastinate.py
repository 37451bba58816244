"""A dispatcher over procrastinate, a job queue in PostgreSQL: tickets are jobs, and no new server is needed.

A job's queueing lock is the ticket's key, so that a ticket that waits is not queued twice. Nothing depends on a job's
end, which procrastinate does not fence: a job is deleted in any case, and the sweep sends again what is open.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qsl, urlencode

from statechain.cancellation import wait_ignoring_cancellation
from statechain.dispatchers.opening import OpenedOnUse
from statechain.tickets import Ticket, Work

try:
    from procrastinate import App, PsycopgConnector
    from procrastinate.exceptions import AlreadyEnqueued, ConnectorException
    from procrastinate.jobs import Status
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "the procrastinate dispatcher needs an extra: pip install 'statechain[procrastinate]'", name=error.name
    ) from error

if TYPE_CHECKING:
    from procrastinate.tasks import Task

__all__ = ["ProcrastinateDispatcher"]

logger = logging.getLogger(__name__)

QUEUE = "statechain"
TASK = "statechain.run_ticket"
CLEAN_SECONDS = 30.0
"""Seconds between two looks for jobs whose worker has died."""

POOL = 4
OURS = frozenset(
    {"pool_size", "command_timeout", "connect_timeout", "lock_timeout", "idle_in_transaction_session_timeout"}
    | {"pool_mode", "statement_cache_size"}
)
"""Options of a storage URL that are not the driver's."""

_HAS_SCHEMA = "SELECT to_regclass('procrastinate_jobs') IS NOT NULL AS found"
_DEPTH = "SELECT count(*) AS waiting FROM procrastinate_jobs WHERE queue_name = %(queue)s AND status = 'todo'"


class ProcrastinateDispatcher:
    """Carries tickets as procrastinate's jobs, in the queue ``statechain`` unless another is named.

    An asynchronous context manager, which its engine enters. It connects when it is first used, and then creates
    procrastinate's tables where there are none.

    Arguments:
        url: The URL of a PostgreSQL database: that of the storage, or another. The connection must be a direct one,
            past any pooler in transaction mode, since procrastinate listens for notifications.

        queue: The queue, so that other jobs of the same database are left alone.

    Raises:
        ValueError: The URL is not one of PostgreSQL.
    """

    def __init__(self, url: str, *, queue: str = QUEUE) -> None:
        self._queue = queue
        # No connection before the first use: the server may be away when the engine opens.
        self._connector = PsycopgConnector(conninfo=_conninfo(url), min_size=0, max_size=POOL)
        self._app = App(connector=self._connector)
        self._work: Work | None = None
        self._task: Task[Any, Any, Any] = self._app.task(name=TASK, queue=queue)(self._run)
        self._opened_app = OpenedOnUse(self._open_app)

    def __repr__(self) -> str:
        return f"<ProcrastinateDispatcher, queue {self._queue}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections."""
        await self._opened_app.close()

    @asynccontextmanager
    async def _open_app(self) -> AsyncIterator[App]:
        """Connect; create procrastinate's tables where there are none."""
        async with self._app.open_async():
            if not await self._has_schema():
                await self._create_schema()
            yield self._app

    async def _has_schema(self) -> bool:
        return bool((await self._connector.execute_query_one_async(_HAS_SCHEMA))["found"])

    async def _create_schema(self) -> None:
        """Create procrastinate's tables; another process may do so at the same time."""
        try:
            await self._app.schema_manager.apply_schema_async()
        except ConnectorException:
            if not await self._has_schema():
                raise

    async def dispatch(self, tickets: Sequence[Ticket]) -> None:
        """Queue tickets; one that waits already is not queued again."""
        await self._opened_app.get()
        for ticket in tickets:
            with suppress(AlreadyEnqueued):
                # One by one: procrastinate's batch is refused as a whole where one of its locks is taken.
                await self._task.configure(queueing_lock=ticket.key).defer_async(**ticket.to_json())

    async def serve(self, work: Work, *, slots: int) -> None:
        """Run jobs, at most ``slots`` at once, until cancelled; then wait for those that run."""
        app = await self._opened_app.get()
        self._work = work
        cleaning = asyncio.create_task(self._clean())
        try:
            await app.run_worker_async(
                queues=[self._queue],
                name="statechain",
                concurrency=slots,
                delete_jobs="successful",
                # Signals are the process's, which has an engine to leave in order.
                install_signal_handlers=False,
            )
        finally:
            cleaning.cancel()
            await wait_ignoring_cancellation(cleaning)

    async def _run(self, batch_id: str, shard: int, epoch: int) -> None:
        """Run a job: it succeeds in any case, and is deleted; what it did not do the sweep sends again."""
        if self._work is None:
            return
        try:
            await self._work(Ticket(batch_id, shard, epoch))
        except Exception as error:  # noqa: BLE001 -- a failed job would be kept for nothing
            logger.warning("shard %s of the batch %s: %s", shard, batch_id, error)

    async def _clean(self) -> None:
        """Delete the jobs of workers that have died: nothing else ends them."""
        while True:
            try:
                for job in await self._app.job_manager.get_stalled_jobs(queue=self._queue, task_name=TASK):
                    # Deleted, not retried: the ticket's epoch may be over, and the sweep knows what is open.
                    await self._app.job_manager.finish_job(job, Status.FAILED, delete_job=True)
            except ConnectorException as error:
                logger.info("stalled jobs could not be deleted: %s", type(error).__name__)
            await asyncio.sleep(CLEAN_SECONDS)

    async def depth(self) -> int:
        """Return how many jobs wait: those of the queue with the status ``todo``."""
        await self._opened_app.get()
        row = await self._connector.execute_query_one_async(_DEPTH, queue=self._queue)
        return int(row["waiting"])


def _conninfo(url: str) -> str:
    """Return what libpq is given for a storage URL; no message repeats the URL, which may hold a password."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in {"postgres", "postgresql", "postgresql+asyncpg"}:
        raise ValueError("procrastinate needs PostgreSQL: a URL as postgresql://user@host:port/database")
    address, _, query = rest.partition("?")
    options = [(name, value) for name, value in parse_qsl(query, keep_blank_values=True) if name not in OURS]
    return f"postgresql://{address}" + (f"?{urlencode(options)}" if options else "")
