"""kill -9: one batch, run by processes that are killed and stopped at random moments, loses and repeats nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from statechain import BatchStatus, Engine
from support.faults.invariants import Findings, examine, late_calls
from support.faults.kill_plan import KillPlan
from support.faults.ledger import Call, Ledger
from support.faults.workload import SOURCES, TARGETS, WIDTH, make_sources
from support.summary import Figures

pytestmark = pytest.mark.timeout(1800)

SMALL: dict[str, Any] = {"sources": 36, "kills": 6}
FULL: dict[str, Any] = {"sources": 1000, "kills": 200}
PLANS: dict[str, dict[str, Any]] = {
    "1-worker": {"workers": 1},
    "3-workers": {"workers": 3},
    "zombies": {"workers": 3, "stops": 0.5},
    "shared": {"workers": 3, "shares": True},
    "shared-zombies": {"workers": 3, "shares": True, "stops": 0.5},
    "joined": {"workers": 3, "joins": True},
    "joined-zombies": {"workers": 3, "joins": True, "stops": 0.5},
}


TICKETS: dict[str, dict[str, Any]] = {
    "procrastinate": {"workers": 3, "shares": True, "dispatcher": "procrastinate"},
    "procrastinate-zombies": {"workers": 3, "shares": True, "dispatcher": "procrastinate", "stops": 0.5},
}


@pytest.mark.parametrize("name", TICKETS)
def test_killed_workers_of_a_dispatcher_lose_and_repeat_nothing(
    name: str, postgres_url: str, tmp_path: Path, seed: int, figures: Figures, *, full: bool
) -> None:
    pytest.importorskip("procrastinate")
    _torture(KillPlan(**(FULL if full else SMALL), **TICKETS[name]), postgres_url, tmp_path, seed, figures)


@pytest.mark.parametrize("name", PLANS)
def test_killed_workers_lose_and_repeat_nothing(
    name: str, durable_url: str, tmp_path: Path, seed: int, figures: Figures, *, full: bool
) -> None:
    _torture(KillPlan(**(FULL if full else SMALL), **PLANS[name]), durable_url, tmp_path, seed, figures)


def _torture(plan: KillPlan, durable_url: str, tmp_path: Path, seed: int, figures: Figures) -> None:
    ledger = Ledger(tmp_path / "ledger")
    asyncio.run(_prepare(durable_url, plan.sources))
    outcome = plan.run(durable_url, tmp_path, ledger, seed)
    calls = list(ledger)
    findings = asyncio.run(_examine(durable_url, calls, outcome.zombies))
    figures(
        seed=seed, sources=plan.sources, kills=outcome.kills, of_them_at_start_up=outcome.early, stops=outcome.stops,
        calls=sum(call.kind == "call" for call in calls), repeats=findings.repeats,
        late_calls=late_calls(calls), violations=len(findings.violations),
    )  # fmt: skip
    assert not outcome.faults
    assert not findings.violations
    assert outcome.kills + outcome.stops == plan.kills
    assert findings.repeats <= plan.kills * plan.workers * plan.concurrency * WIDTH


async def _prepare(url: str, count: int) -> None:
    async with Engine(url) as engine:
        await make_sources(engine, count)


async def _examine(url: str, calls: list[Call], zombies: set[int]) -> Findings:
    async with Engine(url, recovery=False) as engine:
        sources = await engine.get_state_machine("sources")
        targets = await engine.get_state_machine("targets")
        findings = await examine(engine, targets, calls, zombies=zombies)
        owned = await engine.repository.claim("examiner", page=1)
        assert not owned, "something is still to be claimed"
        assert any(
            batch.status is BatchStatus.SUCCEEDED and batch.item_counts.succeeded == batch.item_counts.total
            for batch in await engine.list_batches(state_machine_id=targets.id)
        ), "no batch of all sources has SUCCEEDED"
        assert sources.definition == SOURCES
        assert targets.definition == TARGETS
    return findings
