"""What pages and actions need of a request: the engine, what it may do, a form that it sent, a page to see next."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, cast

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from statechain.codec.hints import wrong_place
from statechain.console.guarding import GRANT
from statechain.console.rendering import links_of
from statechain.errors import InvalidPayload

if TYPE_CHECKING:
    from starlette.datastructures import FormData

    from statechain.codec import JSONValue
    from statechain.console.access import Grant
    from statechain.engine.engine import Engine

__all__ = [
    "ENGINE",
    "PAGE",
    "engine_of",
    "form_of",
    "json_of",
    "log_action",
    "machine_names",
    "may",
    "require",
    "see_other",
]

logger = logging.getLogger("statechain.console")

ENGINE = "statechain_engine"
PAGE = 100
"""How many rows a page has: below the 200 that none exceeds."""

MOST_FORM_FIELDS = 1000


def engine_of(request: Request) -> Engine:
    """Return the engine of the console that answers a request."""
    return cast("Engine", getattr(request.app.state, ENGINE)(request))


def may(request: Request, verb: str) -> bool:
    """Return whether a request may use a verb."""
    grant: Grant = request.scope[GRANT]
    return grant.allows(verb)


def require(request: Request, verb: str) -> Grant:
    """Return what a request may do. Raises HTTPException (403) where a verb is not among it."""
    grant: Grant = request.scope[GRANT]
    if not grant.allows(verb):
        raise HTTPException(403, f"This needs the verb {verb!r}, which you do not have.")
    return grant


async def form_of(request: Request) -> FormData:
    """Return a form that was sent, as long as one of a page may be."""
    # No page uploads files, which would be written to disk.
    return await request.form(max_files=0, max_fields=MOST_FORM_FIELDS)


def json_of(text: str, what: str) -> JSONValue:
    """Return what a field of a form has as JSON. Raises InvalidPayload with what is wrong, and where."""
    try:
        value: JSONValue = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidPayload(f"{what} is not JSON: {wrong_place(error)}") from None
    except RecursionError:
        raise InvalidPayload(f"{what} is nested too deeply") from None
    return value


def see_other(request: Request, done: str, *path: str) -> Response:
    """Return to a page, which says what was done."""
    return RedirectResponse(links_of(request)(*path, done=done), 303)


def log_action(grant: Grant, action: str, *what: str) -> None:
    """Log that something did something; names come from requests, so they are logged as representations."""
    # Callers log first: also what fails afterwards was asked for by that user.
    logger.info("%s by %r: %s", action, grant.user or "(no name)", ", ".join(repr(each) for each in what))


async def machine_names(engine: Engine) -> dict[str, str]:
    """Return the state machines' names by their ids."""
    return {record.id: record.name for record in await engine.repository.state_machines()}
