"""A very large batch: how long its sources take to freeze, what reading it costs, and what a resume spends an item.

The sources, and then the executions of all items, are made by the database, so that no item is run: a resume finds each
one ended. One in ten has FAILED, so that every shard has failures. "get_batch" is read before an item has begun, while
shards are under way of which half are over, after one that had failed was redriven, and when all have ended. "totals"
are what the shards counted, and need no look at the items.
"""

import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any

from measuring.harness import run, storage_parser
from measuring.machines import PAYLOAD, chain_of, tasks
from measuring.sources import EPOCH, execute, load

from statechain import BatchExecutionOptions, Engine, ExecutionFilter
from statechain.codec import encode

ENDED = """
INSERT INTO executions (id, name, state_machine_id, state_machine_revision, status, input, output, error, start_time,
                        end_time, source_execution_id, redrive_count, epoch)
SELECT 'ended-' || batch_id || '-' || CAST("index" AS TEXT), name, '{machine}', 1,
       CASE WHEN "index" % 10 = 9 THEN 'FAILED' ELSE 'SUCCEEDED' END, '{payload}',
       CASE WHEN "index" % 10 = 9 THEN NULL ELSE '{payload}' END, CASE WHEN "index" % 10 = 9 THEN 'Out.OfStock' END,
       {epoch} + "index", {epoch} + 1000 + "index", source_execution_id, 0, 1
FROM batch_items WHERE batch_id = '{batch}'
"""

HALF_OVER = """
UPDATE batch_shards SET status = 'DONE', epoch = 1, owner = NULL, ended = last - first + 1,
       failed = (last + 1) / 10 - first / 10, items_failed = (last + 1) / 10 - first / 10,
       items_succeeded = last - first + 1 - (last + 1) / 10 + first / 10, items_timed_out = 0, items_aborted = 0
WHERE batch_id = '{batch}' AND last < {half}
"""
UNDER_WAY = """
UPDATE batch_shards SET status = 'RUNNING', epoch = 1
WHERE batch_id = '{batch}' AND last >= {half} AND first < {half} + 5000
"""
REDRIVEN = """
UPDATE executions SET redrive_count = 1, end_time = {now} WHERE id = 'ended-{batch}-9'
"""


async def seconds(ask: Callable[[], Awaitable[object]], times: int = 1) -> float:
    """Return how long an answer takes, in the median."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        await ask()
        taken.append(time.perf_counter() - began)
    return median(taken)


async def measure(url: str) -> list[dict[str, Any]]:
    """Freeze, read, and resume."""
    size = options.sources
    async with Engine(url, role="client") as client:
        sources = await client.create_state_machine("sources", chain_of(1))
        targets = await client.create_state_machine("targets", chain_of(1))
        await load(url, sources, size)
        meant = ExecutionFilter(state_machine_id=sources.id)
        began = time.perf_counter()
        handle = await targets.start_batch(meant, options=BatchExecutionOptions(concurrent_batches=100))
        freeze = time.perf_counter() - began
        await client.repository.claim_shard(handle.id, "no worker", running=(), at=client.clock.now())  # cuts the batch
        row = {
            "sources": size,
            "shards": len(await client.repository.shards(handle.id)),
            "freeze us/source": 1e6 * freeze / size,
            "get_batch ms, begun": 1000 * await seconds(lambda: client.get_batch(handle.id), 3),
            "totals ms": 1000 * await seconds(lambda: client.get_batch_totals(handle.id), 20),
        }
        told = {"machine": targets.id, "batch": handle.id, "payload": encode(PAYLOAD), "epoch": EPOCH}
        await execute(url, ENDED.format(**told))
        for change in (HALF_OVER, UNDER_WAY):
            await execute(url, change.format(batch=handle.id, half=size // 2))
        row["half over"] = 1000 * await seconds(lambda: client.get_batch(handle.id), 9)
        now = int(1_000_000 * time.time())
        await execute(url, REDRIVEN.format(batch=handle.id, now=now))
        row["redriven"] = 1000 * await seconds(lambda: client.get_batch(handle.id), 9)
        await client.stop_batch(handle.id)
    async with Engine(url, tasks=tasks, lease=5) as engine:
        inline = BatchExecutionOptions(concurrent_batches=100)
        used = time.process_time()
        resume = await seconds(lambda: engine.resume_batch(handle.id, options=inline))
        used = time.process_time() - used
        counts = (await engine.get_batch(handle.id)).item_counts
        row["ended"] = 1000 * await seconds(lambda: engine.get_batch(handle.id), 9)
    if (counts.succeeded, counts.failed) != (size - size // 10, size // 10):
        raise RuntimeError(f"the batch ended with {counts}")
    return [{**row, "resume us/item": 1e6 * resume / size, "its client us": 1e6 * used / size}]


if __name__ == "__main__":
    arguments = storage_parser(__doc__)
    arguments.add_argument("--sources", type=int, default=200_000, help="1000000 takes a minute or two")
    options = arguments.parse_args()
    run(options, measure)
