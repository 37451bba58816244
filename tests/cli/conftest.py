"""A project for each test of the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cli_project import CliProject


@pytest.fixture(autouse=True)
def forgotten_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget the modules that a command imports from the test's folder: the next test has its own of that name."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgotten_modules: None) -> CliProject:
    """Return a folder with ``orders.json``, ``bills.json``, ``hangs.json`` and ``handlers.py``, and work in it."""
    for name in ("STATECHAIN_URL", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    folder = CliProject(tmp_path)
    folder.write_files()
    return folder
