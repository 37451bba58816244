"""Orders as a web service: requests start executions, people answer them, and no deployment loses one.

    uvicorn app:app --app-dir examples/service

Run as many of these as you like on one PostgreSQL database (SQLite: see docs/how-to/deploy.md): each takes over what
another leaves when it is stopped or dies. With ROLE=client they only submit, and processes of
`statechain worker --tasks orders:tasks` run the orders (see examples/deploy).
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from orders import ORDERS, tasks
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from statechain import (
    Engine,
    Execution,
    ExecutionAlreadyExists,
    ExecutionNotFound,
    InvalidArgument,
    InvalidPayload,
    InvalidToken,
    StatechainError,
    TaskTimedOut,
)

URL = os.environ.get("DATABASE_URL") or "sqlite:///orders.db"
ROLE: Any = os.environ.get("ROLE") or "worker"  # Engine checks it
LEASE_SECONDS = float(os.environ.get("LEASE_SECONDS") or 30)
DRAIN_SECONDS = float(os.environ.get("DRAIN_SECONDS") or 5)


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[dict[str, Any]]:
    """Run an engine beside the server; when it stops, let work end for a while, and leave the rest to others."""
    drain = asyncio.timeout(None)
    with suppress(TimeoutError):
        async with drain, Engine(URL, tasks=tasks, role=ROLE, lease=LEASE_SECONDS) as engine:
            yield {"engine": engine, "orders": await engine.create_state_machine("orders", ORDERS)}
            drain.reschedule(asyncio.get_running_loop().time() + DRAIN_SECONDS)


async def read_object(request: Request, *names: str) -> dict[str, Any]:
    """Return the body of a request, an object with these fields; another one is the client's mistake."""
    try:
        body = await request.json()
    except ValueError:
        raise HTTPException(400, "the body is not JSON") from None
    if not isinstance(body, dict) or not all(name in body for name in names):
        raise HTTPException(400, f"the body must be an object with {', '.join(names)}")
    return body


async def place_order(request: Request) -> JSONResponse:
    """Start an order's execution; the answer goes out once the start is durable. The same order twice is one."""
    order = await read_object(request, "id")
    handle = await request.state.orders.start_execution(order, name=f"order-{order['id']}")
    return JSONResponse({"execution": handle.id}, status_code=202, headers={"Location": f"/executions/{handle.id}"})


async def show_execution(request: Request) -> JSONResponse:
    """Return the status of an execution."""
    execution: Execution = await request.state.engine.get_execution(request.path_params["id"])
    return JSONResponse(
        {
            "status": execution.status,
            "state": execution.current_state,
            "output": execution.output,
            "error": execution.error,
            "cause": execution.cause,
        }
    )


async def approve(request: Request) -> JSONResponse:
    """Answer the task that waits under a token, in the process where it waits, or in any other."""
    answer = await read_object(request, "token", "approved", "by")
    if answer["approved"]:
        await request.state.engine.send_task_success(answer["token"], {"by": answer["by"]})
    else:
        await request.state.engine.send_task_failure(answer["token"], "Order.Refused", f"by {answer['by']}")
    return JSONResponse({}, status_code=202)


STATUS_CODES: dict[type[Exception], int] = {
    InvalidArgument: 400,
    InvalidPayload: 400,
    ExecutionNotFound: 404,
    InvalidToken: 404,
    ExecutionAlreadyExists: 409,
    TaskTimedOut: 410,
}


async def show_error(_request: Request, fault: Exception) -> JSONResponse:
    """Return what was wrong with a request, or with this service."""
    return JSONResponse({"error": type(fault).__name__, "message": str(fault)}, STATUS_CODES.get(type(fault), 500))


app = Starlette(
    routes=[
        Route("/orders", place_order, methods=["POST"]),
        Route("/executions/{id}", show_execution),
        Route("/approvals", approve, methods=["POST"]),
    ],
    exception_handlers={StatechainError: show_error},
    lifespan=lifespan,
)
