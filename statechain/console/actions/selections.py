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
    from starlette.datastructures import FormData

    from statechain.console.access import Grant
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


@attrs.frozen
class _Selection:
    """What a form chooses: the executions of some ids, or all that its filter matches."""

    action: str
    ids: Sequence[str]
    is_all: bool
    query: ExecutionQuery
    wanted: ExecutionFilter
    """What the filter matches, as far as the action applies to it."""

    @classmethod
    def of(cls, action: str, form: FormData) -> _Selection:
        """Return what a form chooses for an action."""
        query = ExecutionQuery.of(form)
        wanted = query.filter()
        statuses = APPLIES[action] if wanted.status is None else wanted.status & APPLIES[action]
        return cls(
            action,
            # A form may have more than a page offers.
            [str(each) for each in form.getlist("id")][:PORTION],
            form.get("scope") == "all",
            query,
            attrs.evolve(wanted, status=statuses, order="oldest_first"),
        )

    def pairs(self) -> list[tuple[str, str]]:
        """Return the fields of a form that chooses the same, confirmed."""
        pairs = [("action", self.action), ("scope", "all" if self.is_all else "ids"), ("confirmed", "1")]
        if self.is_all:
            return pairs + [(name, str(value)) for name, value in self.query.pairs(after="")]
        return pairs + [("id", each) for each in self.ids]

    def list_url(self, request: Request) -> str:
        """Return the URL of the list that it was chosen from."""
        return links_of(request).to(["executions"], self.query.pairs(after=""))


async def act(request: Request) -> Response:
    """Ask for a confirmation that says how many, or do a confirmed portion."""
    form = await form_of(request)
    action = str(form.get("action", ""))
    if action not in APPLIES:
        raise HTTPException(400, "There is no such action.")
    grant = require(request, action)
    selection = _Selection.of(action, form)
    if form.get("confirmed") != "1":
        return await _ask(request, selection)
    cause = str(form.get("cause", "")).strip() or f"stopped on the console by {grant.user or 'an operator'}"
    return await _do_portion(request, selection, grant, cause)


async def _ask(request: Request, selection: _Selection) -> Response:
    """Say how many executions are chosen, and which; nothing is done yet."""
    engine, action = engine_of(request), selection.action
    if selection.is_all:
        count = await engine.count_executions(selection.wanted)
        about = _filter_lines(selection.query, await machine_names(engine))
    else:
        named = await _named(engine, selection)
        count, about = len(named), _name_lines(named)
    return await confirmation(
        request,
        f"{action.capitalize()} {counted(count, 'execution')}?" if count else f"There is nothing to {action}",
        _warning(action, count, is_all=selection.is_all),
        action=links_of(request)("executions", "selected"),
        back=selection.list_url(request),
        hidden=selection.pairs(),
        button=f"{action.capitalize()} {count:,}" if count else None,
        about=about,
        asks_cause=action == "stop",
    )


async def _do_portion(request: Request, selection: _Selection, grant: Grant, cause: str) -> Response:
    """Act on the chosen executions, or on the next portion of them; say how many it were, and offer the rest."""
    engine, action = engine_of(request), selection.action
    chosen, last = await _portion(engine, selection) if selection.is_all else (await _named(engine, selection), None)
    log_action(grant, action, *(each.id for each in chosen))
    done = sum([await _do(engine, action, each, cause) for each in chosen])
    return await confirmation(
        request,
        f"{counted(done, 'execution')} {DONE[action]}",
        "" if last is None else "There may be more that match.",
        action=links_of(request)("executions", "selected"),
        back=selection.list_url(request),
        # The next portions have the same cause.
        hidden=[*selection.pairs(), ("cause", cause), ("after", last or "")],
        button=None if last is None else f"{action.capitalize()} the next ones",
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


async def _named(engine: Engine, selection: _Selection) -> list[Execution]:
    """Return those of the executions with the chosen ids to which the action applies."""
    found = [await engine.repository.execution(each) for each in selection.ids]
    return [each for each in found if each is not None and each.status in APPLIES[selection.action]]


async def _portion(engine: Engine, selection: _Selection) -> tuple[list[Execution], str | None]:
    """Return the next executions that match, and the place behind them; None where they were the last."""
    found = await engine.page_executions(selection.wanted, after=selection.query.cursor(), size=PORTION)
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
