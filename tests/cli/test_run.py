"""`run` and `redrive`: output on standard output, everything else on standard error, exit codes."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.cli_project import CliProject
from support.programs import running


def test_the_output_and_nothing_else_goes_to_standard_output(project: CliProject) -> None:
    result = project.call("run", "orders.json", "--tasks", "handlers:tasks", "--input", '{"quantity": 4}')
    assert json.loads(result.stdout) == {"quantity": 4, "total": 8}
    assert "SUCCEEDED" in result.stderr


def test_the_input_comes_from_a_file_or_from_standard_input(project: CliProject) -> None:
    project.write("order.json", '{"quantity": 2}')
    from_file = project.call("run", "orders.json", "--tasks", "handlers", "--input", "@order.json", "--compact")
    assert from_file.stdout == '{"quantity": 2, "total": 4}\n'
    piped = project.call("run", "orders.json", "--tasks", "handlers", "--input", "-", given='{"quantity": 3}')
    assert json.loads(piped.stdout)["total"] == 6


@pytest.mark.parametrize(
    ("value", "told"),
    [("{", "line 1, column 2"), ("@none.json", "none.json cannot be read"), ("NaN", "NaN is no JSON number")],
)
def test_an_input_that_is_no_json_is_a_usage_error(project: CliProject, value: str, told: str) -> None:
    assert told in project.call("run", "orders.json", "--tasks", "handlers", "--input", value, code=2).stderr


def test_why_an_input_cannot_be_read_is_told_in_words(project: CliProject) -> None:
    (project.folder / "latin.json").write_bytes(b"\xff\xfe{")
    for value, told in (
        ("@latin.json", "latin.json cannot be read: is not UTF-8 text"),
        ("@/dev/zero", "/dev/zero cannot be read: is longer than 64 MiB"),
        ("@", "cannot be read: no file is named"),
    ):
        assert told in project.call("run", "orders.json", "--tasks", "handlers", "--input", value, code=2).stderr


def test_a_failure_leaves_with_1_and_tells_why(project: CliProject) -> None:
    result = project.call("run", "orders.json", "--tasks", "handlers", "--input", '{"refuse": true}', code=1)
    assert result.stdout == ""
    assert "FAILED in Price" in result.stderr
    assert "Order.Refused: [not] for sale" in result.stderr


def test_a_definition_with_faults_leaves_with_2_and_shows_them(project: CliProject) -> None:
    project.write("bad.json", {"StartAt": "A", "States": {}})
    assert "bad.json:" in project.call("run", "bad.json", code=2).stderr


def test_without_handlers_it_says_how_to_name_them(project: CliProject) -> None:
    told = project.call("run", "orders.json", code=2).stderr
    assert "no handler is registered for 'Price'" in told
    assert "--tasks module:registry" in told


def test_a_stored_machine_runs_by_its_name(project: CliProject) -> None:
    project.run("first")
    result = project.call("run", "orders", "--tasks", "handlers", "--input", '{"quantity": 5}')
    assert json.loads(result.stdout)["total"] == 10
    assert "stored are: orders" in project.call("run", "bills", "--tasks", "handlers", code=2).stderr
    assert "there is no file none.json" in project.call("run", "none.json", code=2).stderr


def test_the_same_name_with_another_input_is_refused(project: CliProject) -> None:
    assert project.run("one", 3) == project.run("one", 3)
    arguments = ("run", "orders.json", "--tasks", "handlers", "--name", "one", "--input", '{"quantity": 4}')
    assert "with another input" in project.call(*arguments, code=2).stderr


@pytest.mark.parametrize(
    ("tasks", "told"),
    [
        ("nowhere:tasks", "there is no module 'nowhere'"),
        ("handlers:task", "did you mean 'tasks'?"),
        ("handlers:double", "handlers:double is function, not a TaskRegistry"),
        ("broken:tasks", "importing broken failed: ZeroDivisionError: division by zero"),
        ("needs:tasks", "importing needs failed: ModuleNotFoundError: No module named 'not_installed'"),
        ("wrong:tasks", "importing wrong failed: SyntaxError"),
        (":tasks", "it is written as module:attribute"),
        ("none.py:tasks", "there is no file none.py"),
    ],
)
def test_handlers_that_cannot_be_imported_are_told_in_one_line(project: CliProject, tasks: str, told: str) -> None:
    project.write("broken.py", "1 / 0\n")
    project.write("needs.py", "import not_installed\n")
    project.write("wrong.py", "def\n")
    stderr = project.call("run", "orders.json", "--tasks", tasks, code=2).stderr
    assert told in stderr
    assert "Traceback" not in stderr


def test_handlers_are_found_in_a_file_too(project: CliProject) -> None:
    (project.folder / "inside").mkdir()
    project.write("inside/own_handlers.py", (project.folder / "handlers.py").read_text())
    project.call("run", "orders.json", "--tasks", "inside/own_handlers.py:tasks", "--input", '{"quantity": 1}')


def test_what_failed_is_redriven_from_where_it_failed(project: CliProject) -> None:
    project.write(
        "repaired_handlers.py", (project.folder / "handlers.py").read_text().replace('order.get("refuse")', "False")
    )
    order = '{"quantity": 2, "refuse": true}'
    project.call("run", "orders.json", "--tasks", "handlers", "--name", "x", "--input", order, code=1)
    assert "no handler is registered for 'Price'; name the handlers by" in project.call("redrive", "x", code=2).stderr
    assert json.loads(project.call("redrive", "x", "--tasks", "repaired_handlers").stdout)["total"] == 4
    assert (
        "only one that ended without success"
        in project.call("redrive", "x", "--tasks", "repaired_handlers", code=2).stderr
    )


def test_what_could_steer_a_terminal_is_shown_as_something_else(project: CliProject) -> None:
    escape = "\x1b[31mred\x9b0m\ud800"
    project.write(
        "rude.py",
        f"""
