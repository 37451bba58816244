"""The Python of the README and of every page of the docs is right by its types, as mypy and pyright see it.

So is that of the page that promises the public API, where it lies beside the repository. Pyright sees the examples
as well; mypy sees them in ``tests/examples``.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from support.pages import PAGES, ROOT, blocks

API = ROOT.parent / "shared" / "API.md"
PYRIGHT = shutil.which("pyright", path=str(Path(sys.executable).parent)) or shutil.which("pyright")
# Strict, but for what a page leaves out to be short: `dict` of a handler's input, annotations of what is not shown.
# A comment in each program, not options: with the same options as elsewhere mypy reuses its cache of the library.
LENIENT = "# mypy: allow-any-generics, allow-untyped-defs, allow-untyped-calls, allow-incomplete-defs"


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the Python of each page in a separate file: the blocks of a page, in order, are one program."""
    folder = tmp_path_factory.mktemp("pages")
    for page in [*PAGES, *([API] if API.is_file() else [])]:
        if code := blocks(page, "python"):
            parts = page.relative_to(ROOT).with_suffix("").parts if page != API else ("promised",)
            (folder / f"{'_'.join(parts).replace('-', '_')}.py").write_text("\n\n".join([LENIENT, *code]))
    assert len(list(folder.iterdir())) > 10
    return folder


@pytest.mark.skipif(find_spec("mypy") is None, reason="mypy is not installed: pip install '.[typing]'")
def test_mypy_finds_no_error(programs: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", *sorted(map(str, programs.glob("*.py")))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(300)
@pytest.mark.skipif(PYRIGHT is None, reason="pyright is not installed: pip install '.[typing]'")
def test_pyright_finds_no_error_in_pages_and_examples(programs: Path) -> None:
    """One run for both: it spends most of its time on the library."""
    done = subprocess.run(
        [str(PYRIGHT), "--pythonpath", sys.executable, str(programs), str(ROOT / "examples")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
