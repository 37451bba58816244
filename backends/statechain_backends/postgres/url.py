"""A PostgreSQL URL → what asyncpg is given. No message here repeats the URL, which may hold a password."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal, Protocol, TypeAlias, cast, get_args
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlunsplit

import attrs

from statechain.errors import RepositoryError

__all__ = ["Settings", "parse"]

PoolMode: TypeAlias = Literal["session", "transaction"]

Purpose: TypeAlias = Literal["reads", "writes", "freezes"]
"""What a connection is for: reads and leases; the commits of the journal; a batch that freezes its sources."""

PORT = 5432

UNREADABLE = (
    "the PostgreSQL URL cannot be read: it is postgresql://user:password@host:port/database?options, several hosts are "
    "host:port,host:port, an IPv6 address is [::1]; write /, ? and # in a user or a password as %2F, %3F and %23"
)

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

OURS = {
    "pool_size": 5.0,
    "command_timeout": 120.0,
    "connect_timeout": 10.0,
    "lock_timeout": 0.5,
    "idle_in_transaction_session_timeout": 5.0,
}
"""Options that take a number, and their defaults."""

SESSION = frozenset({"lock_timeout", "idle_in_transaction_session_timeout"})
"""Those that are set once a connection is made, since a pooler refuses them at start-up; 0 leaves the server's own."""

WORDS = frozenset({"application_name", "pool_mode", "statement_cache_size"})
"""Options of ours that take something else."""

FILES = ("sslcert", "sslcrl", "sslkey", "sslrootcert")
"""Options that name files, without which nothing can be connected to."""

FREEZES = 2
"""How many batches freeze their sources at once, each over a connection beside the pool."""

FREEZE_SECONDS = 3600.0
"""How long a batch may take to freeze its sources: a server that is gone for good is not waited for without end."""


NO_JIT = "jit = off"
"""No plan is compiled: where a cost is estimated high, that takes some hundred milliseconds, and saves few."""

BY_KEY = ("enable_seqscan = off", NO_JIT, "plan_cache_mode = force_generic_plan")
"""How statements of writes are planned: once for each connection, and by their keys.

Each of them names its rows by a key. But the server keeps a plan for as long as the tables are not analyzed, and while
a table is small it plans to read it from end to end: once 100,000 executions wait, each commit would read all of them.
A scan that cannot be avoided costs so much, where scans are off, that the plan would be compiled, too.
"""

_PARAMETERS: Mapping[Purpose, Sequence[str]] = {
    "reads": (NO_JIT,),
    "writes": BY_KEY,
    "freezes": ("statement_timeout = 0",),
}
"""What is set on a connection besides the time limits."""


@attrs.frozen
class Settings:
    """How to connect."""

    dsn: str = attrs.field(repr=False)
    place: str
    pool_size: int
    command_timeout: float
    connect_timeout: float
    application_name: str
    session: Mapping[str, float]
    hosts: Sequence[tuple[str, int]] = ()
    files: Mapping[str, str] = attrs.field(factory=dict)
    pool_mode: PoolMode | None = None
    """Whether a connection keeps its session, or gets one for each transaction; None: `poolers.resolve` finds out."""
    statement_cache_size: int | None = None
    """How many statements a connection keeps prepared; None: as many as the driver does."""

    def check_files(self) -> None:
        """Raise RepositoryError where a file that the URL names cannot be read; the driver does not say which."""
        for option, file in self.files.items():
            if not os.access(file, os.R_OK):
                raise RepositoryError(f"PostgreSQL: {option} in the URL names {file}, which cannot be read")

    def connection(self) -> dict[str, Any]:
        """Return the arguments of `asyncpg.connect`."""
        hosts = {"host": [host for host, _ in self.hosts], "port": [port for _, port in self.hosts]}
        return {
            "dsn": self.dsn,
            **(hosts if self.hosts else {}),
            **({} if self.statement_cache_size is None else {"statement_cache_size": self.statement_cache_size}),
            "timeout": self.connect_timeout,
            "command_timeout": self.command_timeout,
            # No limits: the statement of a commit is long, and is to be planned once for each connection.
            "max_cached_statement_lifetime": 0,
            "max_cacheable_statement_size": 0,
            "server_settings": {"application_name": self.application_name},
        }

    def pool(self, purpose: Purpose = "reads") -> dict[str, Any]:
        """Return the arguments of `asyncpg.create_pool`; a freeze may take as long as it takes."""
        found = {"min_size": 0, "max_size": self.pool_size, "init": partial(self.prepare, purpose=purpose)}
        if purpose == "freezes":
            return {**self.connection(), **found, "max_size": FREEZES, "command_timeout": FREEZE_SECONDS}
        return {**self.connection(), **found}

    async def prepare(self, connection: Executing, purpose: Purpose = "reads") -> None:
        """Set up a new connection.

        A row that another session has locked is waited for briefly, since every write of a group waits with it; and a
        worker that is stopped in the middle of a transaction must not hold its locks for ever.
        """
        parameters = self._parameters(purpose)
        if parameters and self.pool_mode != "transaction":
            await connection.execute("; ".join(f"SET {each}" for each in parameters))

    def begin(self, purpose: Purpose = "reads") -> str:
        """Return what begins a transaction, in one round trip; where its session is not its own, with its settings."""
        # A pooler gives the session to others afterwards: SET LOCAL ends with the transaction.
        parameters = self._parameters(purpose) if self.pool_mode == "transaction" else []
        return "; ".join(["BEGIN", *(f"SET LOCAL {each}" for each in parameters)])

    def _parameters(self, purpose: Purpose) -> list[str]:
        limits = [f"{name} = {round(seconds * 1000)}" for name, seconds in self.session.items() if seconds]
        return [*limits, *_PARAMETERS[purpose]]


