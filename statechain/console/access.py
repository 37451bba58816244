"""Access to the console: which verbs a request may use, and the name of its user for the log.

The console has no login. An access function that the host gives answers for each request; without one, only requests
from this machine are answered.
"""

from __future__ import annotations

import inspect
import ipaddress
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Literal, TypeAlias

import attrs
from starlette.requests import Request

from statechain.errors import InvalidArgument

__all__ = ["ADMINISTRATOR", "OPERATOR", "READER", "VERBS", "Access", "Answer", "Grant", "grant_of", "loopback"]

VERBS: Mapping[str, str] = {
    "read": "see machines, executions, their visits and errors, batches, workers and statistics",
    "payload": "see inputs, outputs and what is in events",
    "stop": "stop executions",
    "redrive": "redrive executions that did not succeed",
    "answer": "answer or fail a task that waits under a token",
    "stop_batch": "stop a batch",
    "redrive_batch": "redrive what failed of a batch",
    "start": "start an execution",
    "start_batch": "start a batch, and resume one",
    "delete": "delete ended executions",
}
"""The verbs, each with what it permits. All but the first need "read" as well."""

READER = frozenset({"read"})
OPERATOR = READER | {"payload", "stop", "redrive", "answer", "stop_batch", "redrive_batch"}
ADMINISTRATOR = frozenset(VERBS)

# What proxies add: behind one, the client's address is the proxy's.
FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


def _to_verbs(verbs: Collection[str] | str) -> frozenset[str]:
    named = {"read": READER, "write": ADMINISTRATOR}
    # First: a string is a collection of strings, too, one for each letter.
    if isinstance(verbs, str):
        if verbs not in named:
            raise InvalidArgument(f"access is {verbs!r}: it must be 'read', 'write' or a set of verbs")
        return named[verbs]
    unknown = sorted(set(verbs) - VERBS.keys())
    if unknown:
        raise InvalidArgument(f"there is no verb {unknown[0]!r}; the verbs are {', '.join(VERBS)}")
    return frozenset(verbs)


@attrs.frozen
class Grant:
    """What a request may do, and on whose behalf.

    Attributes:
        verbs: ``"read"`` (what `READER` has), ``"write"`` (every verb), or a set of `VERBS`.

        user: The name that actions are logged under; None where the host has no names.
    """

    verbs: frozenset[str] = attrs.field(converter=_to_verbs)
    user: str | None = None

    def allows(self, verb: str) -> bool:
        """Return whether a verb may be used; without "read", none."""
        return "read" in self.verbs and verb in self.verbs


Answer: TypeAlias = "Grant | Collection[str] | Literal['read', 'write'] | None"
Access: TypeAlias = Callable[[Request], "Answer | Awaitable[Answer]"]
"""Returns what a request may do: None for nothing, "read", "write", a set of verbs, or a `Grant`; may be async."""


async def grant_of(access: Access, request: Request) -> Grant | None:
    """Return what an access function grants to a request; None where that is nothing."""
    answer = access(request)
    if inspect.isawaitable(answer):
        answer = await answer
    if answer is None:
        return None
    grant = answer if isinstance(answer, Grant) else Grant(answer)
    # Without "read" no page is left.
    return grant if grant.allows("read") else None


def loopback(verbs: Collection[str] | Literal["read", "write"] = READER | {"payload"}) -> Access:
    """Return an access function that grants verbs to requests from this machine, and nothing to others.

    A request that came through a proxy is another's, and so is one whose Host is no name of this machine.
    """
    grant = Grant(verbs)

    def access(request: Request) -> Grant | None:
        client = request.client
        is_local = client is not None and _is_loopback(client.host)
        is_direct = not any(name in request.headers for name in FORWARDED)
        # The Host, too: a page of another site may have its name resolve to 127.0.0.1 (DNS rebinding).
        return grant if is_local and is_direct and _host_name(request) in LOCAL_NAMES else None

    return access


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        # Not an address, as of a Unix socket: it is not known to be local.
        return False


def _host_name(request: Request) -> str:
    host = request.headers.get("host", "").lower()
    # An IPv6 address is in brackets, since it has colons itself.
    return host[: host.index("]") + 1] if host.startswith("[") and "]" in host else host.partition(":")[0]
