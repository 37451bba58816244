"""Tasks that wait for an answer from outside, by machine, state and age; never their tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from statechain.clock import EPOCH
from statechain.console.queries import command_line, cursor_at, moment_of, place_at
from statechain.console.rendering import page
from statechain.console.serving import PAGE, engine_of, machine_names, require
from statechain.reports import WaitingTask

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["frame_of", "show", "show_all", "task_of"]


async def show_all(request: Request) -> Response:
    """Show a page of the tasks that wait, the oldest first."""
    engine = engine_of(request)
    names = ("machine", "state", "execution", "older", "after")
    given = {name: request.query_params.get(name, "").strip() for name in names}
    problem, found = None, list[WaitingTask]()
    try:
        found = await engine.list_waiting_tasks(
            execution_id=given["execution"] or None,
            state_machine_id=given["machine"] or None,
            state=given["state"] or None,
            since_before=moment_of("Older than", given["older"]),
            after=_place(given["after"]),
            limit=PAGE + 1,
        )
    except ValueError as error:
        problem = str(error)
    options = [("--state-machine", "machine"), ("--state", "state"), ("--execution", "execution"),
               ("--older-than", "older")]  # fmt: skip
    context = {
        "tasks": found[:PAGE],
        "frames": {task.id: frame_of(task) for task in found},
        "next": _after(found[:PAGE]) if len(found) > PAGE else None,
        "names": await machine_names(engine),
        "given": given,
        "is_filtered": any(given[name] for name in names if name != "after"),
        "problem": problem,
        "command": command_line(
            "tasks", "list", *(part for option, name in options if given[name] for part in (option, given[name]))
        ),
    }
    return await page(request, "waiting.html", context, status=200 if problem is None else 400)


async def task_of(request: Request, execution: str, id_: str) -> WaitingTask:
    """Return a task that waits. Raises TaskTimedOut where it does not, or not any more."""
    return await engine_of(request).get_waiting_task(execution, id_)


async def show(request: Request) -> Response:
    """Show one task that waits, with the forms that answer it."""
    require(request, "answer")
    params = request.query_params
    task = await task_of(request, params.get("execution", ""), params.get("id", ""))
    names = await machine_names(engine_of(request))
    command = command_line("tasks", "answer", task.execution_id, "--task", task.id, "--output", "{}")
    context = {"task": task, "frame": frame_of(task), "names": names, "command": command, "problem": None, "form": {}}
    return await page(request, "waiting_task.html", context)


def frame_of(task: WaitingTask) -> str:
    """Return the branch or iteration that a task waits in, such as ``Each[3]``: "" where that is the execution itself.

    A task's id is that of its execution, the frame, and what the frame's visits and attempts are counted by. A state's
    name has its slashes and tildes escaped there.
    """
    frame = task.id.removeprefix(f"{task.execution_id}/").rpartition("/")[0]
    return frame.replace("~1", "/").replace("~0", "~")


def _after(found: Sequence[WaitingTask]) -> str:
    """Return the place of the last task, which the next page begins after."""
    # A beginning that is not known is stored as 0: it is before all others in the list's order.
    return place_at(found[-1].since or EPOCH, found[-1].id)


def _place(after: str) -> WaitingTask | None:
    """Return what a page begins after: of a task only its place counts."""
    cursor = cursor_at(after)
    if cursor is None:
        return None
    since = None if cursor.start_time == EPOCH else cursor.start_time
    return WaitingTask(id=cursor.id, execution_id="", execution_name="", state_machine_id="", state=None, since=since,
                       activity=None, is_taken=False, last_heartbeat=None)  # fmt: skip
