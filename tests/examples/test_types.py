"""The examples are right by their types, as mypy sees them: what is copied from there stays so.

Pyright sees them together with the pages of the docs (``tests/docs/test_types.py``).
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = [ROOT / "examples", ROOT / "examples" / "service"]

pytestmark = pytest.mark.timeout(600)  # a checker takes its time on a busy machine


@pytest.mark.skipif(find_spec("mypy") is None, reason="mypy is not installed: pip install --group typing")
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_mypy_finds_no_error(folder: Path) -> None:
    command = [sys.executable, "-m", "mypy", "--strict", *sorted(folder.glob("*.py"))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
