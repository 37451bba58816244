"""Runs many executions in one process, and reports its peak of memory: ``python memory.py stream|batch URL COUNT``."""

from __future__ import annotations

import asyncio
import resource
import sys
from contextlib import suppress
from pathlib import Path

from statechain import BatchExecutionOptions, Engine, ExecutionFilter, TaskRegistry
from support.faults.one_task import ONE_TASK

__all__ = ["peak"]

CONCURRENCY = 100


async def work(value: object) -> object:
    return value


def peak() -> int:
    """Return the most memory that this process ever had, in KiB.

    Linux counts in ``ru_maxrss`` what the parent had when it made the process; the process's own peak is
    in /proc.
    """
    with suppress(FileNotFoundError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found // 1024 if sys.platform == "darwin" else found


async def main(what: str, url: str, count: int) -> None:
    tasks = TaskRegistry()
    tasks.add("Work", work)
    options = BatchExecutionOptions(concurrent_batches=CONCURRENCY)
    async with Engine(url, tasks=tasks) as engine:
        sources = await engine.create_state_machine("crowd", ONE_TASK)
        if what == "stream":
            results = sources.stream_bulk(({"n": number} for number in range(count)), options=options)
        else:
            targets = await engine.create_state_machine("chained", ONE_TASK)
            select = ExecutionFilter(state_machine_id=sources.id, status="SUCCEEDED")
            results = targets.stream_batch(select, options=options)
        ended = 0
        async with results:
            async for result in results:
                assert result.error is None
                ended += 1
        assert ended == count


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
    sys.stdout.write(str(peak()))
