"""Actions on several executions: those that were ticked, or all that match a filter, after a counted confirmation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import attrs
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from statechain.console.actions.confirming import confirmation
from statechain.console.formats import counted
from statechain.console.queries import ExecutionQuery, place_at
from statechain.console.rendering import links_of
from statechain.console.serving import engine_of, form_of, log_action, machine_names, require
from statechain.errors import StatechainError
from statechain.records.executions import TERMINAL, Execution, ExecutionStatus

if TYPE_CHECKING:
    from statechain.engine.engine import Engine
    from statechain.records.filters import ExecutionFilter

__all__ = ["act"]

PORTION = 200
"""How many executions one request acts on: a request stays short, and a larger set is done in several."""

NAMED = 10
"""How many names a confirmation shows."""

APPLIES = {
    "stop": frozenset({ExecutionStatus.RUNNING}),
    "redrive": TERMINAL - {ExecutionStatus.SUCCEEDED},
    "delete": TERMINAL,
}
DONE = {"stop": "stopped", "redrive": "redriven", "delete": "deleted"}


async def act(request: Request) -> Response:
    """Ask for a confirmation that says how many, or do a confirmed portion."""
    form = await form_of(request)
    action = str(form.get("action", ""))
    if action not in APPLIES:
        raise HTTPException(400, "There is no such action.")
    grant = require(request, action)
    engine = engine_of(request)
    query = ExecutionQuery.of(form)
    # A form may have more than a page offers.
    ids = [str(each) for each in form.getlist("id")][:PORTION]
    is_all = form.get("scope") == "all"
    wanted = query.filter()
    statuses = APPLIES[action] if wanted.status is None else wanted.status & APPLIES[action]
    wanted = attrs.evolve(wanted, status=statuses, order="oldest_first")
    hidden = [("action", action), ("scope", "all" if is_all else "ids"), ("confirmed", "1")]
    if is_all:
        hidden += [(name, str(value)) for name, value in attrs.evolve(query, after="").pairs()]
    else:
        hidden += [("id", each) for each in ids]
    links = links_of(request)
    back = links.to(["executions"], attrs.evolve(query, after="").pairs())
    here = links("executions", "selected")
    if form.get("confirmed") != "1":
        named = [] if is_all else await _named(engine, ids, action)
        count = await engine.count_executions(wanted) if is_all else len(named)
        return await confirmation(
            request,
            f"{action.capitalize()} {counted(count, 'execution')}?" if count else f"There is nothing to {action}",
            _warning(action, count, is_all=is_all),
            action=here,
            hidden=hidden,
            button=f"{action.capitalize()} {count:,}" if count else None,
            back=back,
            about=_filter_lines(query, await machine_names(engine)) if is_all else _name_lines(named),
            asks_cause=action == "stop",
        )
    chosen, last = await _portion(engine, wanted, query) if is_all else (await _named(engine, ids, action), None)
    log_action(grant, action, *(each.id for each in chosen))
    cause = str(form.get("cause", "")).strip() or f"stopped on the console by {grant.user or 'an operator'}"
    # The next portions have the same cause.
    hidden.append(("cause", cause))
    done = sum([await _do(engine, action, each, cause) for each in chosen])
    return await confirmation(
        request,
        f"{counted(done, 'execution')} {DONE[action]}",
        "" if last is None else "There may be more that match.",
        action=here,
        hidden=[*[pair for pair in hidden if pair[0] != "after"], ("after", last or "")],
        button=None if last is None else f"{action.capitalize()} the next ones",
        back=back,
    )


def _warning(action: str, count: int, *, is_all: bool) -> str:
    if not count:
        return "None of them is in a status in which that can be done."
    what = {
        "stop": "They end as ABORTED, and can be redriven.",
        "redrive": "Each goes on from the state that failed.",
        "delete": "Their visits and links go, too. This cannot be undone.",
    }[action]
    return what + (f" At most {PORTION} are done at once." if is_all and count > PORTION else "")


def _name_lines(named: Sequence[Execution]) -> list[str]:
    """Return the names of the first of some executions, and how many more there are."""
    more = len(named) - NAMED
    return [each.name for each in named[:NAMED]] + ([f"and {more} more"] if more > 0 else [])


def _filter_lines(query: ExecutionQuery, names: Mapping[str, str]) -> list[str]:
    """Return what a filter says, in words."""
    machine = query.machine and names.get(query.machine, query.machine)
    said = {
        "status": ", ".join(query.status),
        "machine": machine,
        "name or id has": query.text,
        "in state": query.state,
        "started after": query.since,
        "started before": query.until,
    }
    return [f"{what} {value}" for what, value in said.items() if value] or ["all that are stored"]


async def _named(engine: Engine, ids: Sequence[str], action: str) -> list[Execution]:
    """Return those of some executions to which an action applies."""
    found = [await engine.repository.execution(each) for each in ids]
    return [each for each in found if each is not None and each.status in APPLIES[action]]


async def _portion(
    engine: Engine, wanted: ExecutionFilter, query: ExecutionQuery
) -> tuple[list[Execution], str | None]:
    """Return the next executions that match, and the place behind them; None where they were the last."""
    found = await engine.page_executions(wanted, after=query.cursor(), size=PORTION)
    return found, place_at(found[-1].start_time, found[-1].id) if len(found) == PORTION else None


async def _do(engine: Engine, action: str, execution: Execution, cause: str) -> bool:
    """Act on one execution; return whether it was still as it was when it was chosen."""
    try:
        if action == "stop":
            return (await engine.stop_execution(execution.id, cause=cause)).status == "ABORTED"
        if action == "redrive":
            return await engine.try_redrive(execution) is not None
        await engine.delete_execution(execution.id)
    except (StatechainError, ValueError) as error:
        # Ended, deleted or redriven meanwhile: that one is not done. Storage that is away ends the request.
        if isinstance(error, StatechainError) and not isinstance(error, ValueError | LookupError):
            raise
        return False
    return True
