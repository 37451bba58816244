"""What operators do: every action is a POST of a form, needs its verb, and is logged with the user's name.

An action on many executions does a portion, says how many it did, and offers the next portion.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import attrs
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from statechain.chaining.options import BatchExecutionOptions
from statechain.console import selections
from statechain.console.checking import doubts
from statechain.console.confirming import confirmation
from statechain.console.formats import counted
from statechain.console.pages.batches import new_batch_page
from statechain.console.pages.machines import machine_page, past_of, record_of
from statechain.console.pages.waiting import frame_of, task_of
from statechain.console.queries import ExecutionQuery, number
from statechain.console.rendering import links_of, page
from statechain.console.serving import engine_of, form_of, log_action, machine_names, require
from statechain.errors import BatchNotFound, InvalidArgument, InvalidPayload, StateMachineNotFound
from statechain.json_hints import wrong_place
from statechain.records.batches import BatchStatus
from statechain.records.filters import Chained

if TYPE_CHECKING:
    from collections.abc import Mapping

    from statechain.codec import JSONValue

__all__ = ["routes"]

BATCH_PORTION = 500


def routes() -> list[Route]:
    """Return the routes of all actions."""
    return [
        Route("/executions/selected", selections.act, methods=["POST"]),
        Route("/executions/{id}/stop", ask_stop),
        Route("/executions/{id}/stop", stop, methods=["POST"]),
        Route("/executions/{id}/redrive", redrive, methods=["POST"]),
        Route("/executions/{id}/delete", delete, methods=["POST"]),
        Route("/machines/{id}/start", start, methods=["POST"]),
        Route("/batches/new", start_batch, methods=["POST"]),
        Route("/batches/{id}/resume", resume_batch, methods=["POST"]),
        Route("/batches/{id}/stop", ask_stop_batch),
        Route("/batches/{id}/stop", stop_batch, methods=["POST"]),
        Route("/batches/{id}/redrive", redrive_batch, methods=["POST"]),
        Route("/waiting/task", answer, methods=["POST"]),
    ]


def _to(request: Request, done: str, *path: str) -> Response:
    """Return to a page, which says what was done."""
    return RedirectResponse(links_of(request)(*path, done=done), 303)


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
    return _to(request, "stopped", "executions", id_)


async def redrive(request: Request) -> Response:
    """Redrive an execution."""
    grant = require(request, "redrive")
    id_ = request.path_params["id"]
    log_action(grant, "redrive", id_)
    await engine_of(request).redrive_execution(id_)
    return _to(request, "redriven", "executions", id_)


async def delete(request: Request) -> Response:
    """Delete an ended execution."""
    grant = require(request, "delete")
    id_ = request.path_params["id"]
    log_action(grant, "delete", id_)
    await engine_of(request).delete_execution(id_)
    return _to(request, "deleted", "executions")


async def start(request: Request) -> Response:
    """Start an execution from the form of its machine, at once or, where its input raises doubts, when confirmed."""
    grant = require(request, "start")
    engine = engine_of(request)
    record = await record_of(engine, request.path_params["id"])
    form = {field: str(value) for field, value in (await form_of(request)).items()}
    name = form.get("name", "").strip() or None
    try:
        value = _json(form.get("input", "") or "null", "The input")
    except InvalidPayload as error:
        return await machine_page(request, form, doubts=[str(error)], is_json=False, has_payloads=True)
    if form.get("confirmed") != "1":
        past = await past_of(engine, record) if grant.allows("payload") else ()
        found = await doubts(record.definition, value, past, engine.limits)
        if found:
            return await machine_page(request, form, doubts=found, has_payloads=True)
    log_action(grant, "start", record.name, name or "")
    machine = await engine.get_state_machine(record.id)
    handle = await machine.start_execution(value, name=name)
    return _to(request, "started", "executions", handle.id)


def _json(text: str, what: str) -> JSONValue:
    try:
        value: JSONValue = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidPayload(f"{what} is not JSON: {wrong_place(error)}") from None
    except RecursionError:
        raise InvalidPayload(f"{what} is nested too deeply") from None
    return value


async def start_batch(request: Request) -> Response:
    """Count what a batch would start, or start it."""
    grant = require(request, "start_batch")
    engine = engine_of(request)
    form = await form_of(request)
    values = {name: str(value).strip() for name, value in form.items()}
    query = ExecutionQuery.of(form)
    count, problem = None, None
    try:
        sources = query.filter()
        if not values.get("target"):
            raise InvalidArgument("Choose the machine that runs.")
        target = await record_of(engine, values["target"])
        if values.get("unchained"):
            sources = attrs.evolve(sources, unchained_to=Chained(target.id, values.get("source_state") or None))
        options = _batch_options(values)
        if values.get("step") == "start":
            log_action(grant, "start batch", target.name, options.name_prefix or "")
            batch = await engine.start_batch(target.id, sources, values.get("source_state") or None, options=options)
            return _to(request, "batch_started", "batches", batch.id)
        count = await engine.count_executions(sources)
    except ValueError as error:
        problem = str(error)
    except StateMachineNotFound as error:
        problem = str(error)
    return await new_batch_page(request, query, values, count=count, problem=problem)


def _batch_options(values: Mapping[str, str]) -> BatchExecutionOptions:
    """Return the options that a form has. Raises ValueError with what is wrong."""
    tolerated = values.get("tolerated", "")
    return BatchExecutionOptions(
        name_prefix=values.get("prefix") or None,
        concurrent_batches=number(values.get("concurrency") or "1", -1),
        mode="DISTRIBUTED" if values.get("distributed") else "INLINE",
        tolerated_failure_count=number(tolerated, -1) if tolerated else None,
    )


async def resume_batch(request: Request) -> Response:
    """Finish what is missing of a batch, in the background of the engine."""
    grant = require(request, "start_batch")
    id_ = request.path_params["id"]
    log_action(grant, "resume batch", id_)
    await engine_of(request).continue_batch(id_)
    return _to(request, "batch_resumed", "batches", id_)


async def ask_stop_batch(request: Request) -> Response:
    """Ask whether a batch is to be stopped."""
    require(request, "stop_batch")
    batch = await engine_of(request).repository.batch(request.path_params["id"], is_counted=False)
    if batch is None:
        raise BatchNotFound("There is no such batch.")
    to = links_of(request)
    is_running = batch.status is BatchStatus.RUNNING
    return await confirmation(
        request,
        f"Stop the batch {batch.name_prefix}?" if is_running else f"The batch {batch.name_prefix} has ended",
        "It starts nothing more, and its executions that run end as ABORTED. It can be resumed."
        if is_running
        else "There is nothing to stop.",
        action=to("batches", batch.id, "stop"),
        hidden=(),
        button="Stop it" if is_running else None,
        back=to("batches", batch.id),
    )


async def stop_batch(request: Request) -> Response:
    """Stop a batch."""
    grant = require(request, "stop_batch")
    id_ = request.path_params["id"]
    log_action(grant, "stop batch", id_)
    await engine_of(request).stop_batch(id_)
    return _to(request, "batch_stopped", "batches", id_)


async def redrive_batch(request: Request) -> Response:
    """Redrive a portion of what failed of a batch."""
    grant = require(request, "redrive_batch")
    id_ = request.path_params["id"]
    form = await form_of(request)
    after = str(form.get("after", "-1"))
    log_action(grant, "redrive batch", id_, after)
    done = await engine_of(request).redrive_batch(
        id_, after=int(after) if after.lstrip("-").isdecimal() else -1, limit=BATCH_PORTION
    )
    if not done.is_more:
        return _to(request, "batch_redriven", "batches", id_)
    return await confirmation(
        request,
        f"{counted(done.count, 'execution')} redriven",
        "There are more items behind these.",
        action=links_of(request)("batches", id_, "redrive"),
        hidden=[("after", str(done.last))],
        button="Redrive the next ones",
        back=links_of(request)("batches", id_),
    )


async def answer(request: Request) -> Response:
    """Answer or fail a task that waits."""
    grant = require(request, "answer")
    engine = engine_of(request)
    form = {name: str(value) for name, value in (await form_of(request)).items()}
    task = await task_of(request, form.get("execution", ""), form.get("id", ""))
    log_action(grant, "answer" if form.get("how") == "succeed" else "fail", task.execution_id, task.state or "")
    try:
        if form.get("how") == "succeed":
            output = _json(form.get("output", "") or "null", "The output")
            await engine.answer_waiting_task(task.execution_id, output, task_id=task.id)
            return _to(request, "answered", "executions", task.execution_id)
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
    return _to(request, "failed", "executions", task.execution_id)
