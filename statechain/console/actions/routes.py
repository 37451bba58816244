"""The routes of all actions."""

from __future__ import annotations

from starlette.routing import Route

from statechain.console.actions import answering, batches, executions, selections, starting

__all__ = ["routes"]


def routes() -> list[Route]:
    """Return the routes of all actions."""
    return [
        Route("/executions/selected", selections.act, methods=["POST"]),
        Route("/executions/{id}/stop", executions.ask_stop),
        Route("/executions/{id}/stop", executions.stop, methods=["POST"]),
        Route("/executions/{id}/redrive", executions.redrive, methods=["POST"]),
        Route("/executions/{id}/delete", executions.delete, methods=["POST"]),
        Route("/machines/{id}/start", starting.start, methods=["POST"]),
        Route("/batches/new", batches.start, methods=["POST"]),
        Route("/batches/{id}/resume", batches.resume, methods=["POST"]),
        Route("/batches/{id}/stop", batches.ask_stop),
        Route("/batches/{id}/stop", batches.stop, methods=["POST"]),
        Route("/batches/{id}/redrive", batches.redrive, methods=["POST"]),
        Route("/waiting/task", answering.answer, methods=["POST"]),
    ]
