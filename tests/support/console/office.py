"""What the console's tests and pictures show: orders that are reserved, charged and packed, some of them not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import attrs
import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Mount

from statechain import (
    BatchExecutionOptions,
    Engine,
    Execution,
    ExecutionFilter,
    ExecutionNotFound,
    StateMachine,
    TaskError,
    TaskRegistry,
)
from statechain.console import Access, Grant, app

__all__ = ["ORDERS", "Office", "as_user", "client", "open_office"]

ORDERS: dict[str, Any] = {
    "StartAt": "Reserve",
    "States": {
        "Reserve": {"Type": "Task", "Resource": "reserve", "ResultPath": "$.reservation", "Next": "IsLarge"},
        "IsLarge": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.total", "NumericGreaterThan": 1000, "Next": "Approve"}],
            "Default": "Fulfil",
        },
        "Approve": {
            "Type": "Task",
            "Resource": "ask.waitForTaskToken",
            "Parameters": {"token.$": "$$.Task.Token"},
            "ResultPath": "$.approval",
            "Next": "Fulfil",
        },
        "Fulfil": {
            "Type": "Parallel",
            "Branches": [
                {"StartAt": "Charge", "States": {"Charge": {"Type": "Task", "Resource": "charge", "End": True}}},
                {"StartAt": "Pack", "States": {"Pack": {"Type": "Task", "Resource": "pack", "End": True}}},
            ],
            "ResultPath": "$.done",
            "End": True,
        },
    },
}
INVOICES = {"StartAt": "Print", "States": {"Print": {"Type": "Task", "Resource": "print", "End": True}}}


@attrs.define
class Office:
    """An engine, its machines, and one execution of each kind."""

    engine: Engine
    orders: StateMachine
    invoices: StateMachine
    broken: set[str]
    seen: dict[str, Execution] = attrs.field(factory=dict)

    async def batch(self) -> str:
        """Return the id of the newest batch."""
        return (await self.engine.list_batches())[0].id


@asynccontextmanager
async def open_office(url: str, *, orders: int = 8) -> AsyncIterator[Office]:
    """Open an engine with some orders: one in four has a card that is declined, one waits for an approval."""
    tasks = TaskRegistry()
    broken: set[str] = {"print"}

    @tasks.register
    async def reserve(order: dict[str, Any]) -> str:
        return f"reservation {order['id']}"

    @tasks.register
    async def ask(_request: Any) -> None:
        return None

    @tasks.register
    async def charge(order: dict[str, Any]) -> dict[str, Any]:
        if order["id"] % 4 == 3 and "charge" not in broken:
            raise TaskError("Card.Declined", f"the card of order {order['id']} was declined")
        return {"charged": order["total"]}

    @tasks.register
    async def pack(order: dict[str, Any]) -> dict[str, Any]:
        return {"packed": order["id"]}

    @tasks.register("print")
    async def print_invoice(order: dict[str, Any]) -> dict[str, Any]:
        if "print" in broken and order["id"] % 3 == 1:
            raise TaskError("Printer.Jam", "the paper is jammed")
        return {"invoice": order["id"]}

    async with Engine(url, tasks=tasks) as engine:
        office = Office(
            engine=engine,
            orders=await engine.create_state_machine("orders", ORDERS),
            invoices=await engine.create_state_machine("invoices", INVOICES),
            broken=broken,
        )
        for number in range(orders):
            handle = await office.orders.start_execution(
                {"id": number, "total": 40 + number, "secret": "s3cret-payload"}, name=f"order-{number}"
            )
            ended = await handle.wait()
            office.seen.setdefault(ended.status.lower(), ended)
        waiting = await office.orders.start_execution({"id": 900, "total": 2500}, name="order-900")
        while not await engine.list_waiting_tasks():  # noqa: ASYNC110 -- the storage has no event to await
            await asyncio.sleep(0.001)  # until it is stored
        office.seen["waiting"] = await engine.get_execution(waiting.id)
        await office.invoices.execute_batch(
            ExecutionFilter(state_machine_id=office.orders.id, status="SUCCEEDED"),
            options=BatchExecutionOptions(name_prefix="invoices"),
        )
        yield office
        with suppress(ExecutionNotFound):
            await engine.stop_execution(waiting.id)


def as_user(*verbs: str, name: str | None = "ann") -> Access:
    """Return an access function that grants verbs to every user."""
    return lambda _request: Grant(verbs, name)


def client(
    engine: Engine | Callable[[Request], Engine],
    access: Access | None = None,
    *,
    prefix: str = "",
    root_path: str = "",
    **headers: str,
) -> httpx.AsyncClient:
    """Return a client of a console that is mounted at a prefix, behind a proxy's path."""
    console: Any = app(engine, access=access)
    if prefix:
        console = Starlette(routes=[Mount(prefix, console)])
    transport = httpx.ASGITransport(console, client=("127.0.0.1", 50000), root_path=root_path)
    given = {"Sec-Fetch-Site": "same-origin", **headers}
    return httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=given)
