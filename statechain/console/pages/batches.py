"""Stored batches: counts, rate and time left, shards, and the items that failed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from statechain.console.queries import ExecutionQuery, command_line, number, statuses
from statechain.console.rendering import page
from statechain.console.serving import PAGE, engine_of, machine_names, require
from statechain.engine.operations import UNSUCCESSFUL
from statechain.errors import BatchNotFound
from statechain.records.batches import BatchStatus
from statechain.storage.shards import ShardStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from statechain.engine.engine import Engine
    from statechain.records.batches import Batch

__all__ = ["counted", "counts", "new", "new_batch_page", "pace_of", "show", "show_all"]

FEW = 25
"""How many batches a page has."""

COUNTED = 20_000
"""How many items are counted for a page: counting takes a few milliseconds for each thousand."""

LOOKED_AT = 20_000
"""How many items a request looks through for those that failed."""

PACE = 10_000
"""Of how many items a second's worth is counted again: a batch of a million renews its counts every 100 s."""


async def counted(engine: Engine, found: Sequence[Batch]) -> list[tuple[Batch, bool]]:
    """Return batches, and for each whether its items were counted: those of large ones are not."""
    room, result = COUNTED, []
    for batch in found:
        # One room for all batches of a page: many small ones take as long as a large one.
        is_counted = batch.item_counts.total <= room
        if is_counted:
            room -= batch.item_counts.total
            batch = await engine.repository.batch(batch.id) or batch  # noqa: PLW2901 -- the same one, counted
        result.append((batch, is_counted))
    return result


async def show_all(request: Request) -> Response:
    """Show a page of the batches, newest first."""
    engine = engine_of(request)
    machine = request.query_params.get("machine") or None
    status = request.query_params.get("status")
    wanted = BatchStatus(status) if status in list(BatchStatus) else None
    last = request.query_params.get("after")
    after = None if not last else await _batch(engine, last)
    found = await engine.repository.batches(
        state_machine_id=machine, status=wanted, after=after, page=FEW + 1, is_counted=False
    )
    context = {
        "batches": await counted(engine, found[:FEW]),
        "next": found[FEW - 1].id if len(found) > FEW else None,
        "names": await machine_names(engine),
        "machine": machine or "",
        "status": wanted or "",
        "statuses": list(BatchStatus),
        "command": command_line("batches", "list", *(["--state-machine", machine] if machine else [])),
    }
    return await page(request, "batches.html", context)


async def _batch(engine: Engine, id_: str) -> Batch:
    """Return a batch without counting its items. Raises BatchNotFound."""
    batch = await engine.repository.batch(id_, is_counted=False)
    if batch is None:
        raise BatchNotFound("There is no such batch.")
    return batch


async def show(request: Request) -> Response:
    """Show a batch: how far it has come, and what failed of it; the items of a large one are counted apart."""
    engine = engine_of(request)
    ((batch, is_counted),) = await counted(engine, [await _batch(engine, request.path_params["id"])])
    kind = request.query_params.get("items", "failed")
    after = number(request.query_params.get("after"), -1)
    wanted, until = (None, None) if kind == "all" else (UNSUCCESSFUL, after + LOOKED_AT)
    results = await engine.list_batch_results(batch.id, status=wanted, after=after, until=until, limit=PAGE + 1)
    is_more = until is not None and until < batch.item_counts.total - 1 and len(results) <= PAGE
    shards = await engine.repository.shards(batch.id)
    context = {
        **_counts_of(batch),
        "is_counted": is_counted,
        "ended": sum(each.ended for each in shards),
        "failed": sum(each.failed for each in shards),
        "names": await machine_names(engine),
        "results": results[:PAGE],
        "next": results[PAGE - 1].index if len(results) > PAGE else until if is_more else None,
        "looked_at": until if is_more else None,
        "after": after,
        "kind": kind,
        "shards": {status: sum(each.status is status for each in shards) for status in ShardStatus} if shards else {},
        "running_shards": [each for each in shards if each.status is ShardStatus.RUNNING][:PAGE],
        "command": command_line("batches", "show", batch.id),
    }
    return await page(request, "batch.html", context)


async def counts(request: Request) -> Response:
    """Show the counts of a batch alone, which a large one's page asks for when it is there."""
    engine = engine_of(request)
    batch = await engine.get_batch(request.path_params["id"])
    return await page(request, "batch_counts.html", _counts_of(batch))


def _counts_of(batch: Batch) -> dict[str, object]:
    rate, left = pace_of(batch, datetime.now(UTC))
    return {"batch": batch, "rate": rate, "left": left, "pace": max(2, batch.item_counts.total // PACE)}


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
