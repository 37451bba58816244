"""Where the storage of a command is, and an engine on it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

import attrs
import click

from statechain.cli.exits import Failure
from statechain.engine.engine import Engine
from statechain.storage.open import open_repository
from statechain.tasks.registry import TaskRegistry

__all__ = ["VARIABLES", "Storage", "storage_option"]

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

DEFAULT_URL = "sqlite:///statechain.db"
VARIABLES = ["STATECHAIN_URL", "DATABASE_URL"]
# Up to the last @: one in a password may have been left as it is.
PASSWORD = re.compile(r"[^:]+://[^:@/]*:(?P<password>.*)@", re.DOTALL)


@attrs.frozen(repr=False)
class Storage:
    """Where executions are kept: a URL that is never shown with its password."""

    url: str

    def __str__(self) -> str:
        return self.hide(self.url)

    def hide(self, text: str) -> str:
        """Return a string without the password, in case it holds it."""
        found = PASSWORD.match(self.url)
        password = None if found is None else found["password"]
        # Drivers decode it.
        for secret in {password, unquote(password)} if password else ():
            text = text.replace(f":{secret}@", ":***@")
            # A shorter one would blank out parts of words.
            if len(secret) > 3:
                text = text.replace(secret, "***")
        return text

    @asynccontextmanager
    async def engine(
        self,
        *,
        tasks: TaskRegistry | None = None,
        read_only: bool = False,
        recovery: bool = False,
        **options: Any,  # noqa: ANN401
    ) -> AsyncIterator[Engine]:
        """Open an engine that takes over nothing unless asked to; ``read_only`` wants a database that exists."""
        if read_only:
            self._check_exists()
        try:
            # Not to be opened: what is wrong with the URL, or missing of a driver, shows in making it.
            open_repository(self.url)
        except (ValueError, ImportError) as error:
            raise Failure(self.hide(str(error))) from None
        seconds = 30.0 if recovery else 5.0  # a worker outlives a restart of its database; at a terminal nothing waits
        async with Engine(self.url, tasks=tasks, recovery=recovery, connect_timeout=seconds, **options) as engine:
            yield engine

    def reader(self) -> AbstractAsyncContextManager[Engine]:
        """Open an engine that only reads: no lease is written, and no database made."""
        return self.engine(read_only=True, role="reader")

    def _check_exists(self) -> None:
        scheme, _, rest = self.url.partition("://")
        path = unquote(rest.partition("?")[0].removeprefix("/"))
        if scheme.lower().startswith("sqlite") and path and not Path(path).exists():
            raise Failure(
                f"there is no database {path} yet: run something first, or name another storage by --repository "
                f"or STATECHAIN_URL"
            )


def storage_option(command: FunctionT) -> FunctionT:
    """Add ``--repository``; the command gets it as ``storage``."""

    def read(ctx: click.Context, _param: click.Parameter, value: str | None) -> Storage:
        above = ctx.find_root().params.get("repository")
        explicit = ctx.get_parameter_source("storage") is click.core.ParameterSource.COMMANDLINE
        # Behind the command it counts most, then before the command, then in the environment.
        return Storage((value if explicit or above is None else above) or DEFAULT_URL)

    return click.option(
        "--repository",
        "storage",
        metavar="URL",
        envvar=VARIABLES,
        callback=read,
        help=f"The storage; STATECHAIN_URL or DATABASE_URL where it is left out, else {DEFAULT_URL}.",
    )(command)
