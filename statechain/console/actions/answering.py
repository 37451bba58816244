"""The answer to a task that waits: its output, or an error."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from statechain.console.pages.waiting import frame_of, task_of
from statechain.console.rendering import page
from statechain.console.serving import engine_of, form_of, json_of, log_action, machine_names, require, see_other
from statechain.errors import InvalidPayload

__all__ = ["answer"]


async def answer(request: Request) -> Response:
    """Answer or fail a task that waits."""
    grant = require(request, "answer")
    engine = engine_of(request)
    form = {name: str(value) for name, value in (await form_of(request)).items()}
    task = await task_of(request, form.get("execution", ""), form.get("id", ""))
    log_action(grant, "answer" if form.get("how") == "succeed" else "fail", task.execution_id, task.state or "")
    try:
        if form.get("how") == "succeed":
            output = json_of(form.get("output", "") or "null", "The output")
            await engine.answer_waiting_task(task.execution_id, output, task_id=task.id)
            return see_other(request, "answered", "executions", task.execution_id)
        await engine.fail_waiting_task(
            task.execution_id, form.get("error") or None, form.get("cause") or None, task_id=task.id
        )
    except (InvalidPayload, ValueError) as error:
        context = {
            "task": task,
            "frame": frame_of(task),
            "names": await machine_names(engine),
            "command": "",
            "problem": str(error),
            "form": form,
        }
        return await page(request, "waiting_task.html", context, status=400, has_payloads=True)
    return see_other(request, "failed", "executions", task.execution_id)
