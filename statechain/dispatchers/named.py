"""A dispatcher's name → the dispatcher: by the entry points of the group ``statechain.dispatchers``.

Each entry point is a function (or a class) that takes the URL of the workers' storage.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import cast

from statechain.tickets import Dispatcher

__all__ = ["GROUP", "open_dispatcher"]

GROUP = "statechain.dispatchers"


def open_dispatcher(name: str, url: str) -> Dispatcher:
    """Return the dispatcher that is installed under a name; it connects when it is first used.

    Arguments:
        name: A name in the entry-point group ``statechain.dispatchers``, such as ``procrastinate``.

        url: The URL of the storage whose workers it connects.

    Raises:
        ValueError: No dispatcher has the name, or it cannot serve this storage.

        ImportError: Its engine is not installed; the message says what to install.
    """
    found = entry_points(group=GROUP)
    if name not in found.names:
        known = ", ".join(sorted(found.names)) or "none"
        raise ValueError(f"no dispatcher is installed under the name {name!r}; the known ones are {known}")
    factory = cast("Callable[[str], Dispatcher]", found[name].load())
    return factory(url)
