"""One execution: its picture and visits, and its timeline; and what the other pages of an execution share with these.

Visits are read without their payloads, so that a page costs little however much the states put out.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import attrs
from starlette.requests import Request
from starlette.responses import Response

from statechain.asl import load_stored
from statechain.console.queries import command_line, number
from statechain.console.rendering import links_of, page
from statechain.console.serving import PAGE, engine_of, machine_names
from statechain.drawing.graph import graph_of
from statechain.drawing.picture import folded, seconds_of, standing_of, trace_of
from statechain.drawing.svg import to_svg
from statechain.drawing.timeline import timeline_svg
from statechain.storage.outlines import read_outlines

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from statechain.engine.engine import Engine
    from statechain.records.executions import Execution, StateMachineRecord
    from statechain.storage.outlines import VisitOutline

__all__ = ["MOST_VISITS", "opened", "outlines", "show", "timeline"]

MOST_VISITS = 10_000
"""How many visits are looked at for a picture."""

NOT_SUCCEEDED = frozenset({"failed", "caught", "stopped"})

MANY_VISITS = 1_000
"""From how many on a running execution's page renews itself less often."""


async def opened(request: Request, tab: str) -> tuple[Engine, Execution, dict[str, Any]]:
    """Return the engine, the execution, and what all of its pages show."""
    engine = engine_of(request)
    execution = await engine.get_execution(request.path_params["id"])
    names = await machine_names(engine)
    waits = (
        # Two: one is shown, more are a link.
        await engine.repository.waiting_tasks(execution_id=execution.id, page=2) if execution.end_time is None else ()
    )
    context = {
        "execution": execution,
        "machine": names.get(execution.state_machine_id, execution.state_machine_id),
        "names": names,
        "tab": tab,
        "waits": waits,
        "is_large": False,
        "wait": (await engine.get_execution_waits([execution])).get(execution.id),
        "limit_wait": await engine.repository.limit_wait(execution.id) if execution.end_time is None else None,
    }
    return engine, execution, context


async def outlines(engine: Engine, execution: Execution) -> list[VisitOutline]:
    """Return the visits of an execution without their payloads, as many as a page looks at."""
    rows: list[VisitOutline] = []
    async for row in read_outlines(engine.repository, execution.id):
        rows.append(row)
        if len(rows) == MOST_VISITS:
            break
    return rows


async def show(request: Request) -> Response:
    """Show the picture with the states that were visited, and a page of the visits."""
    engine, execution, context = await opened(request, "show")
    links = links_of(request)
    state = request.query_params.get("state", "")
    is_failed_only = request.query_params.get("failed") == "1"
    after = max(0, number(request.query_params.get("after"), 0))
    record = await engine.repository.state_machine(execution.state_machine_id, execution.state_machine_revision)
    rows = await outlines(engine, execution)
    has_begun = bool(rows) or context["limit_wait"] is None
    # One that waits for a limit has not begun: its first state is not drawn as running.
    drawn = execution if has_begun else attrs.evolve(execution, current_state=None)

    def link(name: str) -> str:
        return links("executions", execution.id, state=name) + "#visits"

    now = engine.clock.now()
    visits, picture = await asyncio.to_thread(
        lambda: (
            _selected(drawn, rows, state, is_failed_only=is_failed_only),
            _picture(engine, record, drawn, rows, now, link),
        )
    )
    shown = visits[after : after + PAGE]
    context |= {
        "picture": picture,
        "visits": [
            {"visit": visit, "standing": standing_of(visit, drawn), "seconds": seconds_of(visit, drawn, now)}
            for visit in shown
        ],
        "causes": await _causes(engine, execution, shown),
        "state": state,
        "failed_only": is_failed_only,
        "after": after,
        "next": after + PAGE if len(visits) > after + PAGE else None,
        "total": len(visits),
        "most": MOST_VISITS if len(rows) == MOST_VISITS else None,
        "is_large": len(rows) > MANY_VISITS,
        "map_runs": await engine.repository.batches(parent_execution_id=execution.id, page=PAGE, is_counted=False),
        "command": command_line("show", execution.id),
    }
    return await page(request, "execution.html", context)


async def _causes(engine: Engine, execution: Execution, shown: Sequence[VisitOutline]) -> dict[int, str | None]:
    """Return the causes of the visits that failed, which outlines do not have: their rows are read whole."""
    failed = [visit.place for visit in shown if visit.error is not None]
    whole = await engine.repository.visits_at(execution.id, failed)
    return {place: row.cause for place, row in whole.items()}


def _selected(
    execution: Execution, rows: Sequence[VisitOutline], state: str, *, is_failed_only: bool
) -> list[VisitOutline]:
    """Return the visits that were asked for; as few objects as there can be, since the collector looks at each."""
    return [
        visit
        for visit in folded(rows)
        if state in {"", visit.state} and (not is_failed_only or standing_of(visit, execution) in NOT_SUCCEEDED)
    ]


def _picture(
    engine: Engine,
    record: StateMachineRecord | None,
    execution: Execution,
    rows: Sequence[VisitOutline],
    now: datetime,
    link: Callable[[str], str],
) -> str | None:
    """Return the picture; None where the definition is not stored any more."""
    if record is None:
        return None
    definition = load_stored(record.definition, limits=engine.limits)
    return to_svg(graph_of(definition.model), trace_of(execution, rows, now), link=link, is_inline=True)


async def timeline(request: Request) -> Response:
    """Show a page of the visits as a timeline, with stretches cut in which nothing happens."""
    engine, execution, context = await opened(request, "timeline")
    after = max(0, number(request.query_params.get("after"), 0))
    rows = await engine.repository.visit_outlines(execution.id, after=after, page=PAGE)
    now = engine.clock.now()
    drawn = await asyncio.to_thread(timeline_svg, execution, rows, now, most=PAGE, is_inline=True)
    context |= {
        "picture": drawn,
        "rows": [(visit, standing_of(visit, execution), seconds_of(visit, execution, now)) for visit in folded(rows)],
        "next": after + PAGE if len(rows) == PAGE else None,
        "after": after,
        "command": command_line("graph", execution.id, "--format", "timeline"),
    }
    return await page(request, "execution_timeline.html", context)
