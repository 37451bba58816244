"""State machines: definitions with their diagnostics and pictures, revisions and what changed between them."""

from __future__ import annotations

import asyncio
import difflib
import json
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from statechain.asl import load_stored
from statechain.console.formats import pretty
from statechain.console.queries import command_line, number
from statechain.console.rendering import links_of, page
from statechain.console.serving import PAGE, engine_of, may
from statechain.drawing.graph import graph_of
from statechain.drawing.svg import to_svg
from statechain.errors import DefinitionError, Diagnostic, StateMachineNotFound
from statechain.records.filters import ExecutionFilter
from statechain.tasks.services import is_known

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from statechain.asl import Definition
    from statechain.engine.engine import Engine
    from statechain.records.executions import Execution, StateMachineRecord

__all__ = ["machine_page", "past_of", "record_of", "show", "show_all"]

MOST_LINES = 4000
PAST_INPUTS = 5


async def show_all(request: Request) -> Response:
    """Show a page of the state machines, by name."""
    engine = engine_of(request)
    records = await engine.repository.state_machines()
    after = request.query_params.get("after", "")
    text = request.query_params.get("text", "").strip()
    fitting = [each for each in records if text in each.name]
    begin = next((place for place, each in enumerate(fitting) if each.name > after), len(fitting)) if after else 0
    shown = fitting[begin : begin + PAGE]
    last = shown[-1].name if begin + PAGE < len(fitting) else None
    queues = {queue.state_machine_id: queue for queue in await engine.list_queues()}
    return await page(request, "machines.html", {"machines": shown, "next": last, "text": text, "queues": queues})


async def record_of(engine: Engine, id_: str, revision: int | None = None) -> StateMachineRecord:
    """Return a stored revision. Raises StateMachineNotFound."""
    record = await engine.repository.state_machine(id_, revision)
    if record is None:
        raise StateMachineNotFound("There is no such state machine, or no such revision of it.")
    return record


async def show(request: Request) -> Response:
    """Show one revision of a state machine, how it differs from another, and the form that starts an execution."""
    given, like = "{}", request.query_params.get("like")
    if like and may(request, "payload"):
        given = pretty((await engine_of(request).get_execution(like)).input_text)
    return await machine_page(request, {"input": given}, has_payloads=bool(like))


async def past_of(engine: Engine, record: StateMachineRecord) -> list[Execution]:
    """Return the newest executions of a machine, whose inputs a new one may be like."""
    return await engine.page_executions(ExecutionFilter(state_machine_id=record.id), size=PAST_INPUTS)


async def machine_page(
    request: Request,
    form: Mapping[str, str],
    *,
    doubts: Sequence[str] = (),
    is_json: bool = True,
    has_payloads: bool = False,
) -> Response:
    """Return the page of a machine; ``doubts`` are those about the input that its form has."""
    engine = engine_of(request)
    newest = await record_of(engine, request.path_params["id"])
    wanted = number(request.query_params.get("revision"), newest.revision)
    record = newest if wanted == newest.revision else await record_of(engine, newest.id, wanted)
    against = number(request.query_params.get("against"), 0)
    other = await record_of(engine, newest.id, against) if against else None
    links = links_of(request)

    def link(state: str) -> str:
        return links("executions", machine=record.id, state=state)

    drawn = await asyncio.to_thread(_drawn, engine, record, link)
    changes = [] if other is None else await asyncio.to_thread(_changes, other.definition, record.definition)
    context = {
        "machine": record,
        "newest": newest,
        "revisions": range(newest.revision, max(0, newest.revision - PAGE), -1),
        "against": against,
        "changes": changes,
        "past": await past_of(engine, record),
        "form": form,
        "doubts": doubts,
        "is_json": is_json,
        "command": command_line("list", "--state-machine", record.name),
        **drawn,
    }
    status = 400 if doubts else 200
    return await page(request, "machine.html", context, status=status, has_payloads=has_payloads)


def _drawn(engine: Engine, record: StateMachineRecord, link: Callable[[str], str]) -> dict[str, object]:
    """Return a revision's definition as lines, its states, its picture, and what is wrong with it."""
    text = json.dumps(json.loads(record.definition), indent=2, ensure_ascii=False)
    lines = text.splitlines()
    try:
        definition = load_stored(record.definition, limits=engine.limits)
    except DefinitionError as error:
        return {"text": "\n".join(lines[:MOST_LINES]), "cut": len(lines) > MOST_LINES, "picture": None, "states": [],
                "diagnostics": error.diagnostics}  # fmt: skip
    graph = graph_of(definition.model)
    return {
        "text": "\n".join(lines[:MOST_LINES]),
        "cut": len(lines) > MOST_LINES,
        "picture": to_svg(graph, link=link, is_inline=True),
        "states": list(graph.every())[:PAGE],
        "diagnostics": _unserved(engine, definition),
    }


def _unserved(engine: Engine, definition: Definition) -> list[Diagnostic]:
    """Return a diagnostic for each Resource without a handler, where this engine has handlers at all."""
    if engine.tasks is None:
        return []
    return [
        Diagnostic("unknown-resource", f"this process has no handler for {resource!r}", pointer=pointer)
        for pointer, resource in definition.resources()
        if not is_known(resource, engine.tasks)
    ]


def _changes(before: str, after: str) -> list[tuple[str, str]]:
    """Return the lines of a unified difference, each with its kind."""
    old, new = (json.dumps(json.loads(text), indent=2, ensure_ascii=False).splitlines() for text in (before, after))
    kinds = {"+": "added", "-": "removed", "@": "place"}
    # The first two lines name files.
    lines = list(difflib.unified_diff(old, new, lineterm="", n=3))[2:MOST_LINES]
    return [(kinds.get(line[:1], "same"), line) for line in lines]
