"""The network and the server fail under a running batch: a pause, and then everything is there once.

No worker dies here, so that no handler may be called twice either.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import asyncpg
import attrs
import pytest

from statechain import BatchExecutionOptions, Clock, Engine, RepositoryUnavailable
from statechain.testing import VirtualClock
from support.faults.invariants import examine
from support.faults.ledger import Ledger
from support.faults.tcp_proxy import Cut, Proxy
from support.faults.workload import TARGETS, make_sources, make_tasks, select_sources
from support.postgres import Postgres, PrivateServer
from support.summary import Figures

pytestmark = pytest.mark.timeout(1800)

Strike: TypeAlias = "Callable[[], Awaitable[int]]"
"""Makes trouble, and tells whether there was anything to trouble."""

STALLED_EVERY = 5
"""Stalls and refusals take their time, so that only some of the calls get one."""


async def prepare(url: str, sources: int, ledger: Ledger) -> None:
    ledger.clear()
    async with Engine(url) as engine:
        await make_sources(engine, sources)


async def run_batch(
    url: str, ledger: Ledger, *, concurrency: int, seconds: float = 0.0, clock: Clock | None = None
) -> None:
    """Run the batch on an engine; one that cannot be opened just now is opened again."""
    opened = False
    while not opened:
        try:
            async with Engine(url, tasks=make_tasks(ledger, seconds=seconds), clock=clock) as engine:
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
                await run_batch(proxy.url, ledger, concurrency=2, clock=VirtualClock())
                calls = proxy.calls
            assert not await verdict(postgres_url, ledger), f"call {call}: {cut.value}"
            tried += 1
        if call > calls:
            break
    figures(calls=calls, faults=tried, violations=0)


async def besiege(work: Coroutine[Any, Any, None], strike: Strike, pause: Callable[[], float], *, most: int) -> int:
    """Do some work, and strike after every pause while it lasts, so often at most; return how many strikes fell."""
    struck = 0
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work)
        while struck < most and not (await asyncio.wait([task], timeout=pause()))[0]:
            struck += await strike()
    return struck


@attrs.frozen
class Siege:
    """Batches under strikes, each over a database that was emptied, until there were enough strikes.

    Attributes:
        sources: How many sources each batch has.

        enough: How many strikes are to fall, on fast and slow machines alike.

        longest: The longest pause between two of them.
    """

    sources: int
    enough: int
    longest: float

    async def run(self, server: Postgres, url: str, ledger: Ledger, seed: int, strike: Strike) -> dict[str, int]:
        """Run the batches, and hold each to what was promised; return the figures."""
        chance, batches, struck = random.Random(seed), 0, 0
        while struck < self.enough:
            server.empty(urlsplit(url).path[1:])
            await prepare(url, self.sources, ledger)
            work = run_batch(url, ledger, concurrency=10, seconds=0.02)
            pause = partial(chance.uniform, 0.0, self.longest)
            struck += await besiege(work, strike, pause, most=self.enough - struck)
            batches += 1
            assert not await verdict(url, ledger), f"--faults-seed {seed}"
        return {"seed": seed, "batches": batches, "sources": self.sources, "strikes": struck}


async def test_the_server_crashes_under_load(
    postgres_server: Postgres, postgres_url: str, tmp_path: Path, seed: int, figures: Figures, *, full: bool
) -> None:
    if not isinstance(postgres_server, PrivateServer):
        pytest.skip("the server was not started here: it cannot be crashed")

    async def crash() -> int:
        await asyncio.to_thread(postgres_server.restart, "immediate")
        return 1

    siege = Siege(1000, enough=100, longest=1.5) if full else Siege(24, enough=3, longest=0.4)
    told = await siege.run(postgres_server, postgres_url, Ledger(tmp_path / "ledger"), seed, crash)
    figures(crashes=told.pop("strikes"), **told)


async def test_connections_are_terminated_at_random(
    postgres_server: Postgres, postgres_url: str, tmp_path: Path, seed: int, figures: Figures, *, full: bool
) -> None:
    operator = await asyncpg.connect(postgres_server.url())
    terminate = partial(
        operator.fetchval,
        "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity"
        " WHERE datname = $1 ORDER BY random() LIMIT 1) one",
        urlsplit(postgres_url).path[1:],
    )
    siege = Siege(1000, enough=500, longest=0.1) if full else Siege(24, enough=10, longest=0.1)
    try:
        told = await siege.run(postgres_server, postgres_url, Ledger(tmp_path / "ledger"), seed, terminate)
    finally:
        await operator.close()
    figures(terminated=told.pop("strikes"), **told)


CALLS_BEFORE = 100
"""How many handlers are called before the server is read-only: a third of the batch's."""


async def test_the_server_is_read_only_for_a_while(
    postgres_server: Postgres, postgres_url: str, tmp_path: Path, figures: Figures
) -> None:
    """As after a failover: the connections die, and the server that answers refuses writes until it is promoted."""
    ledger = Ledger(tmp_path / "ledger")
    database = urlsplit(postgres_url).path[1:]
    await prepare(postgres_url, 30, ledger)
    operator = await asyncpg.connect(postgres_server.url())

    async def switch(word: str) -> None:
        await operator.execute(f'ALTER DATABASE "{database}" SET default_transaction_read_only = {word}')

    async def fail_over() -> None:
        while len(ledger) < CALLS_BEFORE:  # noqa: ASYNC110 -- a file has no event
            await asyncio.sleep(0.01)
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
    """No connection of the pool stays read-only for good: claims work as before."""
    database = urlsplit(postgres_url).path[1:]
    operator = await asyncpg.connect(postgres_server.url())
    kick = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"

    async def answers(engine: Engine) -> list[Any]:
        return await asyncio.gather(*(engine.recover() for _ in range(5)), return_exceptions=True)

    async def until(is_so: Callable[[list[Any]], bool], engine: Engine) -> None:
        """Ask again: a connection that was terminated stays for a moment, and one more may rest in the pool."""
        async with asyncio.timeout(60):
            while not is_so(await answers(engine)):  # noqa: ASYNC110 -- it is the server that changes
                await asyncio.sleep(0.02)

    try:
        async with Engine(postgres_url) as engine:
            await operator.execute(f'ALTER DATABASE "{database}" SET default_transaction_read_only = on')
            await operator.execute(kick)
            await until(lambda found: any("read-only" in str(each) for each in found), engine)
            await operator.execute(f'ALTER DATABASE "{database}" SET default_transaction_read_only = off')
            await until(lambda found: found == [[]] * 5, engine)
    finally:
        await operator.execute(f'ALTER DATABASE "{database}" SET default_transaction_read_only = off')
        await operator.close()
