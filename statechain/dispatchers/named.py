"""A dispatcher's name → the dispatcher: one of this package, or an entry point of ``statechain.dispatchers``.

Each entry point is a function (or a class) that takes the URL of the workers' storage.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from typing import cast

from statechain.tickets import Dispatcher

__all__ = ["GROUP", "open_dispatcher"]

GROUP = "statechain.dispatchers"

_BUILT_IN = {"procrastinate": "statechain.dispatchers.procrastinate:ProcrastinateDispatcher"}
_MADE_IN_CODE = {
    "ray": "Ray runs its own workers, which are actors, and needs more than a URL: make "
    "RayDispatcher('app:make_engine', actors=4), from statechain.dispatchers.ray, and give it to the engine that "
    "starts batches"
}


def open_dispatcher(name: str, url: str) -> Dispatcher:
    """Return the dispatcher that is installed under a name; it connects when it is first used.

    Arguments:
        name: A name in the entry-point group ``statechain.dispatchers``, such as ``procrastinate``.

        url: The URL of the storage whose workers it connects.

    Raises:
        ValueError: No dispatcher has the name, or it cannot serve this storage.

        ImportError: Its engine is not installed; the message says what to install.
    """
    return _factory(name)(url)


def _factory(name: str) -> Callable[[str], Dispatcher]:
    if name in _BUILT_IN:
        module, _, attribute = _BUILT_IN[name].partition(":")
        return cast("Callable[[str], Dispatcher]", getattr(import_module(module), attribute))
    if name in _MADE_IN_CODE:
        raise ValueError(_MADE_IN_CODE[name])
    # Only for other names: to look at all that is installed takes milliseconds.
    found = entry_points(group=GROUP)
    if name not in found.names:
        known = ", ".join(sorted(_BUILT_IN.keys() | found.names))
        raise ValueError(f"no dispatcher is installed under the name {name!r}; the known ones are {known}")
    return cast("Callable[[str], Dispatcher]", found[name].load())
