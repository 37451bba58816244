"""Use case, reports: one report for each account, and one cover letter chained from each report."""

import asyncio
from typing import Any

from orders import storage_url

from statechain import BatchExecutionOptions, Engine, ExecutionFailed, ExecutionFilter, TaskRegistry

tasks = TaskRegistry()

ACCOUNTS: dict[str, list[float]] = {"A-1": [120.0, -20.0], "A-2": [10.0], "A-3": []}


def one_task(resource: str) -> dict[str, Any]:
    """Return a machine of one Task."""
    return {"StartAt": "Do", "States": {"Do": {"Type": "Task", "Resource": resource, "End": True}}}


@tasks.register
async def report(job: dict[str, Any]) -> dict[str, Any]:
    """Add up an account's month; an account without bookings has no report."""
    bookings = ACCOUNTS[job["account"]]
    if not bookings:
        raise ValueError(f"{job['account']} has no bookings")
    return {**job, "balance": sum(bookings)}


@tasks.register
async def letter(finished: dict[str, Any]) -> str:
    """Write the cover letter."""
    return f"{finished['account']}: your balance of {finished['month']} is {finished['balance']:.2f}"


async def main() -> None:
    """Make the month's reports; run again, they are found by their names and not made twice."""
    month = "2026-10"
    async with Engine(storage_url(), tasks=tasks) as engine:
        reports = await engine.create_state_machine("reports", one_task("report"))
        letters = await engine.create_state_machine("letters", one_task("letter"))
        jobs = [{"account": account, "month": month} for account in ACCOUNTS]
        for result in await reports.execute_bulk(
            jobs, options=BatchExecutionOptions(name_prefix=f"report-{month}", concurrent_batches=5)
        ):
            if isinstance(result.error, ExecutionFailed):
                print("no report:", result.error.cause)
        made = ExecutionFilter(
            state_machine_id=reports.id, status="SUCCEEDED", name=f"report-{month}", order="oldest_first"
        )
        for result in await letters.execute_batch(made, options=BatchExecutionOptions(name_prefix=f"letter-{month}")):
            print(result.execution.output)


if __name__ == "__main__":
    asyncio.run(main())
