"""What tests of executions share: a folder in the place of a bucket."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.engine_harness import EngineHarness


@pytest.fixture
async def bucket(quick: EngineHarness, tmp_path: Path) -> Path:
    """Return a bucket of the harness's engine."""
    await quick.close()
    await quick.open(files=tmp_path)
    folder = tmp_path / "data"
    folder.mkdir()
    return folder
