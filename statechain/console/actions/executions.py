"""Actions on one execution: stop it, redrive it, delete it."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from statechain.console.actions.confirming import confirmation
from statechain.console.rendering import links_of
from statechain.console.serving import engine_of, form_of, log_action, require, see_other

__all__ = ["ask_stop", "delete", "redrive", "stop"]


async def ask_stop(request: Request) -> Response:
    """Ask whether an execution is to be stopped, and why."""
    require(request, "stop")
    execution = await engine_of(request).get_execution(request.path_params["id"])
    to = links_of(request)
    is_running = execution.end_time is None
    return await confirmation(
        request,
        f"Stop {execution.name}?" if is_running else f"{execution.name} has ended",
        "It ends as ABORTED, and can be redriven." if is_running else "There is nothing to stop.",
        action=to("executions", execution.id, "stop"),
        hidden=(),
        button="Stop it" if is_running else None,
        back=to("executions", execution.id),
        asks_cause=True,
    )


async def stop(request: Request) -> Response:
    """Stop an execution."""
    grant = require(request, "stop")
    id_ = request.path_params["id"]
    form = await form_of(request)
    cause = str(form.get("cause", "")).strip() or f"stopped on the console by {grant.user or 'an operator'}"
    log_action(grant, "stop", id_)
    await engine_of(request).stop_execution(id_, cause=cause)
    return see_other(request, "stopped", "executions", id_)


async def redrive(request: Request) -> Response:
    """Redrive an execution."""
    grant = require(request, "redrive")
    id_ = request.path_params["id"]
    log_action(grant, "redrive", id_)
    await engine_of(request).redrive_execution(id_)
    return see_other(request, "redriven", "executions", id_)


async def delete(request: Request) -> Response:
    """Delete an ended execution."""
    grant = require(request, "delete")
    id_ = request.path_params["id"]
    log_action(grant, "delete", id_)
    await engine_of(request).delete_execution(id_)
    return see_other(request, "deleted", "executions")
