"""The service as its operators meet it: requests, approvals, SIGTERM and SIGKILL amid the work, a second process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest

SERVICE = Path(__file__).parents[2] / "examples" / "service"
PATIENCE = 60.0


@attrs.define
class Server:
    """A running uvicorn."""

    process: subprocess.Popen[str]
    client: httpx.Client

    def place(self, **order: Any) -> str:
        """Place an order; return the execution's id."""
        answer = self.client.post("/orders", json=order)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["execution"])

    def show(self, execution: str) -> dict[str, Any]:
        answer = self.client.get(f"/executions/{execution}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def wait_until(self, execution: str, **fields: Any) -> dict[str, Any]:
        """Return an execution once it has these fields."""
        until = time.monotonic() + PATIENCE
        while True:
            shown = self.show(execution)
            if all(shown[name] == value for name, value in fields.items()):
                return shown
            assert time.monotonic() < until, shown
            time.sleep(0.05)

    def end(self, how: signal.Signals) -> float:
        """Send a signal; return the seconds that the process took to end."""
        began = time.monotonic()
        self.process.send_signal(how)
        self.process.wait(PATIENCE)
        return time.monotonic() - began


@contextmanager
def serving(folder: Path, url: str, **environment: str) -> Iterator[Server]:
    """Run the service in a folder, on a storage."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "app:app", "--app-dir", str(SERVICE), "--port", str(port)]
    with ExitStack() as stack:
        log = stack.enter_context((folder / f"uvicorn-{port}.log").open("w"))
        process = subprocess.Popen(
            [*command, "--log-level", "warning"],
            cwd=folder,
            env={**os.environ, "DATABASE_URL": url, "LEASE_SECONDS": "3", "DRAIN_SECONDS": "0.5", **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
        )
        stack.callback(process.wait)
        stack.callback(process.kill)
        client = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE))
        _wait_until_up(process, client, Path(log.name))
        yield Server(process, client)


def _wait_until_up(process: subprocess.Popen[str], client: httpx.Client, log: Path) -> None:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            client.get("/executions/none")
        except httpx.TransportError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.05)
        else:
            return


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """A storage that several processes share."""
    found: str = request.getfixturevalue({"sqlite": "sqlite_url", "postgresql": "postgres_url"}[request.param])
    return found


def outbox(folder: Path, kind: str) -> list[dict[str, Any]]:
    """Return the messages of a kind that were sent."""
    file = folder / "outbox.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return [message for line in lines if (message := json.loads(line))["kind"] == kind]


def wait_for_mail(folder: Path) -> None:
    until = time.monotonic() + PATIENCE
    while not outbox(folder, "please approve"):
        assert time.monotonic() < until
        time.sleep(0.02)


def test_requests_start_show_and_answer_executions(tmp_path: Path, sqlite_url: str) -> None:
    with serving(tmp_path, sqlite_url, PACK_SECONDS="0") as server:
        small = server.place(id=1, total=10)
        assert server.wait_until(small, status="SUCCEEDED")["output"] == {"id": 1, "packed": True, "approval": None}
        assert server.place(id=1, total=10) == small
        clash = server.client.post("/orders", json={"id": 1, "total": 11})
        assert (clash.status_code, clash.json()["error"]) == (409, "ExecutionAlreadyExists")
        assert server.client.get("/executions/none").status_code == 404
        for wrong in ("not JSON", "[]", "{}", '{"id": "%s"}' % ("x" * 99), '{"id": 9, "total": NaN}'):
            assert server.client.post("/orders", content=wrong).status_code == 400, wrong
        assert server.client.post("/approvals", json={"token": "made up"}).status_code == 400

        large, refused = server.place(id=2, total=2000), server.place(id=3, total=3000)
        server.wait_until(large, state="Approve")
        server.wait_until(refused, state="Approve")
        tokens = {message["order"]: message["token"] for message in outbox(tmp_path, "please approve")}
        answer = {"token": tokens[2], "approved": True, "by": "Ada"}
        assert server.client.post("/approvals", json=answer).status_code == 202
        assert server.wait_until(large, status="SUCCEEDED")["output"]["approval"] == {"by": "Ada"}
        server.client.post("/approvals", json={"token": tokens[3], "approved": False, "by": "Bob"})
        ended = server.wait_until(refused, status="FAILED")
        assert (ended["error"], ended["cause"]) == ("Order.Refused", "by Bob")
        assert server.client.post("/approvals", json=answer).status_code == 202, "the same answer again is no fault"
        assert server.client.post("/approvals", json={**answer, "approved": False}).status_code == 410
        assert server.client.post("/approvals", json={**answer, "token": "made up"}).status_code == 404


def test_a_client_submits_what_a_worker_runs(tmp_path: Path, postgres_url: str) -> None:
    with serving(tmp_path, postgres_url, ROLE="client") as server:
        execution = server.place(id=1, total=10)
        assert server.show(execution)["status"] == "RUNNING"
        command = [sys.executable, "-m", "statechain", "worker", "--tasks", "orders:tasks", "--grace", "0"]
        environment = {**os.environ, "DATABASE_URL": postgres_url, "PYTHONPATH": str(SERVICE), "PACK_SECONDS": "0"}
        with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL) as worker:
            assert server.wait_until(execution, status="SUCCEEDED")["output"]["packed"]
            worker.terminate()


def test_a_stopping_service_lets_work_end_that_ends_soon(tmp_path: Path, url: str) -> None:
    with serving(tmp_path, url, PACK_SECONDS="1.5", DRAIN_SECONDS="30") as server:
        execution = server.place(id=1, total=10)
        server.wait_until(execution, state="Pack")
        assert 0.1 < server.end(signal.SIGTERM) < 20
    with serving(tmp_path, url, PACK_SECONDS="600") as server:
        assert server.show(execution)["status"] == "SUCCEEDED"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_second_process_finishes_what_the_first_leaves(tmp_path: Path, url: str, how: signal.Signals) -> None:
    with serving(tmp_path, url, PACK_SECONDS="600") as first, serving(tmp_path, url, PACK_SECONDS="0") as second:
        packing = [first.place(id=number, total=10) for number in range(3)]
        asking = first.place(id=99, total=5000)
        for execution in packing:
            first.wait_until(execution, state="Pack")
        first.wait_until(asking, state="Approve")
        wait_for_mail(tmp_path)
        assert first.end(how) < 20, "what runs for ten minutes is not waited for"
        for execution in packing:
            assert second.wait_until(execution, status="SUCCEEDED")["output"]["packed"]
        assert second.show(asking)["status"] == "RUNNING"
        request, *again = outbox(tmp_path, "please approve")
        assert len(again) <= 1, "a request whose sending was not recorded yet is sent again; both tokens hold"
        second.client.post("/approvals", json={"token": request["token"], "approved": True, "by": "Ada"})
        assert second.wait_until(asking, status="SUCCEEDED")["output"]["approval"] == {"by": "Ada"}
        assert len(outbox(tmp_path, "reserved")) == 4, "what is durable is not done again"
