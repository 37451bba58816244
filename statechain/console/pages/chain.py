"""The chain that an execution is part of: what it came from, and what came from it, over all generations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from statechain.console.pages.execution import opened
from statechain.console.queries import command_line
from statechain.console.rendering import page

if TYPE_CHECKING:
    from statechain.engine.engine import Engine
    from statechain.records.executions import Execution

__all__ = ["show"]

# Bounds for a page: a chain may be of any length, and fan out.
GENERATIONS = 8
MOST_CHAINED = 100


async def show(request: Request) -> Response:
    """Show what an execution was chained from, and what was chained from it, over all generations."""
    engine, execution, context = await opened(request, "chain")
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
