"""What the how-to shows of the pytest plugin runs as a separate suite."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.programs import run_suite

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "test.md"


@pytest.mark.slow
def test_the_suite_of_the_how_to(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    (tmp_path / "test_page.py").write_text("\n\n".join(blocks))
    done = run_suite(tmp_path, "-q", "-k", "happy_path", "test_page.py")
    assert "1 passed" in done.stdout, done.stdout + done.stderr
