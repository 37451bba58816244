"""Names and ids, as a user gives them → what is stored."""

from __future__ import annotations

from statechain.cli.exits import Failure
from statechain.engine.engine import Engine
from statechain.engine.machine import StateMachine
from statechain.errors import StateMachineNotFound
from statechain.records.executions import Execution

__all__ = ["find_execution", "find_machine", "machine_names"]


async def find_machine(engine: Engine, name_or_id: str) -> StateMachine:
    """Return a stored state machine, or say which there are."""
    try:
        return await engine.get_state_machine(name_or_id)
    except StateMachineNotFound:
        names = ", ".join(record.name for record in await engine.repository.state_machines()) or "none"
        raise Failure(f"there is no state machine {name_or_id!r}; stored are: {names}") from None


async def find_execution(engine: Engine, text: str) -> Execution:
    """Return the execution that an id, a name, or ``machine/name`` means."""
    execution = await engine.repository.execution(text)
    if execution is not None:
        return execution
    machine, _, name = text.partition("/")
    if name:
        record = await engine.repository.state_machine(machine)
        found = None if record is None else await engine.repository.execution_by_name(record.id, name)
        if found is not None:
            return found
    records = await engine.repository.state_machines()
    # The whole text: a name may have a slash itself.
    named = [(record, await engine.repository.execution_by_name(record.id, text)) for record in records]
    fitting = [(record.name, execution) for record, execution in named if execution is not None]
    # A name is unique within its machine alone.
    if len(fitting) == 1:
        return fitting[0][1]
    if fitting:
        raise Failure(f"more than one execution is named {text!r}: {', '.join(f'{m}/{text}' for m, _ in fitting)}")
    raise Failure(f"there is no execution with the id or name {text!r}")


async def machine_names(engine: Engine) -> dict[str, str]:
    """Return the state machines' names by their ids."""
    return {record.id: record.name for record in await engine.repository.state_machines()}
