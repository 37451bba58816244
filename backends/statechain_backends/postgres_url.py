"""A PostgreSQL URL → what asyncpg is given. No message here repeats the URL, which may hold a password."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import attrs

__all__ = ["Settings", "parse"]

LIBPQ = frozenset(
    {
        "database",
        "dbname",
        "gsslib",
        "host",
        "krbsrvname",
        "passfile",
        "password",
        "port",
        "service",
        "ssl_max_protocol_version",
        "ssl_min_protocol_version",
        "sslcert",
        "sslcrl",
        "sslkey",
        "sslmode",
        "sslnegotiation",
        "sslpassword",
        "sslrootcert",
        "target_session_attrs",
        "user",
    }
)
"""Options that asyncpg reads from the URL itself; any other it would hand to the server as a setting."""

OURS = {"pool_size": 5.0, "command_timeout": 120.0, "connect_timeout": 10.0}
"""Options that take a number, and their defaults."""


@attrs.frozen
class Settings:
    """How to connect."""

    dsn: str = attrs.field(repr=False)
    place: str
    pool_size: int
    command_timeout: float
    connect_timeout: float
    application_name: str

    def connection(self) -> dict[str, Any]:
        """Return the arguments of `asyncpg.connect`."""
        return {
            "dsn": self.dsn,
            "timeout": self.connect_timeout,
            "command_timeout": self.command_timeout,
            "max_cached_statement_lifetime": 0,
            "max_cacheable_statement_size": 0,
            "server_settings": {
                "application_name": self.application_name,
                # A worker that is stopped in mid-transaction must not hold its locks for ever.
                "idle_in_transaction_session_timeout": "5s",
            },
        }

    def pool(self) -> dict[str, Any]:
        """Return the arguments of `asyncpg.create_pool`."""
        return {"min_size": 0, "max_size": self.pool_size, **self.connection()}


def parse(url: str) -> Settings:
    """Return the settings that a URL means; raise ValueError for options that are not known."""
    try:
        parts = urlsplit(url)
        place = f"{parts.hostname or 'localhost'}:{parts.port or 5432}{parts.path}"
    except ValueError:
        raise ValueError("the PostgreSQL URL cannot be read: write :, / and @ in a password as %3A, %2F, %40") from None
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(options.keys() - LIBPQ - OURS.keys() - {"application_name"})
    if unknown:
        known = ", ".join(sorted({*LIBPQ, *OURS, "application_name"}))
        raise ValueError(f"PostgreSQL URLs take no option {unknown[0]!r}; they take {known}")
    numbers = {name: _number(name, options.pop(name, default)) for name, default in OURS.items()}
    application_name = options.pop("application_name", "statechain")
    return Settings(
        dsn=urlunsplit(("postgresql", parts.netloc, parts.path, urlencode(options), "")),
        place=place,
        pool_size=int(numbers["pool_size"]),
        command_timeout=numbers["command_timeout"],
        connect_timeout=numbers["connect_timeout"],
        application_name=application_name,
    )


def _number(name: str, text: str | float) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    least = 1 if name == "pool_size" else 0
    if not least <= number < float("inf") or number == 0:
        raise ValueError(f"{name} must be a number above 0")
    return number
