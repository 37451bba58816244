"""Statistics over time: how much was started, how long it took, and what failed, drawn on the server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from statechain.console.charts import duration_chart, throughput_chart
from statechain.console.queries import WINDOWS, Window, command_line, window_of
from statechain.console.rendering import page
from statechain.console.serving import engine_of, machine_names

if TYPE_CHECKING:
    from statechain.engine.engine import Engine
    from statechain.reports import Activity

__all__ = ["activity_of", "show"]

INTERVALS = {"1h": 60, "24h": 48, "7d": 56, "30d": 60}


async def activity_of(
    engine: Engine, window: Window, *, intervals: int = 1, state_machine_id: str | None = None
) -> list[Activity]:
    """Return the activity in a window."""
    return await engine.execution_activity(
        window.begin, window.end, intervals=intervals, state_machine_id=state_machine_id
    )


async def show(request: Request) -> Response:
    """Show throughput, durations and failures over time."""
    engine = engine_of(request)
    window = window_of(request.query_params.get("window"))
    machine = request.query_params.get("machine", "")
    activity = await activity_of(engine, window, intervals=INTERVALS[window.name], state_machine_id=machine or None)
    names = await machine_names(engine)
    throughput, durations = await asyncio.to_thread(lambda: (throughput_chart(activity), duration_chart(activity)))
    options = ["--state-machine", names[machine]] if machine in names else []
    context = {
        "window": window,
        "windows": list(WINDOWS),
        "machine": machine,
        "names": names,
        "activity": activity,
        "throughput": throughput,
        "durations": durations,
        "command": command_line("statistics", "--since", window.name, *options),
    }
    return await page(request, "statistics.html", context)
