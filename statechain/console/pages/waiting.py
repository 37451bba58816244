"""Tasks that wait for an answer from outside, by machine, state and age; never their tokens."""

from __future__ import annotations

import attrs
from starlette.requests import Request
from starlette.responses import Response

from statechain.console.queries import command_line
from statechain.console.rendering import page
from statechain.console.serving import PAGE, engine_of, machine_names, require
from statechain.errors import TaskTimedOut
from statechain.reports import WaitingTask

__all__ = ["show", "show_all", "task_of"]


async def show_all(request: Request) -> Response:
    """Show a page of the tasks that wait, the oldest first."""
    engine = engine_of(request)
    machine = request.query_params.get("machine", "")
    state = request.query_params.get("state", "").strip()
    execution = request.query_params.get("execution", "").strip()
    last = request.query_params.get("after")
    after = None
    if last:
        (callback,) = await engine.repository.callbacks([last]) or [None]  # type: ignore[list-item]
        after = None if callback is None else _place(callback.id, callback.since)
    found = await engine.list_waiting_tasks(
        execution_id=execution or None,
        state_machine_id=machine or None,
        state=state or None,
        after=after,
        limit=PAGE + 1,
    )
    options = [("--state-machine", machine), ("--state", state), ("--execution", execution)]
    context = {
        "tasks": found[:PAGE],
        "next": found[PAGE - 1].id if len(found) > PAGE else None,
        "names": await machine_names(engine),
        "machine": machine,
        "state": state,
        "execution": execution,
        "command": command_line("tasks", "list", *(part for pair in options if pair[1] for part in pair)),
    }
    return await page(request, "waiting.html", context)


async def task_of(request: Request, execution: str, id_: str) -> WaitingTask:
    """Return a task that waits. Raises TaskTimedOut where it does not, or not any more."""
    found = await engine_of(request).list_waiting_tasks(execution_id=execution)
    task = next((each for each in found if each.id == id_), None)
    if task is None:
        raise TaskTimedOut("This task waits no more: it was answered, or its execution has ended.")
    return task


async def show(request: Request) -> Response:
    """Show one task that waits, with the forms that answer it."""
    require(request, "answer")
    params = request.query_params
    task = await task_of(request, params.get("execution", ""), params.get("id", ""))
    names = await machine_names(engine_of(request))
    command = command_line("tasks", "answer", task.execution_id, "--task", task.id, "--output", "{}")
    context = {"task": task, "names": names, "command": command, "problem": None, "form": {}}
    return await page(request, "waiting_task.html", context)


def _place(id_: str, since: object) -> WaitingTask:
    """Return what a page begins after: of a task only its place counts."""
    task = WaitingTask(id=id_, execution_id="", execution_name="", state_machine_id="", state=None, since=None,
                       activity=None, is_taken=False, last_heartbeat=None)  # fmt: skip
    return attrs.evolve(task, since=since)  # type: ignore[arg-type]
