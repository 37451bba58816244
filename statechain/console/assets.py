"""The files that pages load: styles, htmx, and a script of a few lines."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from statechain.console.rendering import respond
from statechain.drawing.style import stylesheet

__all__ = ["routes"]

FOLDER = Path(__file__).parent / "static"


def routes() -> list[BaseRoute]:
    """Return the routes of the files, and of the stylesheet of pictures."""
    return [Route("/static/pictures.css", _pictures), Mount("/static", StaticFiles(directory=FOLDER))]


async def _pictures(request: Request) -> Response:
    return respond(request, stylesheet().encode(), "text/css; charset=utf-8")
