"""The overview: machines with their counts, what runs longest, batches, workers, suspects, and the queue."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from statechain.console.pages.batches import counted
from statechain.console.pages.statistics import activity_of
from statechain.console.queries import WINDOWS, window_of
from statechain.console.rendering import page
from statechain.console.serving import engine_of
from statechain.records.executions import ExecutionStatus
from statechain.records.filters import ExecutionFilter

if TYPE_CHECKING:
    from statechain.engine.engine import Engine
    from statechain.records.executions import StateMachineRecord
    from statechain.reports import Activity

__all__ = ["show"]

MOST_MACHINES = 50
FEW = 5
AT_ONCE = 4


async def show(request: Request) -> Response:
    """Show the overview."""
    engine = engine_of(request)
    window = window_of(request.query_params.get("window"))
    records = await engine.repository.state_machines()
    shown = records[:MOST_MACHINES]
    room = asyncio.Semaphore(AT_ONCE)

    async def read(record: StateMachineRecord) -> Activity:
        async with room:
            return (await activity_of(engine, window, state_machine_id=record.id))[0]

    async with asyncio.TaskGroup() as group:
        activities = [group.create_task(read(record)) for record in shown]
        longest = group.create_task(_longest(engine))
        batches = group.create_task(_batches(engine))
        suspects = group.create_task(engine.list_suspects(limit=FEW))
        workers = group.create_task(_workers(engine))
        queued = group.create_task(engine.repository.count_unowned())
        waits = group.create_task(engine.list_waiting_tasks(limit=FEW))
    machines = [(record, task.result()) for record, task in zip(shown, activities, strict=True)]
    context = {
        "window": window,
        "windows": list(WINDOWS),
        "machines": machines,
        "more_machines": len(records) - len(shown),
        "totals": {status: sum(each.counts[status] for _, each in machines) for status in ExecutionStatus},
        "longest": longest.result(),
        "batches": batches.result(),
        "suspects": suspects.result(),
        "workers": workers.result(),
        "waits": waits.result(),
        "queued": queued.result(),
        "names": {record.id: record.name for record in records},
    }
    return await page(request, "overview.html", context)


async def _longest(engine: Engine) -> object:
    running = ExecutionFilter(status=ExecutionStatus.RUNNING, order="oldest_first")
    return await engine.page_executions(running, size=FEW)


async def _batches(engine: Engine) -> object:
    return await counted(engine, await engine.repository.batches(page=FEW, is_counted=False))


async def _workers(engine: Engine) -> object:
    leases = await engine.repository.workers()
    return sorted(leases, key=lambda lease: (lease.is_over, lease.worker_id))[:MOST_MACHINES]
