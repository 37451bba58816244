"""Five orders, then four batches of invoices chained from them: sequential, concurrent, by time, transformed.

Runs on SQLite, or on whatever DATABASE_URL names; run it again, and it goes on with the orders that are there.
"""

import asyncio
import time
from collections import Counter
from datetime import UTC, datetime

from orders import pipelines, place_orders, storage_url, tasks

from statechain import BatchExecutionOptions, BatchExecutionResult, Engine, ExecutionFilter


def progress(prefix: str, concurrency: int) -> BatchExecutionOptions:
    """Return options that tell of every start and every end."""

    def started(_source_execution_id: str, index: int) -> None:
        print(f"    [{index}] started")

    def completed(_source_execution_id: str, index: int, error: Exception | None) -> None:
        print(f"    [{index}] {'done' if error is None else f'failed: {error}'}")

    stamp = f"{datetime.now(UTC):%H%M%S%f}"
    return BatchExecutionOptions(
        name_prefix=f"{prefix}-{stamp}",
        concurrent_batches=concurrency,
        on_execution_start=started,
        on_execution_complete=completed,
    )


def as_priority(order: dict) -> dict:
    """Map an order to what the invoices need, with a priority."""
    return {**order, "priority": "high"}


def report(results: list[BatchExecutionResult], seconds: float) -> None:
    """Print what a batch made."""
    for result in results:
        output = result.execution.output if result.execution else None
        print(f"  {result.index}: source {result.source_execution_id[:13]}… -> {output}")
    print(f"  {len(results)} invoices in {seconds * 1000:.0f} ms\n")


async def main() -> None:
    """Play the scenarios."""
    url = storage_url()
    async with Engine(url, tasks=tasks) as engine:
        print(f"storage: {engine.repository!r}\n")
        orders, invoices = await pipelines(engine)
        began = await place_orders(orders)
        finished = ExecutionFilter(
            state_machine_id=orders.id, status="SUCCEEDED", start_after=began, order="oldest_first"
        )
        print("1. five orders")
        for order in await engine.list_executions(finished):
            print(f"  {order.id[:13]}… {order.status} {order.output}")
        print()

        latest = ExecutionFilter(state_machine_id=orders.id, status="SUCCEEDED", start_after=began, limit=3)
        two = ExecutionFilter(state_machine_id=orders.id, status="SUCCEEDED", start_after=began, limit=2)
        scenarios = [
            ("2. sequential, all five", finished, progress("sequential", 1), None),
            ("3. concurrent by 3, all five", finished, progress("concurrent", 3), None),
            ("4. a time range, the 3 most recent", latest, progress("recent", 2), None),
            ("5. two with a transformed input", two, progress("transformed", 2), as_priority),
        ]
        for title, selection, options, transformer in scenarios:
            print(title)
            clock = time.perf_counter()
            results = await invoices.execute_batch(selection, options=options, input_transformer=transformer)
            report(results, time.perf_counter() - clock)

        batches = await engine.list_batches(state_machine_id=invoices.id)
        counts = Counter(str(batch.status) for batch in batches)
        links = await engine.list_linked_executions(target_state_machine_id=invoices.id)
        print("summary")
        print(f"  batches: {dict(counts)}")
        print(f"  executions chained so far: {len(links)}")
        for status, figures in (await engine.execution_statistics(invoices.id)).items():
            print(f"  invoices {status}: {figures.count}, {1000 * (figures.mean or 0):.1f} ms on average")


if __name__ == "__main__":
    asyncio.run(main())
