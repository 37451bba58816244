"""The examples are right by their types, as mypy and pyright see them: what is copied from there stays so."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = [ROOT / "examples", ROOT / "examples" / "service"]
PYRIGHT = shutil.which("pyright", path=str(Path(sys.executable).parent)) or shutil.which("pyright")

pytestmark = pytest.mark.timeout(600)  # a checker takes its time on a busy machine


def check(*command: str | Path) -> None:
    """Run a checker of types; fail with what it prints."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(find_spec("mypy") is None, reason="mypy is not installed: pip install --group typing")
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_mypy_finds_no_error(folder: Path) -> None:
    check(sys.executable, "-m", "mypy", "--strict", *sorted(folder.glob("*.py")))


@pytest.mark.skipif(PYRIGHT is None, reason="pyright is not installed: pip install --group typing")
def test_pyright_finds_no_error() -> None:
    check(str(PYRIGHT), "--pythonpath", sys.executable, *FOLDERS)
