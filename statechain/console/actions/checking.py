"""The input of an execution that is to be started, checked against the definition and against past inputs.

The states at the beginning are tried with the input, up to the first that would act: nothing is started or called.
What is found are doubts, not errors: a definition may deal with what its past inputs lacked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from statechain.asl import load_stored, model
from statechain.codec import JSONValue
from statechain.errors import DefinitionError, StatechainError
from statechain.testing.scripted import Throw
from statechain.testing.single import run_state

if TYPE_CHECKING:
    from statechain.limits import Limits
    from statechain.records.executions import Execution

__all__ = ["doubts"]

MOST_STATES = 20
"""How many states at the beginning are tried."""

MOST_DOUBTS = 10
ACTING = (model.Task, model.Map, model.Parallel)
CALLED = "Console.Called"
"""The error by which a state that would act shows that it came so far: its input could be made."""

KINDS = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "an array", dict: "an object"}


async def doubts(definition: str, value: JSONValue, past: Sequence[Execution], limits: Limits) -> list[str]:
    """Return what speaks against starting an execution of a definition with an input, in sentences."""

    def check() -> list[str]:
        # In a thread with a separate event loop: an expression that takes long would hold the host's loop.
        found = asyncio.run(_against_definition(definition, value, limits))
        return [*([] if found is None else [found]), *_against_past(value, past)][:MOST_DOUBTS]

    return await asyncio.to_thread(check)  # evaluating may take long


async def _against_definition(text: str, value: JSONValue, limits: Limits) -> str | None:
    """Return how the first states fail; None where the first state that acts is reached, or the end."""
    try:
        machine = load_stored(text, limits=limits).model
        state, variables = machine.start_at, dict[str, JSONValue]()
        for _ in range(MOST_STATES):
            acts = isinstance(machine.states[state], ACTING)
            mock = Throw(CALLED) if acts else None
            result = await run_state(text, value, state_name=state, mock=mock, variables=variables, limits=limits)
            if result.error not in {None, CALLED}:
                cause = f": {result.cause}" if result.cause else ""
                return f"In state {state!r} it fails with {result.error}{cause}"
            if acts or result.next_state is None:
                return None
            state, value, variables = result.next_state, result.output, dict(result.variables)
    except (DefinitionError, StatechainError, ValueError):
        return None  # what cannot be tried here is no doubt about the input
    return None


def _against_past(value: JSONValue, past: Sequence[Execution]) -> list[str]:
    """Return in what an input differs from all of the last ones: members that it lacks, or has of another kind."""
    inputs = [each.input for each in past]
    if not inputs:
        return []
    last = f"all of the last {len(inputs)} inputs" if len(inputs) > 1 else "the last input"
    kind, kinds = _kind(value), {_kind(each) for each in inputs}
    if kinds != {kind}:
        return [f"It is {kind}; {last} had {kinds.pop()}."] if len(kinds) == 1 else []
    if not isinstance(value, dict):
        return []
    found = []
    members: list[dict[str, Any]] = [each for each in inputs if isinstance(each, dict)]
    for name in members[0]:
        kinds = {_kind(each[name]) for each in members if name in each}
        if all(name in each for each in members) and name not in value:
            found.append(f"It has no {name!r}, which {last} had.")
        elif name in value and len(kinds) == 1 and _kind(value[name]) not in kinds:
            found.append(f"{name!r} is {_kind(value[name])}; {last} had {kinds.pop()}.")
    return found


def _kind(value: JSONValue) -> str:
    return "null" if value is None else KINDS[type(value)]
