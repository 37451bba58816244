"""The pages about the command line: their commands run unchanged, in order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.cli_project import CliProject
from support.forked import run_script

pytestmark = pytest.mark.slow  # runs every command of the pages

PAGES = Path(__file__).parents[2] / "docs" / "how-to"
SHELL = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.timeout(600)  # a program for each command
@pytest.mark.parametrize("page", ["command-line.md", "migrate-from-aws.md"])
def test_the_commands_of_a_page_run(project: CliProject, page: str) -> None:
    blocks = SHELL.findall((PAGES / page).read_text())
    assert len(blocks) >= 3
    folder = project.folder / "empty"
    folder.mkdir()
    done = run_script("\n".join(blocks), folder)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_the_fault_that_the_page_shows_is_what_is_told(project: CliProject) -> None:
    text = (PAGES / "command-line.md").read_text()
    definition = text.partition("cat > orders.yaml <<'YAML'\n")[2].partition("YAML\n")[0]
    project.write("orders.yaml", definition.replace("    Choices:", "    Choises:"))
    shown = text.partition("```text\n")[2].partition("```")[0].splitlines()
    told = project.call("validate", "orders.yaml", code=1).stderr.splitlines()
    place = next(number for number, line in enumerate(told) if "Choises" in line)
    assert told[place : place + 3] == shown
