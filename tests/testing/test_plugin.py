"""The pytest plugin, as a user's suite meets it: by its entry point, in a separate run."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.programs import run_suite

pytestmark = pytest.mark.slow  # runs pytest in processes

SUITE = """
import time
from datetime import timedelta

import pytest
from statechain import Engine, TaskRegistry

REST = {"StartAt": "Rest", "States": {"Rest": {"Type": "Wait", "Seconds": 86400, "End": True}}}
CALL = {"StartAt": "Call", "States": {"Call": {"Type": "Task", "Resource": "Call", "End": True}}}


async def test_a_day_takes_no_time(engine, statechain_backend):
    print("storage:", statechain_backend)
    machine = await engine.create_state_machine("rest", REST)
    began = time.monotonic()
    ended = await machine.execute({})
    assert ended.end_time - ended.start_time == timedelta(days=1)
    assert time.monotonic() - began < 30


class TestWithHandlers:
    @pytest.fixture
    def statechain_tasks(self):
        tasks = TaskRegistry()
        tasks.add("Call", lambda value: value + 1)
        return tasks

    async def test_a_suite_gives_its_handlers(self, engine):
        assert (await (await engine.create_state_machine("call", CALL)).execute(41)).output == 42

    async def test_what_still_runs_is_interrupted(self, engine, statechain_clock):
        with statechain_clock.hold():
            machine = await engine.create_state_machine("rest", REST)
            await machine.start_execution({})
"""


def run(folder: Path, *arguments: str) -> str:
    """Run the suite; return what pytest printed."""
    (folder / "test_suite.py").write_text(SUITE)
    done = run_suite(folder, "-v", "-s", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_suite_gets_engines_in_memory(tmp_path: Path) -> None:
    printed = run(tmp_path)
    assert "3 passed" in printed
    assert "storage: memory://" in printed


def test_a_suite_runs_on_each_storage_that_is_named(tmp_path: Path) -> None:
    urls = ["memory://", "sqlite:///suite.db"]
    printed = run(tmp_path, *(f"--statechain-backend={url}" for url in urls))
    assert "6 passed" in printed
    for url in urls:
        assert f"storage: {url}" in printed
    assert (tmp_path / "suite.db").exists()


def test_the_plugin_tells_its_option(tmp_path: Path) -> None:
    assert "--statechain-backend" in run(tmp_path, "--help")
