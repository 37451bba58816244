"""The path that the console is mounted at, in the way that Starlette expects it, whichever framework mounts it.

Starlette and FastAPI leave a request's path as it is and name the mount in ``root_path``. Litestar takes the mount out
of the path, ends the path with a slash, and names the mount nowhere; ``raw_path`` still has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from starlette.types import Scope

__all__ = ["with_mount"]


def with_mount(scope: Scope) -> Scope:
    """Return a request's scope whose path has the mount, and whose root path names it."""
    raw = scope.get("raw_path")
    # Not all servers have it: then the path is taken as it is.
    if not raw:
        return scope
    whole, rest = unquote(raw.partition(b"?")[0].decode("latin-1")), str(scope["path"]).rstrip("/")
    if whole.rstrip("/") == rest or not whole.rstrip("/").endswith(rest):
        return scope
    mount = whole.rstrip("/").removesuffix(rest)
    return {**scope, "path": f"{mount}{rest or '/'}", "root_path": mount}
