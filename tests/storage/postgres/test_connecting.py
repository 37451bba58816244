"""How PostgreSQL is connected to: what a URL may say, what a server must be, and what is said where it is not."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import quote, urlsplit

import asyncpg
import pytest

from statechain import Engine, ExecutionFilter, PostgresRepository, RepositoryError
from statechain.errors import RepositoryUnavailable
from statechain_backends.postgres.url import parse
from support.postgres import Postgres, PrivateServer

TAKEN_BY_POOLERS = {"client_encoding", "datestyle", "timezone", "standard_conforming_strings", "application_name"}
"""What PgBouncer takes at start-up with its defaults, beside user and database."""


# URLs


def hosts_of(url: str) -> list[object]:
    arguments = parse(url).connection()
    return [*zip(arguments.get("host", ()), arguments.get("port", ()), strict=True)]


def test_a_url_names_several_hosts_each_with_its_port() -> None:
    settings = parse("postgresql://scott:tiger@one:1,two:2,[::1]:3,four/shop?target_session_attrs=read-write")
    assert settings.place == "one:1,two:2,[::1]:3,four:5432/shop"
    assert settings.connection()["host"] == ["one", "two", "::1", "four"]
    assert settings.connection()["port"] == [1, 2, 3, 5432]
    assert "target_session_attrs=read-write" in settings.dsn


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgresql://[::1]/shop", [("::1", 5432)]),
        ("postgresql://scott@[fe80::1%25eth0]:77/shop", [("fe80::1%eth0", 77)]),
        ("postgresql://a,b:2/shop", [("a", 5432), ("b", 2)]),
    ],
)
def test_hosts_are_read(url: str, hosts: list[object]) -> None:
    assert hosts_of(url) == hosts


@pytest.mark.parametrize("url", ["postgresql://a:x/shop", "postgresql://::1/shop", "postgresql://a:70000/shop"])
def test_hosts_that_cannot_be_read_are_refused_without_repeating_them(url: str) -> None:
    with pytest.raises(ValueError, match="cannot be read: it is postgresql://user:password@host"):
        parse(url)


@pytest.mark.parametrize("target", ["127.0.0.1:9,{host}", "{host},127.0.0.1:9"])
async def test_the_host_that_answers_is_used(postgres_url: str, target: str) -> None:
    parts = urlsplit(postgres_url)
    user, _, host = parts.netloc.rpartition("@")
    url = f"postgresql://{user}@{target.format(host=host)}{parts.path}?target_session_attrs=read-write"
    async with PostgresRepository(url) as repository:
        assert await repository.batches(page=1) == []


async def test_no_host_that_takes_writes_is_an_outage(postgres_url: str) -> None:
    with pytest.raises(RepositoryUnavailable, match="target_session_attrs"):
        await PostgresRepository(f"{postgres_url}?target_session_attrs=standby").__aenter__()


async def test_a_password_holds_any_character(postgres_server: Postgres, postgres_url: str) -> None:
    if not isinstance(postgres_server, PrivateServer):
        pytest.skip("the server was not started here: it cannot be made to ask for passwords")
    password = "".join(map(chr, range(32, 127))) + "ß😀"
    postgres_server.create_login("scott", password)
    parts = urlsplit(postgres_url)
    host = parts.netloc.rpartition("@")[2]
    for written in (quote(password, safe=""), quote(password, safe="!$&'()*+,;=:@[]")):
        url = f"postgresql://scott:{written}@{host}{parts.path}"
        async with PostgresRepository(url) as repository:
            assert await repository.batches(page=1) == []
            assert repr(repository) == f"<PostgresRepository {host}{parts.path}>"
    with pytest.raises(RepositoryError, match="the password, is not accepted"):
        await PostgresRepository(f"postgresql://scott:tiger@{host}{parts.path}").__aenter__()


async def test_an_address_of_ipv6_is_connected_to(postgres_server: Postgres, postgres_url: str) -> None:
    if not (isinstance(postgres_server, PrivateServer) and has_ipv6()):
        pytest.skip("no server listens on ::1")
    parts = urlsplit(postgres_url)
    async with PostgresRepository(f"postgresql://{parts.username}@[::1]:{parts.port}{parts.path}") as repository:
        assert await repository.batches(page=1) == []
        assert repr(repository) == f"<PostgresRepository [::1]:{parts.port}{parts.path}>"


def has_ipv6() -> bool:
    with suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


async def test_a_unix_socket_is_named_by_its_folder(postgres_server: Postgres, postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    try:
        folder = await connection.fetchval("SELECT current_setting('unix_socket_directories')")
    finally:
        await connection.close()
    if not folder:
        pytest.skip("the server has no socket")
    parts = urlsplit(postgres_url)
    user, port, folder = parts.username, parts.port, folder.split(",")[0]
    for url in (
        f"postgresql://{user}@{quote(folder, safe='')}:{port}{parts.path}",
        f"postgresql://{user}@{parts.path}?host={quote(folder)}&port={port}",
    ):
        async with PostgresRepository(url) as repository:
            assert await repository.batches(page=1) == []
    assert postgres_server


# Start-up


@asynccontextmanager
async def serving(serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[int]:
    """Yield the port of a server; return once each of its connections is closed, which its clients end."""
    handlers: list[asyncio.Task[None]] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            try:
                await serve(reader, writer)
            finally:
                writer.close()
                await writer.wait_closed()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.append(asyncio.create_task(handle(reader, writer)))

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
    await asyncio.gather(*handlers)


@asynccontextmanager
async def listening(reply: bytes = b"") -> AsyncIterator[tuple[int, list[bytes]]]:
    """Yield the port of a server that gives one reply to what each client says first, and what they said."""
    heard: list[bytes] = []

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(4096))
        writer.write(reply)
        await reader.read()

    async with serving(hear) as port:
        yield port, heard


async def test_the_start_up_asks_for_nothing_that_a_pooler_refuses() -> None:
    async with listening() as (port, heard):
        repository = PostgresRepository(f"postgresql://scott@127.0.0.1:{port}/shop?sslmode=disable&connect_timeout=0.5")
        with pytest.raises(RepositoryUnavailable):
            await repository.__aenter__()
    names = set(heard[0][8:].decode().split("\0")[0::2]) - {""}
    assert names - {"user", "database"} <= TAKEN_BY_POOLERS


def error_reply(state: str, message: str) -> bytes:
    fields = b"SFATAL\0C" + state.encode() + b"\0M" + message.encode() + b"\0\0"
    return b"E" + (len(fields) + 4).to_bytes(4, "big") + fields


async def test_a_start_up_parameter_that_a_pooler_refuses_is_named() -> None:
    reply = error_reply("08P01", "unsupported startup parameter: application_name")
    async with listening(reply) as (port, _):
        said = await refusal_of(f"postgresql://scott:tiger@127.0.0.1:{port}/shop?sslmode=disable")
    assert "refuses the start-up parameter application_name" in said
    assert "ignore_startup_parameters" in said


@pytest.mark.parametrize("state", ["26000", "42P05"])
async def test_a_session_that_is_not_kept_names_the_option(state: str) -> None:
    async with listening(error_reply(state, "prepared statement")) as (port, _):
        said = await refusal_of(f"postgresql://scott:tiger@127.0.0.1:{port}/shop?sslmode=disable")
    assert "write pool_mode=transaction in the URL" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("pool_mode=statement", "pool_mode must be session or transaction"),
        ("statement_cache_size=-1", "statement_cache_size must be a whole number"),
        ("statement_cache_size=many", "statement_cache_size must be a whole number"),
    ],
)
def test_options_for_poolers_are_checked(options: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(f"postgresql://scott@one/shop?{options}")


@pytest.mark.parametrize(
    ("options", "limits"),
    [
        ("", ("500ms", "5s")),
        ("?lock_timeout=2&idle_in_transaction_session_timeout=60", ("2s", "1min")),
        ("?lock_timeout=0&idle_in_transaction_session_timeout=0", ("0", "0")),
    ],
)
async def test_time_limits_of_the_session_are_options(postgres_url: str, options: str, limits: object) -> None:
    async with PostgresRepository(postgres_url + options) as repository, repository._connections.lend() as connection:
        row = await connection.fetchrow(
            "SELECT current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout')"
        )
    assert tuple(row) == limits


# Encodings


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
async def test_a_database_in_another_encoding_is_refused_with_the_command_that_makes_one(
    postgres_server: Postgres, encoding: str
) -> None:
    name = f"shop_{encoding.lower()}"
    how = f"ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    postgres_server.execute(f"CREATE DATABASE {name} {how}")
    with pytest.raises(RepositoryError, match=f"'{name}' is in {encoding}") as caught:
        await Engine(postgres_server.url(name)).__aenter__()
    command = re.search(r"CREATE DATABASE .*", str(caught.value))
    assert command is not None
    postgres_server.execute(command[0])
    async with Engine(postgres_server.url(f"{name}_utf8")) as engine:
        machine = await engine.create_state_machine("é😀", {"StartAt": "ß", "States": {"ß": {"Type": "Succeed"}}})
        assert (await machine.execute("é")).status == "SUCCEEDED"


# TLS


def make_certificate(file: Path) -> Path:
    """Make a certificate of localhost, signed by itself; return its file, beside which the key is."""
    asked = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    command = ["openssl", *asked.split(), "-keyout", f"{file}.key", "-out", str(file)]
    try:
        subprocess.run(command, capture_output=True, check=True)
    except FileNotFoundError:
        pytest.skip("there is no openssl to make a certificate with")
    return file


@asynccontextmanager
async def speaking_tls(certificate: Path) -> AsyncIterator[int]:
    """Yield the port of a server that agrees to TLS, and answers nothing further."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, f"{certificate}.key")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(b"S")
        await writer.start_tls(context)
        await reader.read()

    async with serving(serve) as port:
        yield port


