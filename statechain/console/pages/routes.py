"""The routes of all pages."""

from __future__ import annotations

from starlette.routing import Route

from statechain.console.pages import (
    batches,
    chain,
    events,
    execution,
    executions,
    machines,
    overview,
    payload,
    statistics,
    waiting,
)

__all__ = ["routes"]


def routes() -> list[Route]:
    """Return the routes of all pages."""
    return [
        Route("/", overview.show),
        Route("/executions", executions.show),
        Route("/executions/{id}", execution.show),
        Route("/executions/{id}/events", events.show),
        Route("/executions/{id}/timeline", execution.timeline),
        Route("/executions/{id}/payload", payload.show),
        Route("/executions/{id}/chain", chain.show),
        Route("/machines", machines.show_all),
        Route("/machines/{id}", machines.show),
        Route("/batches", batches.show_all),
        # Before `{id}`, which would match it.
        Route("/batches/new", batches.new),
        Route("/batches/{id}", batches.show),
        Route("/batches/{id}/counts", batches.counts),
        Route("/waiting", waiting.show_all),
        Route("/waiting/task", waiting.show),
        Route("/statistics", statistics.show),
    ]
