"""Statistics over time: how much was started, how long it took, and what failed, drawn on the server."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from statechain.console.charts import duration_chart, throughput_chart
from statechain.console.counting import activity_in_intervals
from statechain.console.queries import WINDOWS, command_line, window_of
from statechain.console.rendering import page
from statechain.console.serving import engine_of, machine_names
from statechain.errors import StateMachineNotFound
from statechain.records.executions import DurationStatistics, ExecutionStatus
from statechain.reports import Activity

__all__ = ["show"]


async def show(request: Request) -> Response:
    """Show throughput, durations and failures over time."""
    engine = engine_of(request)
    window = window_of(request.query_params.get("window"))
    machine = request.query_params.get("machine", "")
    names = await machine_names(engine)
    if machine and machine not in names:
        raise StateMachineNotFound("There is no such state machine.")
    found = await activity_in_intervals(request, engine.repository, window, machine or None)
    activity = [
        Activity(
            begin=interval.begin,
            end=interval.end,
            counts=dict.fromkeys(ExecutionStatus, 0),
            durations=DurationStatistics(count=0),
        )
        if each is None
        else each
        for interval, each in zip(window.intervals(), found, strict=True)
    ]
    throughput, durations = await asyncio.to_thread(lambda: (throughput_chart(activity), duration_chart(activity)))
    options = ["--state-machine", names[machine]] if machine else []
    counted = sum(each is not None for each in found)
    context = {
        "window": window,
        "windows": list(WINDOWS),
        "machine": machine,
        "names": names,
        "rows": [each for each in found if each is not None],
        "counted": counted,
        "is_complete": counted == len(found),
        "total": sum(each.total for each in activity),
        "throughput": throughput,
        "durations": durations,
        "command": command_line("statistics", "--since", window.name, "--intervals", str(len(found)), *options),
    }
    return await page(request, "statistics.html", context)
