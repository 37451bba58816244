"""Access, headers, payloads, and hostile names and payloads on every page."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from statechain.console import ADMINISTRATOR, READER, Grant, app, loopback
from statechain.errors import InvalidArgument
from support.console.html_page import Page
from support.console.office import Office, as_user, client

SECRET = "s3cret-payload"


async def paths(office: Office) -> list[str]:
    """Return a URL of every page."""
    one, (task,) = office.seen["failed"].id, await office.engine.list_waiting_tasks()
    parts = ("", "/events", "/timeline", "/payload", "/chain")
    return [
        "/", "/executions", *(f"/executions/{one}{part}" for part in parts), "/machines",
        f"/machines/{office.orders.id}", "/batches", "/batches/new", f"/batches/{await office.batch()}", "/waiting",
        f"/waiting/task?execution={task.execution_id}&id={httpx.QueryParams({'x': task.id})['x'].replace('#', '%23')}",
        "/statistics", "/static/console.css", "/static/htmx.min.js", "/nothing",
    ]  # fmt: skip


# Who may


async def test_without_access_nothing_is_shown_not_even_a_style(office: Office) -> None:
    for nothing in (None, frozenset(), Grant(frozenset({"stop"}))):
        async with client(office.engine, lambda _request, nothing=nothing: nothing) as web:
            for path in await paths(office):
                answer = await web.get(path)
                assert (answer.status_code, answer.text) == (403, "The console is not open to you.\n")


async def test_access_may_be_asynchronous_and_answer_in_each_way(office: Office) -> None:
    async def asks(request: Request) -> Any:
        return {"r": "read", "w": "write", "s": {"read", "stop"}}.get(request.headers.get("x-who", ""))

    machine = f"/machines/{office.orders.id}"
    async with client(office.engine, asks) as web:
        assert (await web.get(machine)).status_code == 403
        assert "Start an execution" not in (await web.get(machine, headers={"X-Who": "r"})).text
        assert "Start an execution" in (await web.get(machine, headers={"X-Who": "w"})).text
        assert "Start an execution" not in (await web.get(machine, headers={"X-Who": "s"})).text


async def test_the_host_may_ask_for_a_password(office: Office) -> None:
    def asks(_request: Request) -> None:
        raise HTTPException(401, "who are you?", {"WWW-Authenticate": "Basic"})

    async with client(office.engine, asks) as web:
        answer = await web.get("/")
        assert (answer.status_code, answer.text) == (401, "who are you?\n")
        assert answer.headers["www-authenticate"] == "Basic"
        assert "default-src 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("verbs", ["everything", {"read", "fly"}])
def test_verbs_that_do_not_exist_are_refused(verbs: Any) -> None:
    with pytest.raises(InvalidArgument):
        Grant(verbs)


@pytest.mark.parametrize(
    ("peer", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("127.9.9.9", {"Host": "127.0.0.1:8080"}, 200),
        ("::1", {"Host": "[::1]:8080"}, 200),
        ("10.0.0.1", {}, 403),
        ("testclient", {}, 403),
        ("127.0.0.1", {"Host": "rebound.example"}, 403),
        ("127.0.0.1", {"Host": "localhost.example"}, 403),
        ("127.0.0.1", {"X-Forwarded-For": "10.0.0.1"}, 403),
        ("127.0.0.1", {"Forwarded": "for=10.0.0.1"}, 403),
    ],
)
async def test_without_an_access_function_only_this_machine_reads(
    office: Office, peer: str, headers: dict[str, str], status: int
) -> None:
    transport = httpx.ASGITransport(app(office.engine), client=(peer, 50000))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8080") as web:
        assert (await web.get("/", headers=headers)).status_code == status
        stop = f"/executions/{office.seen['waiting'].id}/stop"
        answer = await web.post(stop, headers={"Sec-Fetch-Site": "same-origin", **headers})
        assert answer.status_code == 403


def test_the_console_of_the_command_line_may_write_from_this_machine() -> None:
    scope = {"type": "http", "client": ("127.0.0.1", 1), "headers": [(b"host", b"localhost")]}
    grant = loopback("write")(Request(scope))
    assert isinstance(grant, Grant)
    assert grant.verbs == ADMINISTRATOR


# Payloads


async def test_payloads_need_a_verb_of_their_own_and_are_stored_nowhere(office: Office) -> None:
    one = office.seen["succeeded"].id
    async with client(office.engine, as_user(*READER)) as web:
        for path in await paths(office):
            assert SECRET not in (await web.get(path)).text, path
        assert (await web.get(f"/executions/{one}/payload")).status_code == 403
    async with client(office.engine, as_user("read", "payload")) as web:
        for path in (f"/executions/{one}/payload", f"/executions/{one}/events"):
            answer = await web.get(path)
            assert SECRET in answer.text
            assert answer.headers["cache-control"] == "no-store"
            assert "etag" not in answer.headers


async def test_a_payload_is_searched(office: Office) -> None:
    async with client(office.engine, as_user("read", "payload")) as web:
        url = f"/executions/{office.seen['succeeded'].id}/payload"
        assert "1 line has it" in (await web.get(url, params={"find": "S3CRET"})).text
        visit = await web.get(url, params={"of": "visit:#0"})
        assert "Output of Reserve" in visit.text
        assert (await web.get(url, params={"of": "visit:x#9"})).status_code == 404


async def test_payloads_are_not_logged(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with client(office.engine, as_user(*ADMINISTRATOR)) as web:
            given = json.dumps({"id": 1, "total": SECRET})
            await web.post(f"/machines/{office.orders.id}/start", data={"input": given})
            await web.get(f"/executions/{office.seen['succeeded'].id}/payload")
    assert SECRET not in caplog.text


# Headers


async def test_every_answer_restricts_the_browser(office: Office) -> None:
    async with client(office.engine, as_user(*ADMINISTRATOR)) as web:
        for path in await paths(office):
            answer = await web.get(path)
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "set-cookie" not in answer.headers
            if answer.headers["content-type"].startswith("text/html"):
                Page.read(answer.text)


async def test_nothing_changes_by_a_get(office: Office) -> None:
    before = await office.engine.list_executions()
    async with client(office.engine, as_user(*ADMINISTRATOR)) as web:
        for path in await paths(office):
            for method in ("GET", "HEAD"):
                assert (await web.request(method, path)).status_code in {200, 404, 405}
    assert await office.engine.list_executions() == before


@pytest.mark.parametrize("place", ["x", "99999999999999999999_a", "1_", "_a", "-1_\u2028", "1_a' OR 1=1"])
async def test_a_place_that_the_console_did_not_make_is_refused_or_finds_nothing(office: Office, place: str) -> None:
    async with client(office.engine, as_user(*READER)) as web:
        answer = await web.get("/executions", params={"after": place})
        assert answer.status_code in {200, 400}


async def test_what_cannot_be_compared_is_refused_in_words(office: Office) -> None:
    async with client(office.engine, as_user(*READER)) as web:
        assert (await web.get("/executions", params={"text": "a\x00b"})).status_code == 400
        assert (await web.get("/executions", params={"since": "9999w"})).status_code in {200, 400}
        future = (datetime.now(UTC) + timedelta(days=1)).isoformat()
        answer = await web.get("/executions", params={"since": future, "until": "1h"})
        assert answer.status_code == 400
        assert "must be earlier" in answer.text
