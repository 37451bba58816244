"""LangGraph: a graph of nodes in a row, checkpointed after each, awaited by several clients at once.

``durability`` is left at its default, "async": the next node runs while the checkpoint is written. That promises less
than the others here do. Chained: the state of each finished thread is read, and given to a thread that it names.
"""

import time
from contextlib import AbstractAsyncContextManager
from typing import Any, TypedDict

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from peer import PAYLOAD, arguments, clients, play, report


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


def graph_of(steps: int, checkpointer: Any) -> Any:
    """Return a graph of a number of nodes in a row."""
    graph = StateGraph(State)
    names = [f"step{number}" for number in range(steps)]
    for name in names:
        graph.add_node(name, step)
    for before, after in zip([START, *names], [*names, END], strict=True):
        graph.add_edge(before, after)
    return graph.compile(checkpointer=checkpointer)


def thread(name: str) -> Any:
    """Return what names a thread."""
    return {"configurable": {"thread_id": name}}


async def measure(options: Any) -> None:
    """Run the executions, after some that do not count."""
    async with saver(options.url) as checkpointer:
        await checkpointer.setup()
        chain, sources = graph_of(options.steps, checkpointer), graph_of(1, checkpointer)

        async def one(number: int) -> None:
            await chain.ainvoke({"value": PAYLOAD}, thread(f"thread-{number}"))

        async def source(number: int) -> None:
            await sources.ainvoke({"value": PAYLOAD}, thread(f"source-{number}"))

        async def chained(number: int) -> None:
            finished = await sources.aget_state(thread(f"source-{number}"))
            await chain.ainvoke(finished.values, thread(f"chained-source-{number}"))

        await clients(one, range(-20, 0), options.concurrency)
        if options.chained:
            await clients(source, range(options.executions), options.concurrency)
        began = time.perf_counter()
        latencies = await clients(chained if options.chained else one, range(options.executions), options.concurrency)
        report(options, time.perf_counter() - began, latencies)


if __name__ == "__main__":
    settings = arguments(__doc__)
    play(settings, measure(settings))
