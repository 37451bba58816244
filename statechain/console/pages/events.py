"""The events of an execution, page by page; before the first one its failures, wherever in the history they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from statechain.console.pages.execution import opened
from statechain.console.queries import command_line, number
from statechain.console.rendering import page
from statechain.console.serving import may

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["show"]

EVENTS = 100
FAILURES = 50
LARGE = 1_000
"""From how many events on a running execution's page renews itself less often."""

# What is allowed, not what is forbidden: a detail that is new is hidden until it is listed.
WITHOUT_PAYLOAD = (
    "name",
    "error",
    "cause",
    "index",
    "length",
    "resource",
    "resourceType",
    "timeoutInSeconds",
    "heartbeatInSeconds",
)
"""The details that those see who may not see payloads."""

PAYLOADS = ("input", "output", "parameters")
FAILED = ("Failed", "TimedOut", "Aborted")


async def show(request: Request) -> Response:
    """Show a page of the events, in order or the last first; what is in them only to those who may see payloads."""
    engine, execution, context = await opened(request, "events")
    order = request.query_params.get("order", "failed_first")
    is_reverse = order == "newest_first"
    after = max(0, number(request.query_params.get("after"), 0))
    failures = FAILURES if order == "failed_first" and not after else 0
    found = await engine.page_execution_history(
        execution.id, after=after, limit=EVENTS + 1, reverse=is_reverse, failures=failures
    )
    shows_payloads = may(request, "payload")
    shown = found.events[:EVENTS]
    context |= {
        "failures": [_event(each, shows_payloads=shows_payloads) for each in found.failures],
        "most_failures": FAILURES,
        "events": [_event(each, shows_payloads=shows_payloads) for each in shown],
        "total": found.total,
        "order": order,
        "next": shown[-1]["id"] if len(found.events) > EVENTS else None,
        "after": after,
        "is_large": found.total > LARGE,
        "command": command_line("history", execution.id, *(["--reverse"] if is_reverse else [])),
    }
    return await page(request, "execution_events.html", context, has_payloads=shows_payloads)


def _event(event: Mapping[str, Any], *, shows_payloads: bool) -> dict[str, Any]:
    details: Mapping[str, Any] = next((value for key, value in event.items() if key.endswith("EventDetails")), {})
    shown = [
        (key, value if key in PAYLOADS else str(value))
        for key, value in details.items()
        if (shows_payloads or key in WITHOUT_PAYLOAD) and value is not None and not key.endswith("Details")
    ]
    return {
        "id": event["id"],
        "type": event["type"],
        "at": event["timestamp"],
        "details": shown,
        "payloads": PAYLOADS,
        "is_failure": event["type"].endswith(FAILED),
    }
