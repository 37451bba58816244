"""Actions on a batch: count what it would start and start it, resume it, stop it, redrive what failed of it.

What failed is redriven in portions: a request does one, says how many it did, and offers the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from starlette.requests import Request
from starlette.responses import Response

from statechain.chaining.options import BatchExecutionOptions
from statechain.console.actions.confirming import confirmation
from statechain.console.formats import counted
from statechain.console.pages.batches import new_batch_page
from statechain.console.pages.machines import record_of
from statechain.console.queries import ExecutionQuery, number
from statechain.console.rendering import links_of
from statechain.console.serving import engine_of, form_of, log_action, require, see_other
from statechain.errors import BatchNotFound, InvalidArgument, StateMachineNotFound
from statechain.records.batches import BatchStatus
from statechain.records.filters import Chained

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ask_stop", "redrive", "resume", "start", "stop"]

PORTION = 500


async def start(request: Request) -> Response:
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
        options = _options(values)
        if values.get("step") == "start":
            log_action(grant, "start batch", target.name, options.name_prefix or "")
            batch = await engine.start_batch(target.id, sources, values.get("source_state") or None, options=options)
            return see_other(request, "batch_started", "batches", batch.id)
        count = await engine.count_executions(sources)
    except ValueError as error:
        problem = str(error)
    # It is no ValueError; elsewhere it is a page that does not exist, here it is a field.
    except StateMachineNotFound as error:
        problem = str(error)
    return await new_batch_page(request, query, values, count=count, problem=problem)


def _options(values: Mapping[str, str]) -> BatchExecutionOptions:
    """Return the options that a form has. Raises ValueError with what is wrong."""
    tolerated = values.get("tolerated", "")
    return BatchExecutionOptions(
        name_prefix=values.get("prefix") or None,
        # -1 for what is no number: the options refuse it, in words that name the field.
        concurrent_batches=number(values.get("concurrency") or "1", -1),
        mode="DISTRIBUTED" if values.get("distributed") else "INLINE",
        tolerated_failure_count=number(tolerated, -1) if tolerated else None,
    )


async def resume(request: Request) -> Response:
    """Finish what is missing of a batch, in the background of the engine."""
    grant = require(request, "start_batch")
    id_ = request.path_params["id"]
    log_action(grant, "resume batch", id_)
    await engine_of(request).continue_batch(id_)
    return see_other(request, "batch_resumed", "batches", id_)


async def ask_stop(request: Request) -> Response:
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


async def stop(request: Request) -> Response:
    """Stop a batch."""
    grant = require(request, "stop_batch")
    id_ = request.path_params["id"]
    log_action(grant, "stop batch", id_)
    await engine_of(request).stop_batch(id_)
    return see_other(request, "batch_stopped", "batches", id_)


async def redrive(request: Request) -> Response:
    """Redrive a portion of what failed of a batch."""
    grant = require(request, "redrive_batch")
    id_ = request.path_params["id"]
    form = await form_of(request)
    after = number(str(form.get("after", "")), -1)
    log_action(grant, "redrive batch", id_, str(after))
    done = await engine_of(request).redrive_batch(id_, after=after, limit=PORTION)
    if not done.is_more:
        return see_other(request, "batch_redriven", "batches", id_)
    return await confirmation(
        request,
        f"{counted(done.count, 'execution')} redriven",
        "There are more items behind these.",
        action=links_of(request)("batches", id_, "redrive"),
        hidden=[("after", str(done.last))],
        button="Redrive the next ones",
        back=links_of(request)("batches", id_),
    )
