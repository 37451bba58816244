"""The page between a form and what it does: how many are meant, or how many are done and that there are more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    about: Sequence[str] = (),
    asks_cause: bool = False,
) -> Response:
    """Return a page with a form that goes on, by a POST to a URL with hidden fields, and a link back.

    Without a ``button`` there is nothing left to do. ``about`` says what is meant, line by line; ``asks_cause`` adds a
    field for a cause.
    """
    context = {
        "title": title,
        "message": message,
        "action": action,
        "hidden": hidden,
        "button": button,
        "back": back,
        "about": about,
        "asks_cause": asks_cause,
    }
    return await page(request, "confirm.html", context, has_payloads=True)
