"""Usage 5: watch a batch through its callbacks."""

import asyncio

from orders import pipelines, place_orders, storage_url, tasks

from statechain import BatchExecutionOptions, Engine, ExecutionFailed, ExecutionFilter


class Progress:
    """Counts what has ended, and prints it."""

    completed = 0
    failed = 0

    def started(self, source_execution_id: str, index: int) -> None:
        """Report a start."""
        print(f"[{index}] started, from …{source_execution_id[-8:]}")

    async def ended(self, _source_execution_id: str, index: int, error: Exception | None) -> None:
        """Count an end; callbacks may be coroutines."""
        self.completed += error is None
        self.failed += error is not None
        cause = error.cause if isinstance(error, ExecutionFailed) else error
        print(f"[{index}] {'succeeded' if error is None else f'failed: {cause}'}")


async def main() -> None:
    """Invoice the orders, one of which has nothing to invoice."""
    progress = Progress()
    async with Engine(storage_url(), tasks=tasks) as engine:
        orders, invoices = await pipelines(engine)
        await place_orders(orders)
        await orders.execute({"id": 99, "customer": "nobody", "lines": {}})
        await invoices.execute_batch(
            ExecutionFilter(state_machine_id=orders.id, status="SUCCEEDED", limit=6),
            options=BatchExecutionOptions(
                concurrent_batches=5, on_execution_start=progress.started, on_execution_complete=progress.ended
            ),
        )
    print(f"batch summary: {progress.completed} succeeded, {progress.failed} failed")


if __name__ == "__main__":
    asyncio.run(main())
