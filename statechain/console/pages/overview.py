"""The overview: machines with their counts, what runs longest, batches, workers, suspects, and the queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from statechain.console.counting import activity_of_machines
from statechain.console.pages.batches import counted
from statechain.console.queries import WINDOWS, window_of
from statechain.console.rendering import page
from statechain.console.serving import engine_of
from statechain.records.executions import ExecutionStatus
from statechain.records.filters import ExecutionFilter

if TYPE_CHECKING:
    from statechain.engine.engine import Engine

__all__ = ["show"]

MOST_MACHINES = 50
ALL_SHOWN = 12
"""Up to how many machines those without an execution in the window have rows of their own."""

FEW = 5
STATUSES = (
    ExecutionStatus.RUNNING,
    ExecutionStatus.FAILED,
    ExecutionStatus.TIMED_OUT,
    ExecutionStatus.ABORTED,
    ExecutionStatus.SUCCEEDED,
)
"""In the order in which an operator looks at them: a narrow screen shows the first ones."""


async def show(request: Request) -> Response:
    """Show the overview."""
    engine = engine_of(request)
    window = window_of(request.query_params.get("window"))
    records = await engine.repository.state_machines()
    shown = records[:MOST_MACHINES]
    # One after the other: statements are built on the event loop, and many at once would hold it for long.
    activity = await activity_of_machines(request, engine.repository, window, [record.id for record in shown])
    machines = list(zip(shown, activity, strict=True))
    known = [activity for _, activity in machines if activity is not None]
    are_folded = len(machines) > ALL_SHOWN
    idle = [record for record, each in machines if are_folded and each is not None and not each.total]
    idle_ids = {record.id for record in idle}
    context = {
        "window": window,
        "windows": list(WINDOWS),
        "machines": [each for each in machines if each[0].id not in idle_ids],
        "idle": idle,
        "more_machines": len(records) - len(shown),
        "totals": {status: sum(each.counts[status] for each in known) for status in STATUSES},
        "is_complete": len(known) == len(machines),
        "longest": await _longest(engine),
        "batches": await _batches(engine),
        "suspects": await engine.list_suspects(limit=FEW),
        "workers": await _workers(engine),
        "waits": await engine.list_waiting_tasks(limit=FEW),
        "backlog": await engine.backlog(),
        "queues": [queue for queue in await engine.list_queues() if queue.waiting][:FEW],
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
