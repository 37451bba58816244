"""A storage URL → a repository that is not open yet.

The built-in schemes are in a table of names, so that neither a driver nor an installed package is looked at before
its scheme is asked for; entry points are read only for a scheme that the table does not know. A URL may hold a
password: no message here repeats more of it than its scheme.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, TypeAlias, cast

from statechain.arguments import checked, text

if TYPE_CHECKING:
    from statechain.storage.repository import Repository

__all__ = ["open_repository"]

Factory: TypeAlias = "Callable[[str], Repository]"

GROUP = "statechain.backends"

_BUILT_IN = {
    "memory": "statechain_backends.memory.repository:MemoryRepository",
    "postgres": "statechain_backends.postgres.repository:PostgresRepository",
    "postgresql": "statechain_backends.postgres.repository:PostgresRepository",
    "postgresql+asyncpg": "statechain_backends.postgres.repository:PostgresRepository",
    "sqlite": "statechain_backends.sqlite.repository:SQLiteRepository",
    "sqlite+aiosqlite": "statechain_backends.sqlite.repository:SQLiteRepository",
}

_DRIVERS = {"aiosqlite", "alembic", "asyncpg", "sqlalchemy"}
"""Modules of the built-in backends that have the names of their distributions."""

_OWN = {"statechain", "statechain_backends"}


@checked(url=text("a storage URL"))
def open_repository(url: str) -> Repository:
    """Return the repository that a URL means; enter it (``async with``) to open its storage.

    Arguments:
        url: ``memory://``, ``sqlite:///relative.db``, ``sqlite:////absolute.db``, ``sqlite://`` (private, in memory)
            or ``postgresql://user:password@host:port/database?options``; SQLAlchemy's driver suffixes
            (``sqlite+aiosqlite``, ``postgresql+asyncpg``) and ``postgres://`` are accepted. Other schemes are looked
            up by name in the entry-point group ``statechain.backends``, whose objects take the URL.

    Raises:
        ValueError: The scheme is unknown, or what follows it is not what its backend takes.
        ImportError: The backend's driver is not installed; the message says what to install.
    """
    scheme = _scheme(url)
    try:
        factory = _factory(scheme)
    except ModuleNotFoundError as fault:
        raise ImportError(_missing(scheme, (fault.name or "statechain").partition(".")[0])) from fault
    return factory(url)


def _missing(scheme: str, module: str) -> str:
    """Return what to do about a module that is not installed.

    Only names of distributions that are known to have the module are advised: a name that merely looks right may be
    registered by a stranger.
    """
    if module in _DRIVERS:
        return f"{scheme}:// needs {module}, which is not installed: pip install {module}"
    if module in _OWN:
        return f"{scheme}:// needs {module}, and its installation lacks it: pip install --force-reinstall statechain"
    return f"{scheme}:// needs the module {module}, which is not installed: see its backend's documentation"


def _scheme(url: str) -> str:
    match = re.match(r"([a-z][a-z0-9+.-]*)://", url, re.IGNORECASE)
    if match is None:
        raise ValueError("a storage URL starts with its scheme, as in sqlite:///shop.db or postgresql://localhost/shop")
    return match[1].lower()


def _factory(scheme: str) -> Factory:
    if scheme in _BUILT_IN:
        module, _, name = _BUILT_IN[scheme].partition(":")
        return cast("Factory", getattr(import_module(module), name))
    from importlib.metadata import entry_points  # noqa: PLC0415 -- only other schemes pay for it

    found = entry_points(group=GROUP)
    if scheme not in found.names:
        known = ", ".join(sorted(_BUILT_IN.keys() | found.names))
        raise ValueError(f"no storage backend is known for {scheme}://; the known schemes are {known}")
    return cast("Factory", found[scheme].load())