class Executing(Protocol):
    """A connection, as far as it is set up."""

    async def execute(self, query: str, /) -> str:
        """Run statements."""


def parse(url: str) -> Settings:
    """Return the settings that a URL means; raise ValueError for options that are not known."""
    user, hosts, path, query = _split(url)
    options = dict(parse_qsl(query, keep_blank_values=True))
    unknown = sorted(options.keys() - LIBPQ - OURS.keys() - WORDS)
    if unknown:
        known = ", ".join(sorted({*LIBPQ, *OURS, *WORDS}))
        raise ValueError(f"PostgreSQL URLs take no option {unknown[0]!r}; they take {known}")
    numbers = {name: _number(name, options.pop(name, default)) for name, default in OURS.items()}
    application_name = options.pop("application_name", "statechain")
    pool_mode = options.pop("pool_mode", None)
    if pool_mode not in {None, *get_args(PoolMode)}:
        raise ValueError("pool_mode must be session or transaction, as the pooler's is")
    cache = options.pop("statement_cache_size", None)
    if cache is not None and not re.fullmatch(r"[0-9]{1,6}", cache):
        raise ValueError("statement_cache_size must be a whole number, 0 or more")
    places = [*_places(hosts)]
    shown = [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in places]
    is_plain = len(places) <= 1 and "[" not in hosts  # else asyncpg is given them as a list: it reads no such URL
    return Settings(
        dsn=urlunsplit(("postgresql", user + (hosts if is_plain else ""), path, urlencode(options), "")),
        place=",".join(shown or [options.get("host", "localhost")]) + path,
        pool_size=int(numbers["pool_size"]),
        command_timeout=numbers["command_timeout"],
        connect_timeout=numbers["connect_timeout"],
        application_name=application_name,
        session={name: numbers[name] for name in sorted(SESSION)},
        hosts=() if is_plain else places,
        files={option: options[option] for option in FILES if options.get(option)},
        pool_mode=cast("PoolMode | None", pool_mode),
        statement_cache_size=None if cache is None else int(cache),
    )


def _split(url: str) -> tuple[str, str, str, str]:
    """Return user and password up to the ``@``, percent-encoded; the hosts; the path; and the options."""
    rest = url.partition("://")[2]
    if "#" in rest:
        raise ValueError(UNREADABLE)
    address, _, query = rest.partition("?")
    authority, slash, path = address.partition("/")
    # An @ behind the first / or ? ends a password with one of these in it: half of it would be taken for a host.
    if "@" in path or "@" in query.partition("&")[0].partition("=")[0]:
        raise ValueError(UNREADABLE)
    credentials, at, hosts = authority.rpartition("@")
    user, colon, password = credentials.partition(":")
    return _encoded(user) + colon + _encoded(password) + at, hosts, slash + path, query


def _encoded(text: str) -> str:
    """Return a part of a URL with what is not encoded in it encoded, and what is left alone."""
    # Bytes that are no UTF-8, in a password, come through as they are.
    return quote(unquote(text, errors="surrogateescape"), safe="", errors="surrogateescape")


def _places(hosts: str) -> Iterator[tuple[str, int]]:
    """Yield each host with its port."""
    for each in hosts.split(",") if hosts else ():
        bracketed = re.fullmatch(r"\[([0-9A-Fa-f:.%\w]+)\](?::(\d+))?", each)
        plain = re.fullmatch(r"([^\[\]:]*)(?::(\d+))?", each)
        found = bracketed or plain
        if found is None or not 0 < int(found[2] or PORT) < 1 << 16:
            raise ValueError(UNREADABLE)
        yield unquote(found[1]) or "localhost", int(found[2] or PORT)


def _number(name: str, text: str | float) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if name in SESSION and text in {"0", "0.0", 0.0}:
        return 0.0
    least = 1 if name == "pool_size" else 0
    if not least <= number < float("inf") or number == 0:
        raise ValueError(f"{name} must be a number above 0" + (", or 0" if name in SESSION else ""))
    return number
