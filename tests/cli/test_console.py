"""`console` serves the pages on this machine: it reads, writes with --write, and ends on SIGTERM with a page open."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from statechain import Engine
from support.cli_project import CliProject

pytestmark = pytest.mark.slow  # starts processes

FORM = {"Sec-Fetch-Site": "same-origin"}


@contextmanager
def served(project: CliProject, *options: str) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """Serve the console at a free port; it has to end by itself once it is asked to."""
    with project.start("console", "--port", "0", *options) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        at = re.search(r"http://127\.0\.0\.1:\d+/", line)
        assert at, line
        assert ("reads and writes" in line) is ("--write" in options)
        with httpx.Client(base_url=at[0]) as web:
            yield process, web
            process.send_signal(signal.SIGTERM)  # while the client's connection is open
            process.communicate(timeout=30)
            assert process.returncode == 0


def failed(project: CliProject) -> str:
    """Leave an execution that failed in the storage; return its id."""
    project.write("fails.json", {"StartAt": "No", "States": {"No": {"Type": "Fail", "Error": "Out.OfStock"}}})
    project.call("run", "fails.json", "--name", "lost", "--input", '{"secret": "s3cret"}', code=1)
    return str(project.shown("lost")["id"])


def test_it_reads_and_leaves_all_as_it_is(project: CliProject) -> None:
    id_ = failed(project)
    with served(project) as (_, web):
        assert "Out.OfStock" in web.get(f"executions/{id_}").text
        assert "s3cret" in web.get(f"executions/{id_}/payload").text
        assert web.post(f"executions/{id_}/redrive", headers=FORM).status_code == 403
        assert web.get("", headers={"Host": "shop.example"}).status_code == 403
    assert project.shown("lost")["redrive_count"] == 0


def test_with_write_it_acts(project: CliProject) -> None:
    id_ = failed(project)
    with served(project, "--write") as (_, web):
        assert web.post(f"executions/{id_}/redrive").status_code == 403
        assert web.post(f"executions/{id_}/redrive", headers=FORM).status_code == 303
    assert project.shown("lost")["redrive_count"] == 1


def test_payloads_can_be_left_out(project: CliProject) -> None:
    id_ = failed(project)
    with served(project, "--no-payloads") as (_, web):
        assert web.get(f"executions/{id_}").status_code == 200
        assert web.get(f"executions/{id_}/payload").status_code == 403


def test_what_runs_in_its_process_is_handed_over_on_sigterm(project: CliProject) -> None:
    async def create() -> str:
        nap = {"StartAt": "Nap", "States": {"Nap": {"Type": "Wait", "Seconds": 86400, "End": True}}}
        async with Engine("sqlite:///statechain.db", role="client") as engine:
            return (await engine.create_state_machine("naps", nap)).id

    machine = asyncio.run(create())
    with project.start("console", "--port", "0", "--write", "--tasks", "handlers") as process:
        assert process.stderr is not None
        at = re.search(r"http://\S+", process.stderr.readline())
        assert at
        form = {"name": "nap", "input": "{}"}
        assert httpx.post(f"{at[0]}machines/{machine}/start", data=form, headers=FORM).status_code == 303
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=30)
        assert (process.returncode, told.splitlines()[-1]) == (0, "handed over what still ran")
    assert project.shown("nap")["status"] == "RUNNING"
