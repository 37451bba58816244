"""What terminals and pipes of every kind get: colour, characters, columns."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from io import StringIO
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from rich.console import Console

from statechain.cli.app import cli
from statechain.progress import BatchProgress
from support.cli_project import CliProject

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow  # a process for each terminal


def on_a_terminal(folder: Path, *arguments: str, columns: int = 80, **variables: str) -> str:
    """Run a command on a separate terminal, and return what it wrote there."""
    pty = pytest.importorskip("pty")
    leader, follower = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR"}}
    process = subprocess.Popen(
        [sys.executable, "-m", "statechain", *arguments],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        cwd=folder,
        env={**environment, "TERM": "xterm-256color", "COLUMNS": str(columns), **variables},
    )
    os.close(follower)
    written = b""
    try:
        while piece := os.read(leader, 65536):
            written += piece
    except OSError:  # the end of a terminal, on Linux
        pass
    os.close(leader)
    assert process.wait(60) == 0, written
    return written.decode()


@pytest.fixture
def shop(project: CliProject) -> CliProject:
    project.run("order-1")
    project.call("run", "orders.json", "--tasks", "handlers", "--name", "order-2", "--input", '{"refuse": 1}', code=1)
    return project


SHOWING = [("list",), ("show", "order-2"), ("history", "order-1"), ("graph", "orders"), ("batches", "list")]


@pytest.mark.parametrize("command", [("show", "order-2"), ("list",)], ids=" ".join)
@pytest.mark.parametrize("variable", [("NO_COLOR", "1"), ("TERM", "dumb")], ids="=".join)
def test_no_escape_sequence_is_written_where_none_is_wanted(
    shop: CliProject, command: tuple[str, ...], variable: tuple[str, str]
) -> None:
    assert "\x1b" not in on_a_terminal(shop.folder, *command, **dict([variable]))


@pytest.mark.parametrize("command", [("show", "order-2"), ("list",)], ids=" ".join)
def test_a_dumb_terminal_is_as_wide_as_it_says(shop: CliProject, command: tuple[str, ...]) -> None:
    written = on_a_terminal(shop.folder, *command, columns=48, TERM="dumb")
    assert max(map(len, written.splitlines())) <= 48


def test_a_terminal_gets_colour(shop: CliProject) -> None:
    assert "\x1b[" in on_a_terminal(shop.folder, "list", NO_COLOR="")


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])  # for ASCII, click itself writes UTF-8
@pytest.mark.parametrize(
    "command",
    [
        *SHOWING,
        ("graph", "orders", "--format", "tree"),
        ("graph", "--execution", "order-2", "--format", "tree"),
        ("show", "order-2", "--json"),
        ("list", "--help"),
        ("show", "nothing →"),
    ],
    ids=" ".join,
)
def test_a_pipe_of_any_encoding_gets_what_it_can_show(
    shop: CliProject, encoding: str, command: tuple[str, ...]
) -> None:
    shop.run("naïve → ☃")
    result = CliRunner(charset=encoding).invoke(cli, command)
    assert not isinstance(result.exception, UnicodeError)
    assert result.exit_code == (2 if "nothing →" in command else 0), result.exception
    result.stdout_bytes.decode(encoding)


def test_a_process_writes_in_ascii_what_its_encoding_lacks(shop: CliProject) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "statechain", "graph", "orders", "--format", "tree"],
        env={**os.environ, "PYTHONIOENCODING": "cp1252"},
        cwd=shop.folder,
        capture_output=True,
        check=True,
    )
    assert b"* Price" in done.stdout
    assert b"-> Done" in done.stdout


def test_json_stays_json_in_any_encoding(shop: CliProject) -> None:
    shop.run("naïve → 🐍")
    result = CliRunner(charset="cp1252").invoke(cli, ["list", "--json", "--limit", "1"])
    assert json.loads(result.stdout_bytes)["name"] == "naïve → 🐍"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is full")  # noqa: PTH110
@pytest.mark.parametrize("arguments", [("list",), ("graph", "orders.json"), ("--help",)])
def test_an_output_that_cannot_be_written_is_said_in_words(shop: CliProject, arguments: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "statechain", *arguments]
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, cwd=shop.folder, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "error: the output cannot be written: No space left on device\n")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_ctrl_c_while_a_file_is_read_ends_a_command_as_it_does_elsewhere(shop: CliProject) -> None:
    pipe = shop.folder / "later.json"
    os.mkfifo(pipe)
    for command in (["validate", "later.json"], ["run", "orders.json", "--input", "@later.json"]):
        with shop.start(*command) as process:
            # Opened once the command reads it.
            with pipe.open("w"):
                process.send_signal(signal.SIGINT)
                process.wait(timeout=30)
            _, said = process.communicate()
        assert (process.returncode, said) == (130, "")


@pytest.mark.parametrize("columns", [36, 48])
def test_a_narrow_terminal_gets_fewer_columns_and_no_word_in_pieces(shop: CliProject, columns: int) -> None:
    lines = on_a_terminal(shop.folder, "list", columns=columns, NO_COLOR="1").splitlines()
    assert len(lines) == 3
    assert all(len(line) <= columns for line in lines)
    assert [line.split()[0] for line in lines] == ["NAME", "order-2", "order-1"]
    assert "FAILED" in lines[1]
    assert "SUCCEEDED" in lines[2]


def test_a_batch_with_failures_gets_no_tick() -> None:
    def shown(*errors: Exception | None) -> str:
        console = Console(file=StringIO(), force_terminal=True, color_system=None, width=100, height=5)
        progress = BatchProgress(len(errors), console=console)
        with progress:
            for index, error in enumerate(errors):
                progress.on_start("source", index)
                progress.on_complete("source", index, error)
        written = console.file
        assert isinstance(written, StringIO)
        return written.getvalue()

    assert "✓" in shown(None, None)
    assert "✓" not in (with_failures := shown(None, ValueError()))
    assert "✗" in with_failures
    assert "1 failed" in with_failures


def test_a_stored_batch_with_failures_says_so(shop: CliProject) -> None:
    for quantity in (1, 3):
        shop.run(f"more-{quantity}", quantity)
    shop.call("batch", "bills.json", "--tasks", "handlers", "--name", "more", "--name-prefix", "bill", code=1)
    batch = shop.call("batches", "list").stdout.splitlines()[1].split("\t")[0]
    assert "SUCCEEDED, 1 of 2 failed" in shop.call("batches", "show", batch).stdout
