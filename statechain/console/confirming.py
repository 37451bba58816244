"""The page between a form and what it does: how many are meant, or how many are done and that there are more."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from starlette.responses import Response

from statechain.console.rendering import page

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["confirmation"]


async def confirmation(
    request: Request,
    title: str,
    message: str,
    *,
    action: str,
    hidden: Iterable[tuple[str, str]],
    button: str | None,
    back: str,
) -> Response:
    """Return a page with a form that goes on, by a POST to a URL with hidden fields, and a link back.

    Without a ``button`` there is nothing left to do.
    """
    context = {"title": title, "message": message, "action": action, "hidden": hidden, "button": button, "back": back}
    return await page(request, "confirm.html", context, has_payloads=True)
