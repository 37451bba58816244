"""Stored batches: counts, rate and time left, and the items that failed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from statechain.console.queries import ExecutionQuery, command_line, number, statuses
from statechain.console.rendering import page
from statechain.console.serving import PAGE, engine_of, machine_names, require
from statechain.engine.operations import UNSUCCESSFUL
from statechain.records.batches import BatchStatus
from statechain.storage.shards import ShardStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from statechain.records.batches import Batch

__all__ = ["new", "new_batch_page", "pace_of", "show", "show_all"]

FEW = 25
"""How many batches a page has: the items of each of them are counted."""


async def show_all(request: Request) -> Response:
    """Show a page of the batches, newest first."""
    engine = engine_of(request)
    machine = request.query_params.get("machine") or None
    status = request.query_params.get("status")
    wanted = BatchStatus(status) if status in list(BatchStatus) else None
    last = request.query_params.get("after")
    after = None if not last else await engine.get_batch(last)
    found = await engine.repository.batches(state_machine_id=machine, status=wanted, after=after, page=FEW + 1)
    context = {
        "batches": found[:FEW],
        "next": found[FEW - 1].id if len(found) > FEW else None,
        "names": await machine_names(engine),
        "machine": machine or "",
        "status": wanted or "",
        "statuses": list(BatchStatus),
    }
    return await page(request, "batches.html", context)


async def show(request: Request) -> Response:
    """Show a batch: how far it has come, and what failed of it."""
    engine = engine_of(request)
    batch = await engine.get_batch(request.path_params["id"])
    kind = request.query_params.get("items", "failed")
    after = number(request.query_params.get("after"), -1)
    wanted = None if kind == "all" else UNSUCCESSFUL
    results = await engine.list_batch_results(batch.id, status=wanted, after=after, limit=PAGE + 1)
    rate, left = pace_of(batch, datetime.now(UTC))
    shards = await engine.repository.shards(batch.id)
    context = {
        "batch": batch,
        "names": await machine_names(engine),
        "results": results[:PAGE],
        "next": results[PAGE - 1].index if len(results) > PAGE else None,
        "after": after,
        "kind": kind,
        "shards": {status: sum(each.status is status for each in shards) for status in ShardStatus} if shards else {},
        "running_shards": [each for each in shards if each.status is ShardStatus.RUNNING][:PAGE],
        "rate": rate,
        "left": left,
        "command": command_line("batches", "show", batch.id),
    }
    return await page(request, "batch.html", context)


def pace_of(batch: Batch, now: datetime) -> tuple[float | None, float | None]:
    """Return how many items of a running batch ended in a second, and how many seconds are left at that rate."""
    counts = batch.item_counts
    ended = counts.succeeded + counts.failed + counts.timed_out + counts.aborted
    seconds = ((batch.end_time or now) - batch.start_time).total_seconds()
    if not ended or seconds <= 0:
        return None, None
    rate = ended / seconds
    return rate, None if batch.end_time is not None else (counts.total - ended) / rate


async def new(request: Request) -> Response:
    """Show the form that starts a batch, filled from the URL."""
    require(request, "start_batch")
    return await new_batch_page(request, ExecutionQuery.of(request.query_params), dict(request.query_params))


async def new_batch_page(
    request: Request,
    query: ExecutionQuery,
    values: Mapping[str, str],
    *,
    count: int | None = None,
    problem: str | None = None,
) -> Response:
    """Return the form of a new batch; ``count`` is the answer of a dry run."""
    names = await machine_names(engine_of(request))
    context = {"query": query, "names": names, "statuses": statuses(), "count": count, "form": values,
               "problem": problem}  # fmt: skip
    status = 200 if problem is None else 400
    return await page(request, "batch_new.html", context, status=status, has_payloads=True)
