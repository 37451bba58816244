"""``limits``, and the options and the lines of other commands that are about them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from statechain import Engine
from statechain.cli.app import cli

WORKS = {"StartAt": "Work", "States": {"Work": {"Type": "Pass", "End": True}}}


def run(*args: str) -> Result:
    return CliRunner().invoke(cli, args)


@pytest.fixture
async def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    url = f"sqlite:///{tmp_path}/test.db"
    async with Engine(url, recovery=False) as engine:
        works = await engine.create_state_machine("works", WORKS, max_concurrency=0)
        await works.start_execution({}, name="waits", key="red", priority=7)
    return url


def test_limits_are_listed_and_set(url: str) -> None:
    listed = run("limits", "list", "--repository", url)
    assert listed.stdout.splitlines() == ["MACHINE\tAT ONCE\tEACH KEY\tRATE\tRUNNING\tWAITING", "works\t0\t\t\t0\t1"]
    made = run("limits", "set", "works", "--rate", "100/60s", "--max-concurrency-per-key", "2", "--repository", url)
    assert made.stderr == "works: 0 at once, 2 at once for each key, 100 in 60 s\n"
    (line,) = run("limits", "list", "--json", "--repository", url).stdout.splitlines()
    described = json.loads(line)
    assert (described["state_machine"], described["waiting"], described["running"]) == ("works", 1, 0)
    assert described["limits"] == {"max_concurrency": 0, "rate": [100, 60.0], "max_concurrency_per_key": 2}
    removed = run(
        "limits", "set", "works", "--rate", "none", "--max-concurrency", "none", "--max-concurrency-per-key", "none",
        "--repository", url,
    )  # fmt: skip
    assert removed.stderr == "works: no limits\n"


@pytest.mark.parametrize(
    "wrong", [("--rate", "100"), ("--rate", "x/s"), ("--rate", "0/s"), ("--max-concurrency", "-1")]
)
def test_a_limit_that_means_nothing_is_a_usage_error(url: str, wrong: tuple[str, str]) -> None:
    assert run("limits", "set", "works", *wrong, "--repository", url).exit_code == 2


def test_an_execution_that_waits_says_for_which_limit(url: str) -> None:
    shown = run("show", "waits", "--repository", url).stdout
    assert "   waits  for max_concurrency (0 at once; 0 run, 1 wait)" in shown
    assert "     key  red" in shown
    assert "priority  7" in shown
    described = json.loads(run("show", "waits", "--json", "--repository", url).stdout)
    assert (described["key"], described["priority"]) == ("red", 7)
    assert described["waits_for"]["limit"] == "max_concurrency"


def test_an_execution_is_run_under_its_limits(url: str) -> None:
    assert run("limits", "set", "works", "--max-concurrency", "1", "--repository", url).exit_code == 0
    ran = run(
        "run", "works", "--input", '{"n":1}', "--name", "now", "--key", "blue", "--priority", "9", "--repository", url
    )
    assert (ran.exit_code, json.loads(ran.stdout)) == (0, {"n": 1})
    described = json.loads(run("show", "now", "--json", "--repository", url).stdout)
    assert (described["key"], described["priority"], described["waits_for"]) == ("blue", 9, None)
    batch = run("batch", "works", "--status", "SUCCEEDED", "--key", "green", "--priority", "2", "--repository", url)
    assert batch.exit_code == 0, batch.stderr
    listed = [json.loads(line) for line in run("list", "--json", "--repository", url).stdout.splitlines()]
    assert sorted((each["key"], each["priority"]) for each in listed) == [("blue", 9), ("green", 2), ("red", 7)]
