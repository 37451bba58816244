"""The console as an ASGI application: its pages and actions, and what errors become."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from statechain.arguments import Argument, checked
from statechain.console import assets
from statechain.console.access import Access, loopback
from statechain.console.actions.routes import routes as action_routes
from statechain.console.counting import COUNTS, Counts
from statechain.console.guarding import Gate
from statechain.console.pages.routes import routes as page_routes
from statechain.console.rendering import page
from statechain.console.serving import ENGINE
from statechain.errors import (
    BatchNotFound,
    ExecutionAlreadyExists,
    ExecutionNotFound,
    InvalidPayload,
    RepositoryUnavailable,
    StatechainError,
    StateMachineNotFound,
    TaskTimedOut,
)

if TYPE_CHECKING:
    from statechain.engine.engine import Engine

__all__ = ["app"]

STATUS_CODES: dict[type[Exception], int] = {
    ExecutionNotFound: 404,
    StateMachineNotFound: 404,
    BatchNotFound: 404,
    ExecutionAlreadyExists: 409,
    TaskTimedOut: 409,
    RepositoryUnavailable: 503,
    InvalidPayload: 400,
}
TITLES = {
    400: "That cannot be done",
    403: "You may not do that",
    404: "Not found",
    409: "It has changed meanwhile",
    503: "The storage cannot be reached",
}


ENGINE_OR_FUNCTION = Argument(
    "an Engine, or a function that returns one for a request",
    lambda value: not isinstance(value, type) and (callable(value) or callable(getattr(value, "get_execution", None))),
)
ACCESS = Argument(
    "a function of a request that returns 'read', 'write', a set of verbs, a Grant or None",
    # A class would make an object of the request, which grants nothing.
    lambda value: callable(value) and not isinstance(value, type),
)


@checked(engine=ENGINE_OR_FUNCTION, access=ACCESS.or_none())
def app(engine: Engine | Callable[[Request], Engine], *, access: Access | None = None) -> Starlette:
    """Return the console: an ASGI application to mount in one's own service, at any path.

    Arguments:
        engine: An engine that is open while requests are answered, or what returns it for a request, such as
            ``lambda request: request.state.engine``.

        access: Returns what a request may do: None for nothing, ``"read"``, ``"write"``, a set of verbs (see `VERBS`),
            or a `Grant`, which also names the user. Sync or async. Without it, only requests from this machine are
            answered, and they can only read.
    """
    console = Starlette(
        routes=[
            *assets.routes(),
            *page_routes(),
            *action_routes(),
        ],
        middleware=[Middleware(Gate, access=access or loopback())],
        exception_handlers={
            StatechainError: _show_error,
            ValueError: _show_error,
            HTTPException: _show_error,
        },
    )
    setattr(console.state, COUNTS, Counts())
    setattr(console.state, ENGINE, engine if callable(engine) else lambda _request: engine)
    return console


async def _show_error(request: Request, error: Exception) -> Response:
    """Answer with what is wrong, in words."""
    if isinstance(error, HTTPException):
        status, message = error.status_code, error.detail
        if status == 404 and message == HTTPStatus.NOT_FOUND.phrase:
            message = "The console has no page at this address."
    else:
        status = next((code for kind, code in STATUS_CODES.items() if isinstance(error, kind)), 400)
        message = str(error)
        # An error that is not in the table, and about no value, is the server's.
        if status == 400 and not isinstance(error, ValueError):
            status = 500
    message = message[:1].upper() + message[1:]
    context = {"title": TITLES.get(status, "Something went wrong"), "message": message}
    return await page(request, "message.html", context, status=status)