async def refusal_of(url: str) -> str:
    """Return what is said where a URL cannot be connected to; that is no outage."""
    with pytest.raises(RepositoryError) as caught:
        await PostgresRepository(url).__aenter__()
    assert not isinstance(caught.value, RepositoryUnavailable)
    assert "tiger" not in str(caught.value)
    return str(caught.value)


async def test_a_server_without_tls_is_told_apart(postgres_url: str) -> None:
    assert "the server offers no TLS" in await refusal_of(f"{postgres_url}?sslmode=require")


async def test_files_that_are_missing_are_named(postgres_url: str) -> None:
    said = await refusal_of(f"{postgres_url}?sslmode=verify-full&sslrootcert=/nowhere/root.crt")
    assert "sslrootcert in the URL names /nowhere/root.crt, which cannot be read" in said


async def test_files_that_hold_no_certificate_are_told(postgres_url: str, tmp_path: Path) -> None:
    (tmp_path / "root.crt").write_text("no certificate")
    said = await refusal_of(f"{postgres_url}?sslmode=verify-full&sslrootcert={tmp_path / 'root.crt'}")
    assert "a file of certificates or keys cannot be read" in said


async def test_a_user_who_cannot_use_the_server_is_told_what_lacks(
    postgres_server: Postgres, postgres_url: str
) -> None:
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("DROP ROLE IF EXISTS barred, adrift")  # roles are the server's, and outlive a database
    await connection.execute("CREATE ROLE barred PASSWORD 'x'")
    await connection.execute("CREATE ROLE adrift SUPERUSER LOGIN PASSWORD 'x'")
    await connection.execute("ALTER ROLE adrift SET search_path = nowhere")
    await connection.close()
    place = postgres_url.rpartition("@")[2]
    assert "the user must exist and have LOGIN" in await refusal_of(f"postgresql://barred:x@{place}")
    assert "no schema of the user's search_path exists" in await refusal_of(f"postgresql://adrift:x@{place}")


