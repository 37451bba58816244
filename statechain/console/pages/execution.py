"""One execution: its picture and visits, its events, timeline, payloads, and the chain that it is part of."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from statechain.asl import load_stored
from statechain.console.formats import pretty
from statechain.console.queries import command_line, number
from statechain.console.rendering import links_of, page
from statechain.console.serving import PAGE, engine_of, machine_names, require
from statechain.drawing.graph import graph_of
from statechain.drawing.picture import folded, seconds_of, standing_of, trace_of
from statechain.drawing.svg import to_svg
from statechain.drawing.timeline import timeline_svg
from statechain.errors import ExecutionNotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

    from statechain.engine.engine import Engine
    from statechain.records.executions import Execution

__all__ = ["chain", "events", "payload", "show", "timeline"]

MOST_VISITS = 2_000
MOST_LINES = 5_000
EVENTS = 100
GENERATIONS = 8
MOST_CHAINED = 100


async def _shared(request: Request, tab: str) -> tuple[Engine, Execution, dict[str, Any]]:
    """Return the engine, the execution, and what all of its pages show."""
    engine = engine_of(request)
    execution = await engine.get_execution(request.path_params["id"])
    names = await machine_names(engine)
    waits = (
        await engine.repository.waiting_tasks(execution_id=execution.id, page=5) if execution.end_time is None else ()
    )
    context = {
        "execution": execution,
        "machine": names.get(execution.state_machine_id, execution.state_machine_id),
        "names": names,
        "tab": tab,
        "waits": waits,
    }
    return engine, execution, context


async def show(request: Request) -> Response:
    """Show the picture with the states that were visited, and a page of the visits."""
    engine, execution, context = await _shared(request, "show")
    links = links_of(request)
    state = request.query_params.get("state", "")
    is_failed_only = request.query_params.get("failed") == "1"
    after = number(request.query_params.get("after"), 0)
    record = await engine.repository.state_machine(execution.state_machine_id, execution.state_machine_revision)
    rows = await engine.repository.visits(execution.id, page=MOST_VISITS)
    now = engine.clock.now()

    def link(name: str) -> str:
        return links("executions", execution.id, state=name) + "#visits"

    def prepare() -> dict[str, Any]:
        visits = [
            {"visit": visit, "standing": standing_of(visit, execution), "seconds": seconds_of(visit, execution, now)}
            for visit in folded(rows)
            if state in {"", visit.state}
        ]
        if is_failed_only:
            visits = [each for each in visits if each["standing"] in {"failed", "caught", "stopped"}]
        picture = None
        if record is not None:
            definition = load_stored(record.definition, limits=engine.limits)
            picture = to_svg(graph_of(definition.model), trace_of(execution, rows, now), link=link, is_inline=True)
        return {"picture": picture, "visits": visits[after : after + PAGE], "total": len(visits)}

    prepared = await asyncio.to_thread(prepare)
    context |= {
        **prepared,
        "state": state,
        "failed_only": is_failed_only,
        "after": after,
        "next": after + PAGE if prepared["total"] > after + PAGE else None,
        "is_cut": len(rows) == MOST_VISITS,
        "command": command_line("show", execution.id),
    }
    return await page(request, "execution.html", context)


async def timeline(request: Request) -> Response:
    """Show a page of the visits as a timeline, with stretches cut in which nothing happens."""
    engine, execution, context = await _shared(request, "timeline")
    after = number(request.query_params.get("after"), 0)
    rows = await engine.repository.visits(execution.id, after=after, page=PAGE)
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


async def events(request: Request) -> Response:
    """Show a page of the events, in order or the last first; what is in them only to those who may see payloads."""
    engine, execution, context = await _shared(request, "events")
    order = request.query_params.get("order", "failed_first")
    is_reverse = order == "newest_first"
    after = number(request.query_params.get("after"), 0)
    found = await engine.get_execution_history(execution.id, after=max(0, after), limit=EVENTS + 1, reverse=is_reverse)
    shows_payloads = context_allows(request)
    rows = [_event(each, shows_payloads=shows_payloads) for each in found[:EVENTS]]
    if order == "failed_first":
        rows.sort(key=lambda row: not row["is_failure"])
    context |= {
        "events": rows,
        "order": order,
        "next": found[EVENTS - 1]["id"] if len(found) > EVENTS else None,
        "after": after,
        "command": command_line("history", execution.id, *(["--reverse"] if is_reverse else [])),
    }
    return await page(request, "execution_events.html", context, has_payloads=shows_payloads)


def context_allows(request: Request) -> bool:
    """Return whether a request may see payloads."""
    try:
        require(request, "payload")
    except HTTPException:
        return False
    return True


WITHOUT_PAYLOAD = ("name", "error", "index", "resource", "resourceType", "timeoutInSeconds", "heartbeatInSeconds")
FAILURES = ("Failed", "TimedOut", "Aborted")


def _event(event: Mapping[str, Any], *, shows_payloads: bool) -> dict[str, Any]:
    details: Mapping[str, Any] = next((value for key, value in event.items() if key.endswith("EventDetails")), {})
    shown = [
        (key, pretty(value) if key in {"input", "output", "parameters"} else str(value))
        for key, value in details.items()
        if (shows_payloads or key in WITHOUT_PAYLOAD or key == "cause")
        and value is not None
        and not key.endswith("Details")
    ]
    return {
        "id": event["id"],
        "previous": event["previousEventId"],
        "type": event["type"],
        "at": event["timestamp"],
        "details": shown,
        "is_failure": event["type"].endswith(FAILURES),
    }


async def payload(request: Request) -> Response:
    """Show one payload: the input, the output, or what a visit put out; a string is looked for line by line."""
    require(request, "payload")
    engine, execution, context = await _shared(request, "payload")
    which = request.query_params.get("of", "input")
    find = request.query_params.get("find", "").strip()
    title, text = await _payload(engine, execution, which)
    lines = [] if text is None else (await asyncio.to_thread(pretty, text)).splitlines()
    found = [(place, line) for place, line in enumerate(lines, 1) if find.casefold() in line.casefold()]
    context |= {
        "which": which,
        "title": title,
        "find": find,
        "text": None if text is None else "\n".join(lines[:MOST_LINES]),
        "found": found[:PAGE] if find else [],
        "count": len(found),
        "is_cut": len(lines) > MOST_LINES,
        "bytes": len(text or ""),
        "command": command_line("show", execution.id, "--json"),
    }
    return await page(request, "execution_payload.html", context, has_payloads=True)


async def _payload(engine: Engine, execution: Execution, which: str) -> tuple[str, str | None]:
    if which == "input":
        return "Input", execution.input_text
    if which == "output":
        return "Output", execution.output_text
    frame, _, place = which.removeprefix("visit:").rpartition("#")
    rows = await engine.repository.visits(execution.id, page=MOST_VISITS)
    visit = next((each for each in folded(rows) if each.frame == frame and str(each.number) == place), None)
    if visit is None:
        raise ExecutionNotFound("There is no such visit in this execution.")
    return f"Output of {visit.state}", visit.output


async def chain(request: Request) -> Response:
    """Show what an execution was chained from, and what was chained from it, over all generations."""
    engine, execution, context = await _shared(request, "chain")
    sources: list[Execution] = []
    one = execution
    while one.source is not None and len(sources) < GENERATIONS:
        found = await engine.repository.execution(one.source.execution_id)
        if found is None:
            break
        sources.insert(0, found)
        one = found
    generations, is_cut = await _descendants(engine, execution)
    context |= {
        "sources": sources,
        "generations": generations,
        "is_cut": is_cut,
        "command": command_line("show", execution.id),
    }
    return await page(request, "execution_chain.html", context)


async def _descendants(engine: Engine, execution: Execution) -> tuple[list[list[Execution]], bool]:
    """Return what was chained from an execution, generation by generation, as far as a page has room."""
    generations: list[list[Execution]] = []
    room, parents = MOST_CHAINED, [execution]
    while parents and room and len(generations) < GENERATIONS:
        children: list[Execution] = []
        for parent in parents:
            links = await engine.repository.links(source_execution_id=parent.id, page=room - len(children) + 1)
            for link in links[: room - len(children)]:
                child = await engine.repository.execution(link.target_execution_id)
                children += [] if child is None else [child]
            if len(children) >= room:
                return [*generations, children], True
        room -= len(children)
        parents = children
        if children:
            generations.append(children)
    return generations, bool(parents)
