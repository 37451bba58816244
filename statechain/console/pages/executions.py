"""The list of executions: its URL is its filter."""

from __future__ import annotations

import attrs
from starlette.requests import Request
from starlette.responses import Response

from statechain.console.queries import ExecutionQuery, statuses
from statechain.console.rendering import page
from statechain.console.searching import Found, find
from statechain.console.serving import PAGE, engine_of, machine_names

__all__ = ["show"]


async def show(request: Request) -> Response:
    """Show one page of the executions that the URL selects."""
    engine = engine_of(request)
    query = ExecutionQuery.of(request.query_params)
    names = await machine_names(engine)
    problem, found = None, Found((), None)
    try:
        found = await find(engine, query.filter(), query.cursor(), PAGE)
    except ValueError as error:
        problem = str(error)
    context = {
        "query": query,
        "problem": problem,
        "executions": found.executions,
        "waits": await engine.get_execution_waits(found.executions),
        "next": found.next,
        "end": found.end,
        "names": names,
        "statuses": statuses(),
        "command": query.command(names.get(query.machine)),
        "pairs": attrs.evolve(query, after="").pairs(),
    }
    return await page(request, "executions.html", context, status=200 if problem is None else 400)
