"""A service with the console mounted in it, as the browser tests run it.

`python service.py DATABASE PORT COUNT` has COUNT executions that ended yesterday.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

sys.path.insert(0, str(Path(__file__).parents[2]))

from statechain.console import ADMINISTRATOR, app
from support.console.office import as_user, open_office

COLUMNS = (
    "id, name, state_machine_id, state_machine_revision, status, input, start_time, end_time, redrive_count, epoch"
)


def old_executions(machine: str, count: int) -> Iterator[tuple[object, ...]]:
    """Yield executions that have ended; number 54,321 failed."""
    micros = int(time.time() * 1e6) - 86_400 * 10**6
    for number in range(count):
        status = "FAILED" if number == 54_321 else "SUCCEEDED"
        start = micros + number * 1000
        yield (f"old-{number:06}", f"parcel-{number}", machine, 1, status, "{}", start, start + 900, 0, 1)


def load(database: str, machine: str, count: int) -> None:
    """Insert them by SQL."""
    connection = sqlite3.connect(database)
    marks = ", ".join("?" * (COLUMNS.count(",") + 1))
    connection.executemany(f"INSERT INTO executions ({COLUMNS}) VALUES ({marks})", old_executions(machine, count))
    connection.execute("UPDATE executions SET error = 'Parcel.Lost', cause = 'left at sea' WHERE id = 'old-054321'")
    connection.commit()
    connection.close()


def service(database: str, count: int) -> Starlette:
    """Return the service: the console at /statechain, and a path that repairs the printer."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[dict[str, Any]]:
        async with open_office(f"sqlite:///{database}") as office:
            await asyncio.to_thread(load, database, office.orders.id, count)
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            yield {"office": office}
            sys.stdout.write("leaving\n")
            sys.stdout.flush()

    async def mend(request: Request) -> PlainTextResponse:
        request.state.office.broken.clear()
        return PlainTextResponse("mended")

    console = app(lambda request: request.state.office.engine, access=as_user(*ADMINISTRATOR))
    routes = [Mount("/statechain", console), Route("/mend", mend, methods=["POST"])]
    return Starlette(routes=routes, lifespan=lifespan)


if __name__ == "__main__":
    uvicorn.run(service(sys.argv[1], int(sys.argv[3])), port=int(sys.argv[2]), log_level="warning")
