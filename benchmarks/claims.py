"""What a worker's looks cost while very many executions run elsewhere: claims, and what else it asks of storage.

Each figure is taken on the repository, as a worker asks it. "an idle look" is a claim that finds nothing, which each
worker makes four times a second; "a claim" takes up executions that a client submitted. The last line reads every
RUNNING execution, and is made once in many looks.
"""

import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from statistics import median, quantiles
from typing import Any

from measuring.harness import run, storage_parser
from measuring.machines import chain_of
from measuring.sources import load_running

from statechain import Engine, Repository

LEASE = timedelta(hours=1)


async def timed(what: str, ask: Callable[[], Awaitable[object]], times: int, running: int) -> dict[str, Any]:
    """Ask some times, and return a row of how many milliseconds the answers took."""
    await ask()  # the statement is prepared
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        await ask()
        taken.append(1000 * (time.perf_counter() - began))
    p95 = quantiles(taken, n=20)[-1] if len(taken) > 1 else taken[0]
    return {"what": what, "RUNNING": running, "p50 ms": median(taken), "p95 ms": p95, "max ms": max(taken)}


async def measure(url: str) -> list[dict[str, Any]]:
    """Fill the storage, and ask as a worker does."""
    async with Engine(url, role="client") as client:
        machine = await client.create_state_machine("running", chain_of(1))
        repository = client.repository
        for worker_id in ("other", "this"):
            await repository.renew_lease(worker_id, LEASE)
        await load_running(url, machine, options.running, "held", "other")
        rows = [await timed("an idle look", lambda: _claim(repository), options.looks, options.running)]
        await load_running(url, machine, options.page * (options.claims + 1), "submitted", None)
        what = f"a claim of {options.page}"
        running = options.running + options.page * (options.claims + 1)
        rows.append(await timed(what, lambda: _claim(repository, full=True), options.claims, running))
        if await repository.count_unowned():
            raise RuntimeError("not everything was claimed")
        limited = await client.create_state_machine("limited", chain_of(1), max_concurrency=options.running)
        await load_running(url, limited, options.page * (options.claims + 1), "limited", None, is_limited=True)
        running += options.page * (options.claims + 1)
        rows.append(await timed(f"{what}, with limits", lambda: _claim(repository, full=True), options.claims, running))
        rows += [
            await timed("leases of all workers", repository.workers, options.looks, running),
            await timed("executions without an owner", repository.count_unowned, options.looks, running),
            await timed("owners without a lease", repository.strays, 3, running),
        ]
    return rows


async def _claim(repository: Repository, *, full: bool = False) -> None:
    claims = await repository.claim("this", page=options.page)
    if len(claims) != (options.page if full else 0):
        raise RuntimeError(f"{len(claims)} executions were claimed")


if __name__ == "__main__":
    arguments = storage_parser(__doc__)
    arguments.add_argument("--running", type=int, default=300_000, help="RUNNING executions of another worker")
    arguments.add_argument("--page", type=int, default=50, help="executions that one claim takes up")
    arguments.add_argument("--claims", type=int, default=100)
    arguments.add_argument("--looks", type=int, default=200)
    options = arguments.parse_args()
    run(options, measure)
