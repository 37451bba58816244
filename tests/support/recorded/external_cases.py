"""Finds the suites that are not part of the repository: recorded AWS executions, and the public JSONata suite.

Each has an environment variable that names its folder. Where the variable is set, the suite is required: a folder that
is missing is a failure. Where it is not set, the suite is used if it lies in `../shared/` beside the repository, and is
skipped otherwise.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

__all__ = ["CONFORMANCE", "JSONATA", "find_cases", "require_cases"]

CONFORMANCE = "STATECHAIN_CONFORMANCE"
JSONATA = "STATECHAIN_JSONATA"

_BESIDE = Path(__file__).resolve().parents[4] / "shared"
_FOLDERS = {CONFORMANCE: _BESIDE / "conformance", JSONATA: _BESIDE / "jsonata"}


def find_cases(variable: str) -> Path | None:
    """Return the folder of a suite, by its variable's name; None where there is no `cases.jsonl` in it."""
    folder = Path(os.environ.get(variable) or _FOLDERS[variable])
    return folder if (folder / "cases.jsonl").is_file() else None


def require_cases(variable: str) -> Path:
    """Return the folder of a suite; skip the test where there is none, or fail it where the variable is set."""
    folder = find_cases(variable)
    if folder is not None:
        return folder
    if os.environ.get(variable):
        pytest.fail(f"{variable} is {os.environ[variable]!r}: there is no cases.jsonl in it")
    pytest.skip(f"this suite is not part of the repository: set {variable} to its folder")
