"""What a release needs: one version, one place of the project's addresses, workflows that name what noxfile.py has."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = ROOT / ".github" / "workflows"
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_the_version_is_that_of_the_newest_section_of_the_changelog() -> None:
    newest = re.search(r"^## \[([^\]]+)\]", CHANGELOG, re.MULTILINE)
    assert newest is not None
    assert newest[1] == PROJECT["version"]
    assert version("statechain") == PROJECT["version"]


def test_each_section_of_the_changelog_links_to_its_changes() -> None:
    source = PROJECT["urls"]["Source"]
    sections = re.findall(r"^## \[([^\]]+)\]", CHANGELOG, re.MULTILINE)
    links = dict(re.findall(r"^\[([^\]]+)\]: (\S+)$", CHANGELOG, re.MULTILINE))
    assert list(links) == sections
    assert all(link.startswith(f"{source}/") for link in links.values())


@pytest.mark.skipif(not WORKFLOWS.is_dir(), reason="an sdist has no workflows")
def test_workflows_run_sessions_that_there_are_on_every_python() -> None:
    sessions = set(re.findall(r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text("utf-8"), re.MULTILINE))
    pythons = {line.rpartition(" ")[2] for line in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", line)}
    texts = {
        path.name: path.read_text("utf-8").replace("${{ matrix.python }}", "3.11") for path in WORKFLOWS.glob("*.yml")
    }
    run = {
        name
        for text in texts.values()
        for line in re.findall(r"nox -s ([^\n]+)", text)
        for name in line.split(" --")[0].split()
    }
    assert {name.partition("-")[0] for name in run} <= sessions
    assert {"lint", "typing", "docs", "sdist", "wheels"} <= run
    matrix = yaml.safe_load(texts["ci.yml"])["jobs"]["tests"]["strategy"]["matrix"]
    assert set(matrix["python"]) == pythons | {"3.14t"}
    assert len(matrix["os"]) == 3


@pytest.mark.skipif(not WORKFLOWS.is_dir(), reason="an sdist has no workflows")
def test_only_the_publishing_job_may_ask_for_an_identity() -> None:
    release = yaml.safe_load((WORKFLOWS / "release.yml").read_text("utf-8"))
    assert release["permissions"] == {"contents": "read"}
    jobs = {name: job.get("permissions") for name, job in release["jobs"].items()}
    assert jobs == {"build": None, "publish": {"id-token": "write"}}
    assert release[True]["push"] == {"tags": ["v*"]}  # YAML 1.1 reads the key `on` as a boolean
