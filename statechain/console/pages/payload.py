"""One payload of an execution: its input, its output, or what a visit put out, to search and to copy."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from statechain.console.formats import pretty
from statechain.console.pages.execution import opened, outlines
from statechain.console.queries import command_line
from statechain.console.rendering import page
from statechain.console.serving import PAGE, require
from statechain.drawing.picture import folded
from statechain.errors import ExecutionNotFound

if TYPE_CHECKING:
    from statechain.engine.engine import Engine
    from statechain.records.executions import Execution

__all__ = ["show"]

MOST_LINES = 5_000


async def show(request: Request) -> Response:
    """Show one payload; a string is looked for line by line."""
    require(request, "payload")
    engine, execution, context = await opened(request, "payload")
    which = request.query_params.get("of", "input")
    find = request.query_params.get("find", "").strip()
    title, text = await _payload(engine, execution, which)
    context |= {
        **await asyncio.to_thread(_lines, text, find),
        "which": which,
        "title": title,
        "find": find,
        "bytes": len(text or ""),
        "command": command_line("show", execution.id, "--json"),
    }
    return await page(request, "execution_payload.html", context, has_payloads=True)


def _lines(text: str | None, find: str) -> dict[str, Any]:
    """Return a payload's first lines, and those of all that have a string; done in a thread, as it may be long."""
    lines = [] if text is None else pretty(text).splitlines()
    wanted = find.casefold()
    found = [(place, line) for place, line in enumerate(lines, 1) if wanted in line.casefold()] if find else []
    return {
        "text": None if text is None else "\n".join(lines[:MOST_LINES]),
        "is_cut": len(lines) > MOST_LINES,
        "found": found[:PAGE],
        "count": len(found),
    }


async def _payload(engine: Engine, execution: Execution, which: str) -> tuple[str, str | None]:
    if which == "input":
        return "Input", execution.input_text
    if which == "output":
        return "Output", execution.output_text
    # The number is behind the last #: a state's name may have one.
    frame, _, place = which.removeprefix("visit:").rpartition("#")
    visits = folded(await outlines(engine, execution))
    visit = next((each for each in visits if each.frame == frame and str(each.number) == place), None)
    if visit is None:
        raise ExecutionNotFound("There is no such visit in this execution.")
    rows = await engine.repository.visits_at(execution.id, [visit.place])
    return f"Output of {visit.state}", rows[visit.place].output
