"""Five orders, then four batches of invoices chained from them: sequential, concurrent, by time, transformed.

Runs on SQLite (orders.db), or on the database that DATABASE_URL names. Run it again: it places five more orders.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from orders import pipelines, place_orders, storage_url, tasks

from statechain import BatchExecutionOptions, BatchExecutionResult, Engine, ExecutionFilter, StateMachine


class Progress:
    """Reports every start and every end, and how long it took."""

    def __init__(self) -> None:
        self._began: dict[int, float] = {}

    def started(self, source_execution_id: str, index: int) -> None:
        """Note the time of a start."""
        self._began[index] = time.perf_counter()
        print(f"   [{index}] {short(source_execution_id)} …")

    def ended(self, source_execution_id: str, index: int, error: Exception | None) -> None:
        """Report an end."""
        milliseconds = 1000 * (time.perf_counter() - self._began[index])
        outcome = "done" if error is None else f"failed: {error}"
        print(f"   [{index}] {short(source_execution_id)} {outcome} after {milliseconds:.0f} ms")


def short(execution_id: str | None) -> str:
    """Return the part of an id by which it differs from its neighbours."""
    return str(execution_id)[-8:]


def with_priority(order: dict[str, Any]) -> dict[str, Any]:
    """Map an order to what the invoices need, with a priority."""
    return {**order, "priority": "high"}


async def play(
    invoices: StateMachine,
    title: str,
    select: ExecutionFilter,
    concurrency: int,
    input_transformer: Callable[[Any], Any] | None = None,
) -> str:
    """Run one batch, show it, and return its line of the summary."""
    print(title)
    progress = Progress()
    options = BatchExecutionOptions(
        concurrent_batches=concurrency, on_execution_start=progress.started, on_execution_complete=progress.ended
    )
    began = time.perf_counter()
    results = await invoices.execute_batch(select, options=options, input_transformer=input_transformer)
    seconds = time.perf_counter() - began
    for result in results:
        show(result)
    print()
    failed = sum(result.error is not None for result in results)
    return f"   {title[3:]:<44} {len(results) - failed:>9} {failed:>6} {seconds:>6.2f} s"


def show(result: BatchExecutionResult) -> None:
    """Print the invoice that a batch made of an order."""
    invoice: Any = result.execution.output if result.execution else None
    if invoice is None:
        print(f"   {short(result.source_execution_id)} -> none: {result.error}")
    else:
        what = f"{invoice['invoice']}  {invoice['amount']:>7.2f}  {invoice['priority']}"
        print(f"   {short(result.source_execution_id)} -> {what}")


async def main() -> None:
    """Play the five scenarios."""
    async with Engine(storage_url(), tasks=tasks) as engine:
        print(f"Batches of chained executions, on {engine.repository!r}\n")
        orders, invoices = await pipelines(engine)

        print("1. five orders")
        began = await place_orders(orders)
        finished: dict[str, Any] = {"state_machine_id": orders.id, "status": "SUCCEEDED", "start_after": began}
        everything = ExecutionFilter(**finished, order="oldest_first")
        for order in await engine.list_executions(everything):
            placed: Any = order.output
            print(f"   {short(order.id)}    order {placed['id']}  {placed['total']:>7.2f}  {placed['customer']}")
        print()

        most_recent = [ExecutionFilter(**finished, limit=limit) for limit in (3, 2)]
        summary = [
            await play(invoices, "2. sequential: all five, one after the other", everything, 1),
            await play(invoices, "3. concurrent: all five, three at a time", everything, 3),
            await play(invoices, "4. time range: the three most recent", most_recent[0], 2),
            await play(invoices, "5. transformed: two, with priority", most_recent[1], 2, with_priority),
        ]

        print(f"Summary\n   {'':<44} succeeded failed     time", *summary, sep="\n")
        statistics = await engine.execution_statistics(invoices.id)
        chained = await engine.list_linked_executions(target_state_machine_id=invoices.id)
        print(f"\n   {len(chained)} invoices have been chained in this storage so far")
        for status, figures in statistics.items():
            print(f"   {figures.count} {status}, each in {1000 * (figures.mean or 0):.0f} ms on average")


if __name__ == "__main__":
    asyncio.run(main())
