"""The network and the server fail under a running batch: a pause, and then everything is there once.

No worker dies here, so that no handler may be called twice either.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from invariants import examine
from ledger import Ledger
from postgres import NoPostgres, Postgres
from proxy import Cut, Proxy
from scene import TARGETS, make_sources, make_tasks, select_sources

from statechain import BatchExecutionOptions, Engine, RepositoryUnavailable

if TYPE_CHECKING:
    from conftest import Figures

pytestmark = pytest.mark.timeout(1800)

STALLED_EVERY = 5
"""Stalls and refusals take their time, so that only some of the calls get one."""


async def prepare(url: str, sources: int, ledger: Ledger) -> None:
    ledger.clear()
    async with Engine(url) as engine:
        await make_sources(engine, sources)


async def run_batch(url: str, ledger: Ledger, *, concurrency: int, seconds: float = 0.0) -> None:
    """Run the batch on an engine; one that cannot be opened just now is opened again."""
    opened = False
    while not opened:
        try:
            async with Engine(url, tasks=make_tasks(ledger, seconds=seconds)) as engine:
                opened = True
                sources = await engine.create_state_machine("sources", {"StartAt": "Begin", "States": BEGIN})
                targets = await engine.create_state_machine("targets", TARGETS)
                options = BatchExecutionOptions(name_prefix="chain", concurrent_batches=concurrency)
                async with targets.stream_batch(select_sources(sources), options=options) as results:
                    async for result in results:
                        assert result.execution is not None
                        ledger.ended(result.execution.id)
        except RepositoryUnavailable:
            if opened:
                raise
            await asyncio.sleep(0.05)


BEGIN = {"Begin": {"Type": "Pass", "End": True}}


async def verdict(url: str, ledger: Ledger) -> list[str]:
    """Return what is wrong in the end."""
    async with Engine(url, recovery=False) as engine:
        findings = await examine(engine, await engine.get_state_machine("targets"), list(ledger))
    again = [f"{findings.repeats} calls were made again"] if findings.repeats else []
    return [*findings.violations, *again]


async def test_the_network_fails_at_every_call(
    postgres_server: Postgres, postgres_url: str, tmp_path: Path, figures: Figures, *, full: bool
) -> None:
    ledger, tried = Ledger(tmp_path / "ledger"), 0
    database = urlsplit(postgres_url).path[1:]
    for call in count(1, 1 if full else 17):
        for cut in Cut:
            takes_long = cut in {Cut.STALL, Cut.REFUSE}
            if takes_long and call % STALLED_EVERY != 1:
                continue
            postgres_server.empty(database)
            await prepare(postgres_url, 2, ledger)
            async with Proxy(postgres_url, {call: cut}, stall=2.0 if full else 0.5) as proxy:
                await run_batch(proxy.url, ledger, concurrency=2)
                calls = proxy.calls
            assert not await verdict(postgres_url, ledger), f"call {call}: {cut.value}"
            tried += 1
        if call > calls:
            break
    figures(calls=calls, faults=tried, violations=0)


@asynccontextmanager
async def trouble(make: Callable[[], Awaitable[None]], *, times: int) -> AsyncIterator[None]:
    """Make trouble so many times beside the body, or for as long as that takes."""

    async def go_on() -> None:
        for _ in range(times):
            await make()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(go_on())
        try:
            yield
        finally:
            task.cancel()


async def test_the_server_crashes_under_load(
    postgres_server: Postgres, postgres_url: str, tmp_path: Path, seed: int, figures: Figures, *, full: bool
) -> None:
    ledger, chance, crashes = Ledger(tmp_path / "ledger"), random.Random(seed), 0
    sources = 1000 if full else 40

    async def crash() -> None:
        nonlocal crashes
        await asyncio.sleep(chance.uniform(0.1, 1.5 if full else 0.4))
        try:
            await asyncio.to_thread(postgres_server.restart, "immediate")
        except NoPostgres as fault:
            pytest.skip(str(fault))
        crashes += 1

    await prepare(postgres_url, sources, ledger)
    async with trouble(crash, times=100 if full else 4):
        await run_batch(postgres_url, ledger, concurrency=10, seconds=0.02)
    figures(seed=seed, sources=sources, crashes=crashes)
    assert crashes >= 2
    assert not await verdict(postgres_url, ledger)


async def test_connections_are_terminated_at_random(
    postgres_server: Postgres, postgres_url: str, tmp_path: Path, seed: int, figures: Figures, *, full: bool
) -> None:
    ledger, chance, ended = Ledger(tmp_path / "ledger"), random.Random(seed), 0
    sources = 1000 if full else 40
    database = urlsplit(postgres_url).path[1:]
    await prepare(postgres_url, sources, ledger)
    operator = await asyncpg.connect(postgres_server.url())

    async def terminate() -> None:
        nonlocal ended
        await asyncio.sleep(chance.uniform(0.0, 0.1))
        ended += await operator.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity"
            " WHERE datname = $1 ORDER BY random() LIMIT 1) one",
            database,
        )

    async with trouble(terminate, times=2000 if full else 30):
        await run_batch(postgres_url, ledger, concurrency=10, seconds=0.02)
    await operator.close()
    figures(seed=seed, sources=sources, terminated=ended)
    assert ended >= 10
    assert not await verdict(postgres_url, ledger)


async def test_the_server_is_read_only_for_a_while(
    postgres_server: Postgres, postgres_url: str, tmp_path: Path, figures: Figures
) -> None:
    """As after a failover: the connections die, and the server that answers refuses writes until it is promoted."""
    ledger = Ledger(tmp_path / "ledger")
    database = urlsplit(postgres_url).path[1:]
    await prepare(postgres_url, 60, ledger)
    operator = await asyncpg.connect(postgres_server.url())

    async def switch(word: str) -> None:
        await operator.execute(f'ALTER DATABASE "{database}" SET default_transaction_read_only = {word}')

    async def fail_over() -> None:
        await asyncio.sleep(0.5)
        await switch("on")
        await operator.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")
        await asyncio.sleep(1.5)
        await switch("off")

    began = time.monotonic()
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail_over())
            await run_batch(postgres_url, ledger, concurrency=10, seconds=0.02)
    finally:
        await switch("off")
        await operator.close()
    figures(seconds=round(time.monotonic() - began, 1), of_them_read_only=1.5)
    assert not await verdict(postgres_url, ledger)


async def test_an_engine_recovers_again_after_a_read_only_while(postgres_server: Postgres, postgres_url: str) -> None:
    """No connection of the pool stays read-only for good, whoever uses it: claims work as before."""
    database = urlsplit(postgres_url).path[1:]
    operator = await asyncpg.connect(postgres_server.url())
    kick = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"

    async def recover_at_once(engine: Engine) -> list[Any]:
        return await asyncio.gather(*(engine.recover() for _ in range(5)), return_exceptions=True)

    try:
        async with Engine(postgres_url) as engine:
            await operator.execute(f'ALTER DATABASE "{database}" SET default_transaction_read_only = on')
            await operator.execute(kick)
            await recover_at_once(engine)
            refused = await recover_at_once(engine)
            assert any(isinstance(answer, RepositoryUnavailable) for answer in refused), refused
            await operator.execute(f'ALTER DATABASE "{database}" SET default_transaction_read_only = off')
            await recover_at_once(engine)
            assert await recover_at_once(engine) == [[]] * 5
    finally:
        await operator.execute(f'ALTER DATABASE "{database}" SET default_transaction_read_only = off')
        await operator.close()
