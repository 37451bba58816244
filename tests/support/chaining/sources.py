"""Executions to chain from, and the machine that calls a handler for each of their outputs."""

from __future__ import annotations

from statechain import Engine, ExecutionFilter

__all__ = ["CALL", "PASS", "sources"]

PASS = {"StartAt": "Echo", "States": {"Echo": {"Type": "Pass", "End": True}}}
CALL = {"StartAt": "Call", "States": {"Call": {"Type": "Task", "Resource": "Call", "End": True}}}


async def sources(engine: Engine, count: int) -> tuple[ExecutionFilter, list[str]]:
    """Store executions whose outputs are numbers; return the filter that finds them, and their ids."""
    machine = await engine.create_state_machine("sources", PASS)
    ids = [(await machine.execute(number)).id for number in range(count)]
    return ExecutionFilter(state_machine_id=machine.id, order="oldest_first"), ids
