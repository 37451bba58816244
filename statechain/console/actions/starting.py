"""The start of an execution, from the form of its machine."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from statechain.console.actions.checking import doubts
from statechain.console.pages.machines import machine_page, past_of, record_of
from statechain.console.serving import engine_of, form_of, json_of, log_action, require, see_other
from statechain.errors import InvalidPayload

__all__ = ["start"]


async def start(request: Request) -> Response:
    """Start an execution from the form of its machine, at once or, where its input raises doubts, when confirmed."""
    grant = require(request, "start")
    engine = engine_of(request)
    record = await record_of(engine, request.path_params["id"])
    form = {field: str(value) for field, value in (await form_of(request)).items()}
    name = form.get("name", "").strip() or None
    try:
        value = json_of(form.get("input", "") or "null", "The input")
    except InvalidPayload as error:
        return await machine_page(request, form, doubts=[str(error)], is_json=False, has_payloads=True)
    if form.get("confirmed") != "1":
        # Doubts name members of past inputs, which are payloads.
        past = await past_of(engine, record) if grant.allows("payload") else ()
        found = await doubts(record.definition, value, past, engine.limits)
        if found:
            return await machine_page(request, form, doubts=found, has_payloads=True)
    log_action(grant, "start", record.name, name or "")
    machine = await engine.get_state_machine(record.id)
    handle = await machine.start_execution(value, name=name)
    return see_other(request, "started", "executions", handle.id)
