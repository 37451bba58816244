"""Every call to storage fails once, in every way: nothing is lost, nothing is done twice, and no caller gets an error.

No process dies here, so that handlers must not be called again at all: a result that could not be written is kept until
it is.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from statechain import BatchExecutionOptions, Engine, ExecutionFilter, RepositoryUnavailable, open_repository
from statechain.testing import VirtualClock
from support.faults.invariants import examine
from support.faults.ledger import Ledger
from support.faults.workload import TARGETS, make_sources, make_tasks, select_sources
from support.faulty_repository import Fault, FaultyRepository, as_repository
from support.summary import Figures

pytestmark = pytest.mark.timeout(900)

SOURCES = 3
STRIDES = {"memory": 1, "sqlite": 7, "postgresql": 11}


async def test_every_call_fails_once_in_every_way(
    fresh: Callable[[], str], kind: str, tmp_path: Path, figures: Figures, *, full: bool
) -> None:
    tried, calls = 0, 10_000
    ledger = Ledger(tmp_path / "ledger")
    for number, (call, fault) in enumerate((call, fault) for call in count(1) for fault in Fault):
        if call > calls:
            break
        if full or number % STRIDES[kind] == 0:
            calls, wrong = await run_once(fresh(), ledger, faults={call: fault})
            assert not wrong, f"call {call} {fault.value}"
            tried += 1
    figures(calls=calls, faults=tried, violations=0)
    assert calls > 20


async def test_calls_that_fail_at_random(
    fresh: Callable[[], str], kind: str, tmp_path: Path, seed: int, figures: Figures, *, full: bool
) -> None:
    ledger, calls = Ledger(tmp_path / "ledger"), 0
    runs = 100 if full else 3
    for each in range(seed, seed + runs):
        made, wrong = await run_once(fresh(), ledger, rate=0.3, seed=each)
        assert not wrong, f"--faults-seed {each}"
        calls += made
    figures(seed=seed, runs=runs, calls=calls, of_them_faulty="30 %", violations=0)


async def run_once(url: str, ledger: Ledger, **faults: Any) -> tuple[int, list[str]]:
    """Run the batch once with faults; return how many calls there were, and what was wrong in the end."""
    ledger.clear()
    async with open_repository(url) as inner:
        async with Engine(inner, recovery=False) as engine:
            sources = await make_sources(engine, SOURCES)
        faulty = FaultyRepository(inner, **faults)
        await run_batch(faulty, ledger, select_sources(sources))
        async with Engine(inner, recovery=False) as engine:
            findings = await examine(engine, await engine.get_state_machine("targets"), list(ledger))
    again = [f"{findings.repeats} calls were made again"] if findings.repeats else []
    return faulty.calls, [*findings.violations, *again]


async def run_batch(faulty: FaultyRepository, ledger: Ledger, select: ExecutionFilter) -> None:
    """Run the batch on an engine; one that cannot be opened just now is opened again."""
    opened = False
    while not opened:
        try:
            async with Engine(as_repository(faulty), tasks=make_tasks(ledger), clock=VirtualClock()) as engine:
                opened = True
                targets = await engine.create_state_machine("targets", TARGETS)
                options = BatchExecutionOptions(name_prefix="chain", concurrent_batches=2, page_size=2)
                results = await targets.execute_batch(select, options=options)
                for result in results:
                    assert result.execution is not None
                    ledger.ended(result.execution.id)
        except RepositoryUnavailable:
            if opened:
                raise