async def test_an_unknown_mode_is_told(postgres_url: str) -> None:
    assert "`sslmode` parameter must be one of" in await refusal_of(f"{postgres_url}?sslmode=always")


async def test_a_certificate_that_is_not_accepted_is_told(tmp_path: Path) -> None:
    certificate, other = make_certificate(tmp_path / "server.crt"), make_certificate(tmp_path / "other.crt")
    async with speaking_tls(certificate) as port:
        at = f"postgresql://scott:tiger@127.0.0.1:{port}/shop?sslmode="
        assert "certificate is not accepted" in await refusal_of(f"{at}verify-ca&sslrootcert={other}")
        assert "127.0.0.1" in await refusal_of(f"{at}verify-full&sslrootcert={certificate}")


# Connections


@pytest.mark.parametrize("limited", ["ROLE {role}", "DATABASE {database}"])
@pytest.mark.parametrize("allowed", [1, 3])
async def test_an_engine_that_may_have_too_few_connections_says_so(
    postgres_server: Postgres, limited: str, allowed: int
) -> None:
    """It would wait for one for ever, with its first commit or its lease."""
    database = postgres_server.create_database()
    role = f"few_{database}"
    postgres_server.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    postgres_server.execute(f"ALTER DATABASE {database} OWNER TO {role}")
    place = postgres_server.url(database).rpartition("@")[2]
    url = f"postgresql://{role}:x@{place}"
    try:
        postgres_server.execute(f"ALTER {limited.format(role=role, database=database)} CONNECTION LIMIT {allowed}")
        said = f"may have {allowed} connections? \\(CONNECTION LIMIT\\), and an engine needs at least 4"
        with pytest.raises(RepositoryError, match=said):
            await Engine(url).__aenter__()
        postgres_server.execute(f"ALTER {limited.format(role=role, database=database)} CONNECTION LIMIT 4")
        async with Engine(url) as engine:
            machine = await engine.create_state_machine("shop", {"StartAt": "A", "States": {"A": {"Type": "Succeed"}}})
            assert (await machine.execute()).status == "SUCCEEDED"
            assert len(await machine.execute_batch(ExecutionFilter())) == 1
        postgres_server.execute(f"ALTER {limited.format(role=role, database=database)} CONNECTION LIMIT {allowed}")
        async with Engine(url, role="reader") as reader:
            assert await reader.count_executions() == 2
        async with Engine(url, role="client") as client:
            with pytest.raises(RepositoryError, match=said):
                await (await client.get_state_machine("shop")).execute()
    finally:
        postgres_server.drop_database(database)
        postgres_server.execute(f"DROP ROLE {role}")


@pytest.mark.parametrize(
    ("host", "reason"), [("127.0.0.1:9", "Connection refused"), ("no.such.host.invalid", "the host's name: ")]
)
async def test_a_server_that_cannot_be_reached_is_said_with_the_systems_reason(host: str, reason: str) -> None:
    with pytest.raises(RepositoryUnavailable, match=rf"cannot be reached, .* \({reason}"):
        await PostgresRepository(f"postgresql://scott:tiger@{host}/shop").__aenter__()


async def test_what_is_no_postgresql_is_named() -> None:
    async with listening(b"HTTP/1.1 400 Bad Request\r\n\r\n") as (port, _):
        assert "what listens at this port is no PostgreSQL server" in await refusal_of(
            f"postgresql://127.0.0.1:{port}/shop?sslmode=prefer"
        )
