"""What is before every page: access, requests from other sites, and the headers that restrict the browser."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from statechain.console.access import Access, grant_of
from statechain.console.mounting import with_mount

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["GRANT", "Gate", "comes_from_elsewhere"]

logger = logging.getLogger(__name__)

GRANT = "statechain.console.grant"
"""Where a request's scope has its `Grant`: not in the host's session, and not in its state."""

SAFE = frozenset({"GET", "HEAD"})
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Gate:
    """Middleware: answers 403 to what has no access, and to what another site sends; adds the headers to all else."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let a request pass."""
        # The host's lifespan; there are no routes of WebSockets.
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = with_mount(scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                # Unless the page has a rule for itself (`rendering.respond`).
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        request = Request(scope, receive)
        try:
            # Before the method is looked at: what has no access learns nothing of what there is.
            grant = await grant_of(self._access, request)
        except HTTPException as error:  # such as 401, by which the host asks for a password
            refused = PlainTextResponse(f"{error.detail}\n", error.status_code, dict(error.headers or {}))
            await refused(scope, receive, send_with_headers)
            return
        if grant is None:
            refused = PlainTextResponse("The console is not open to you.\n", 403)
            await refused(scope, receive, send_with_headers)
            return
        if request.method not in SAFE and comes_from_elsewhere(request):
            logger.warning("console: refused a %s that another site sent", request.method)
            refused = PlainTextResponse("This request was sent by another site.\n", 403)
            await refused(scope, receive, send_with_headers)
            return
        await self._app({**scope, GRANT: grant}, receive, send_with_headers)


def comes_from_elsewhere(request: Request) -> bool:
    """Return whether a request was sent by a page of another origin, or does not say by which."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        # Sent by browsers, and set by no page. "none" is an address that was typed, and never a form.
        return site != "same-origin"
    origin = request.headers.get("origin")
    # Older browsers send Origin. One that the console supports sends no form without either.
    if origin is None:
        return True
    # "null" is a sandboxed frame, or a file.
    return urlsplit(origin).netloc.lower() != request.headers.get("host", "").lower() or origin == "null"
