"""A TCP proxy before a database that cuts, loses and delays what passes, at chosen calls.

It knows no protocol: what a client sends at one go, from the first byte of a connection to the last, is a call, and a
driver sends a statement at one go.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from enum import Enum
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

import attrs

__all__ = ["Cut", "Proxy"]

CHUNK = 1 << 16


class Cut(Enum):
    """What happens to a call."""

    BEFORE = "the connection is cut before the server has seen it"
    AFTER = "the connection is cut when the server has done it, and before any of its reply is passed on"
    MIDWAY = "the connection is cut in the middle of the reply"
    HALF = "the server's side of the connection is closed towards the client, and stays open towards the server"
    STALL = "it reaches the server late"
    REFUSE = "the connection is cut, and new ones are refused for a while"


@attrs.define(eq=False)
class _Link:
    """One connection of a client, and the one to the server behind it. ``passes``: bytes of replies before a cut."""

    client: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    server: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    passes: int | None = None
    is_deaf: bool = False

    def cut(self) -> None:
        for _, writer in (self.client, self.server):
            writer.transport.abort()


class Proxy:
    """A proxy before the server of a URL; an async context manager.

    Attributes:
        calls: How many calls there have been, over all connections.

        stall: For how many seconds a call is held back, or connections are refused.
    """

    def __init__(self, url: str, faults: Mapping[int, Cut], *, stall: float = 2.0) -> None:
        self._target = urlsplit(url)
        self._faults = faults
        self._tasks: set[asyncio.Task[None]] = set()
        self._links: set[_Link] = set()
        self._refuses_until = 0.0
        self.calls = 0
        self.stall = stall

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        for link in tuple(self._links):
            link.cut()
        while self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        """The URL of the database, through the proxy."""
        port = self._server.sockets[0].getsockname()[1]
        user, _, _ = self._target.netloc.rpartition("@")
        return urlunsplit(self._target._replace(netloc=f"{user}@127.0.0.1:{port}", query="sslmode=disable"))

    def lead_to(self, url: str) -> None:
        """Lead new connections to another server, and cut those that there are."""
        self._target = urlsplit(url)
        for link in tuple(self._links):
            link.cut()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if asyncio.get_running_loop().time() < self._refuses_until:
            writer.transport.abort()
            return
        server = await asyncio.open_connection(self._target.hostname, self._target.port)
        link = _Link((reader, writer), server)
        self._links.add(link)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass_calls(link))
                group.create_task(self._pass_replies(link))
        finally:
            self._links.discard(link)
            link.cut()

    async def _pass_calls(self, link: _Link) -> None:
        with contextlib.suppress(OSError):
            while data := await link.client[0].read(CHUNK):
                self.calls += 1
                if not await self._survives(link, self._faults.get(self.calls)):
                    return link.cut()
                link.server[1].write(data)
                await link.server[1].drain()
        return link.cut()

    async def _survives(self, link: _Link, fault: Cut | None) -> bool:
        """Prepare what is to happen to a call; return whether it reaches the server."""
        if fault is Cut.AFTER:
            link.passes = 0
        elif fault is Cut.MIDWAY:
            link.passes = 7
        elif fault is Cut.HALF:
            link.client[1].write_eof()
            link.is_deaf = True
        elif fault is Cut.STALL:
            await asyncio.sleep(self.stall)
        elif fault is Cut.REFUSE:
            self._refuses_until = asyncio.get_running_loop().time() + self.stall
        return fault not in {Cut.BEFORE, Cut.REFUSE}

    async def _pass_replies(self, link: _Link) -> None:
        with contextlib.suppress(OSError):
            while data := await link.server[0].read(CHUNK):
                if link.is_deaf:
                    continue
                link.client[1].write(data if link.passes is None else data[: link.passes])
                await link.client[1].drain()
                if link.passes is not None:
                    return link.cut()
        return link.cut()
