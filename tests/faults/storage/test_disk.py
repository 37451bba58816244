"""SQLite on a disk that is full: what was acknowledged stays, the rest waits, and goes on once there is room."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from statechain import Engine, ExecutionStatus
from support.faults.invariants import examine
from support.faults.ledger import Ledger
from support.faults.workers.disk_full import DEATH
from support.faults.workload import make_sources
from support.forked import Program
from support.summary import Figures

pytestmark = pytest.mark.timeout(1800)

SOURCES = 8
PAGE = 4096
ROOMS = [0, 30]
"""How many pages there are left, when little is tried."""


def run(url: str, ledger: Ledger, **options: object) -> int:
    """Run a worker until it ends; return its exit code."""
    with Program("support.faults.workers.disk_full", url, ledger.file, json.dumps(options)) as worker:
        return worker.wait(120)


@pytest.mark.parametrize("dies", [False, True], ids=["freed", "killed-while-full"])
def test_a_full_disk_is_a_pause(sqlite_url: str, tmp_path: Path, figures: Figures, *, dies: bool, full: bool) -> None:
    rooms, acknowledged = range(0, 240, 4) if full else ROOMS, 0
    for room in rooms:
        file = tmp_path / f"{room}.db"
        file.write_bytes(Path(sqlite_url.removeprefix("sqlite:///")).read_bytes())
        url, ledger = f"sqlite:///{file}", Ledger(tmp_path / f"ledger-{room}")
        asyncio.run(_prepare(url))
        code = run(url, ledger, room=room * PAGE, seconds=1.5 if full else 0.4, dies=dies)
        assert code == (DEATH if dies else 0) or (room >= 60 and code == 0)
        told = [call.execution for call in ledger if call.kind == "ended"]
        acknowledged += len(told)
        asyncio.run(_find_succeeded(url, told))
        if dies:
            assert run(url, ledger, room=1 << 30, seconds=60, dies=False) == 0
        findings = asyncio.run(_examine(url, ledger))
        assert not findings.violations  # type: ignore[attr-defined]
        assert findings.repeats == 0 or dies  # type: ignore[attr-defined]
    figures(rooms=len(rooms), acknowledged_before_the_end=acknowledged, violations=0)


async def _prepare(url: str) -> None:
    async with Engine(url) as engine:
        await make_sources(engine, SOURCES)


async def _find_succeeded(url: str, told: list[str]) -> None:
    async with Engine(url, recovery=False) as engine:
        for execution_id in told:
            assert (await engine.get_execution(execution_id)).status is ExecutionStatus.SUCCEEDED


async def _examine(url: str, ledger: Ledger) -> object:
    async with Engine(url, recovery=False) as engine:
        return await examine(engine, await engine.get_state_machine("targets"), list(ledger))