from statechain import TaskError, TaskRegistry
tasks = TaskRegistry()
@tasks.register
async def Bill(value):
    if value:
        raise TaskError("Rude", {escape!a}.replace(chr(0xd800), ""))
    return {escape!a}
""",
    )
    said = project.call("run", "bills.json", "--tasks", "rude", "--input", "0").stdout
    assert said == '"\\u001b[31mred\\u009b0m\\ud800"\n'
    assert json.loads(said) == escape
    project.call("run", "bills.json", "--tasks", "rude", "--name", "failed", "--input", "1", code=1)
    for command in ("show", "history"):
        shown = project.call(command, "failed").output
        assert "[31mred" in shown
        assert not {"\x1b", "\x9b"} & set(shown)


def test_a_definition_comes_from_standard_input_as_elsewhere(project: CliProject) -> None:
    definition = (project.folder / "orders.json").read_text()
    command = ("--tasks", "handlers", "--machine", "piped", "--input", '{"quantity": 4}')
    assert json.loads(project.call("run", "-", *command, given=definition).stdout)["total"] == 8
    assert json.loads(project.call("run", "piped", "--tasks", "handlers", "--input", '{"quantity": 4}').stdout)
    assert "give one by --machine" in project.call("run", "-", "--tasks", "handlers", given=definition, code=2).stderr
    faulty = project.call("run", "-", *command, given="{}", code=2).stderr
    assert "a state machine needs the field 'States'" in faulty


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_being_interrupted_aborts_and_tells_how_to_go_on(project: CliProject, number: int, code: int) -> None:
    with project.start("run", "hangs.json", "--tasks", "handlers", "--name", "endless") as process:
        assert process.stderr is not None
        assert "started endless" in process.stderr.readline()
        process.send_signal(number)
        _, told = process.communicate(timeout=30)
    assert process.returncode == code
    assert "statechain redrive" in told
    assert "Traceback" not in told
    assert project.shown("endless")["status"] == "ABORTED"


@pytest.mark.slow
def test_on_a_terminal_the_state_is_shown_while_it_runs(project: CliProject) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "statechain", "run", "hangs.json", "--tasks", "handlers", "--name", "endless"]
    with running(command, cwd=project.folder, stderr=theirs, stdout=subprocess.DEVNULL, stdin=theirs) as process:
        os.close(theirs)
        shown = _until(ours, b"Hang")
        process.send_signal(signal.SIGINT)
        shown += _rest(ours)
        process.wait(timeout=30)
    os.close(ours)
    assert b"endless" in shown
    assert process.returncode == 130


def _until(terminal: int, text: bytes) -> bytes:
    shown = b""
    deadline = time.monotonic() + 30
    while text not in shown:
        assert time.monotonic() < deadline, shown
        shown += os.read(terminal, 4096)
    return shown


def _rest(terminal: int) -> bytes:
    shown = b""
    try:
        while part := os.read(terminal, 4096):
            shown += part
    except OSError:  # Linux: no process has the other end open
        pass
    return shown


def test_without_the_extra_one_line_says_what_to_install(project: CliProject, tmp_path: Path) -> None:
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "click.py").write_text("raise ModuleNotFoundError('no click', name='click')\n")
    paths = os.pathsep.join([str(tmp_path / "hidden"), *sys.path])
    process = subprocess.run(
        [sys.executable, "-m", "statechain", "list"],
        env={**os.environ, "PYTHONPATH": paths},
        cwd=project.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 2
    assert process.stderr == "statechain: the command line needs click: pip install 'statechain[cli]'\n"
