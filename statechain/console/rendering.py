"""Templates → responses: rendered in a thread, with an ETag, so that a page that is polled costs little.

Rendering is processor time. In a thread the host's event loop runs beside it, and is never held for longer than the
interpreter's switch interval.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import Response

from statechain.console import formats
from statechain.console.guarding import GRANT
from statechain.console.links import Links

if TYPE_CHECKING:
    from starlette.requests import Request

    from statechain.console.access import Grant

__all__ = ["links_of", "page", "respond"]

ENVIRONMENT = Environment(
    autoescape=True,
    loader=PackageLoader("statechain.console"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    # Else each page looks at the files of its templates.
    auto_reload=False,
)
ENVIRONMENT.filters.update(formats.FILTERS)
SECTIONS = (
    ("", "Overview"),
    ("executions", "Executions"),
    ("machines", "Machines"),
    ("batches", "Batches"),
    ("waiting", "Waiting"),
    ("statistics", "Statistics"),
)


def links_of(request: Request) -> Links:
    """Return what makes URLs below the path that the console is mounted at."""
    return Links(str(request.scope.get("root_path", "")).rstrip("/"))


async def page(
    request: Request,
    template: str,
    context: Mapping[str, Any],
    *,
    status: int = 200,
    has_payloads: bool = False,
) -> Response:
    """Return a page; one that ``has_payloads`` is stored nowhere, not even in the browser."""
    grant: Grant = request.scope[GRANT]
    links = links_of(request)
    section = request.url.path[len(links.base) :].strip("/").partition("/")[0]
    shared = {
        "to": links,
        "may": grant.allows,
        "user": grant.user,
        "sections": SECTIONS,
        "section": section,
        # An id that is new each time: htmx would keep an element of the same id, and not load again.
        "nonce": time.time_ns(),
        "here": request.url.path + (f"?{request.url.query}" if request.url.query else ""),
        "done": formats.DONE.get(request.query_params.get("done", "")),
    }
    body = await asyncio.to_thread(_render, template, {**shared, **context})
    return respond(request, body, "text/html; charset=utf-8", status=status, is_kept=not has_payloads and status == 200)


def _render(template: str, context: Mapping[str, Any]) -> bytes:
    # Names and causes may have lone surrogates, which have no UTF-8.
    return ENVIRONMENT.get_template(template).render(context).encode("utf-8", "replace")


def respond(request: Request, body: bytes, type_: str, *, status: int = 200, is_kept: bool = True) -> Response:
    """Return a response; one that is kept is asked for again each time, and answered by 304 where it is the same."""
    if not is_kept:
        # A payload is not to be found in the browser's cache after its user has left.
        return Response(body, status, {"Cache-Control": "no-store"}, media_type=type_)
    tag = f'"{blake2b(body, digest_size=16).hexdigest()}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    # A proxy that compresses makes a tag a weak one.
    if tag in [each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")]:
        return Response(status_code=304, headers=headers)
    return Response(body, status, headers, media_type=type_)
