"""LangGraph: a graph of nodes in a row, checkpointed after each (durability="sync"), awaited by so many clients."""

import asyncio
import time
from contextlib import AbstractAsyncContextManager
from typing import Any, TypedDict
from uuid import uuid4

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from peer import PAYLOAD, arguments, clients, report


class State(TypedDict):
    """What the nodes pass on."""

    value: dict[str, Any]


async def step(state: State) -> State:
    """Do nothing."""
    return {"value": state["value"]}


def saver(url: str) -> AbstractAsyncContextManager[Any]:
    """Return the checkpointer of a storage."""
    if url.startswith("sqlite"):
        return AsyncSqliteSaver.from_conn_string(url.partition(":///")[2])
    return AsyncPostgresSaver.from_conn_string(url)


async def measure(options: Any) -> None:
    """Run the executions, after some that do not count."""
    graph = StateGraph(State)
    names = [f"step{number}" for number in range(options.steps)]
    for name in names:
        graph.add_node(name, step)
    for before, after in zip([START, *names], [*names, END], strict=True):
        graph.add_edge(before, after)
    async with saver(options.url) as checkpointer:
        await checkpointer.setup()
        chain = graph.compile(checkpointer=checkpointer)

        async def one() -> None:
            thread = {"configurable": {"thread_id": str(uuid4())}}
            await chain.ainvoke({"value": PAYLOAD}, thread, durability="sync")

        await clients(one, min(20, options.executions), options.concurrency)
        began = time.perf_counter()
        latencies = await clients(one, options.executions, options.concurrency)
        report("langgraph", options, time.perf_counter() - began, latencies)


if __name__ == "__main__":
    asyncio.run(measure(arguments(__doc__)))
