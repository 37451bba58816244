"""``console``: the console's pages, served on this machine by uvicorn."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from statechain.cli.command import asynchronous
from statechain.cli.exits import Failure
from statechain.cli.options.handlers import tasks_option
from statechain.cli.storage import Storage, storage_option
from statechain.cli.terminal import echo_err
from statechain.tasks.registry import TaskRegistry

if TYPE_CHECKING:
    from statechain.engine.engine import Engine

__all__ = ["console"]

PORT = 8080
GRACE = 5.0
"""How many seconds what runs in this process gets to end; the rest is handed over."""

NEEDED = {"jinja2", "multipart", "python_multipart", "starlette", "uvicorn"}


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0 takes a free one.")
@click.option("--write", is_flag=True, help="Let the pages stop, redrive, answer, start, delete; else they read.")
@click.option("--payloads/--no-payloads", default=True, show_default=True, help="Show inputs and outputs.")
@tasks_option
@storage_option
@asynchronous
async def console(port: int, tasks: TaskRegistry | None, storage: Storage, *, write: bool, payloads: bool) -> None:
    """Serve the console on 127.0.0.1, to this machine alone, until Ctrl-C.

    With --write, workers run what is redriven or started; with --tasks as well, this process does. To give others
    access, mount the console in a service that knows who they are (see the page "The console" of the documentation).
    """
    if write:
        role = "client" if tasks is None else "worker"  # without handlers, workers run what is started or redriven
        limit = asyncio.timeout(None)
        try:
            async with limit, storage.engine(tasks=tasks, read_only=True, role=role) as engine:
                await _serve(engine, port, write=True, payloads=payloads)
                # From now on: the engine, which is left next, has as long for what runs.
                limit.reschedule(asyncio.get_running_loop().time() + GRACE)
        except TimeoutError:
            echo_err("handed over what still ran")
    else:
        async with storage.reader() as engine:
            await _serve(engine, port, write=False, payloads=payloads)


async def _serve(engine: Engine, port: int, *, write: bool, payloads: bool) -> None:
    try:
        import uvicorn  # noqa: PLC0415 -- it comes with the extra

        from statechain import console as pages  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in NEEDED:
            raise
        raise Failure(f"the console needs {error.name}: pip install 'statechain[cli,console]'") from None
    verbs = pages.ADMINISTRATOR if write else pages.READER | {"payload"}
    app = pages.app(engine, access=pages.loopback(verbs if payloads else verbs - {"payload"}))
    # No forwarded headers: they would give a request from elsewhere an address of this machine.
    config = uvicorn.Config(app, log_level="warning", lifespan="off", proxy_headers=False)
    try:
        # Bound here, not by uvicorn: for an error in words, and for the number of a port that is chosen by 0.
        listener = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise Failure(f"port {port} of this machine cannot be listened on: {error.strerror}") from None
    # What was loaded is not looked at again by each full collection, which would hold the event loop for that long.
    gc.collect()
    gc.freeze()
    with listener:
        what = "reads and writes" if write else "only reads"
        echo_err(f"the console is at http://127.0.0.1:{listener.getsockname()[1]}/ and {what}; Ctrl-C ends it")
        with suppress(NotImplementedError):  # on Windows, whose event loops take no signals
            asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)  # uvicorn ends by it, not this command
        # uvicorn raises SIGTERM again once it has ended, which must not end the process before the engine is left.
        before = signal.signal(signal.SIGTERM, lambda *_: None)
        try:
            await uvicorn.Server(config).serve(sockets=[listener])
        finally:
            signal.signal(signal.SIGTERM, before)
