"""Variables → diagnostics: their names, and that an inner scope does not hide an outer one's (ASL, "Variables")."""

from __future__ import annotations

from collections.abc import Iterator

from statechain.asl import model
from statechain.asl.text import pointer_to
from statechain.errors import Diagnostic

__all__ = ["check_variables"]

LONGEST_NAME = 80
RESERVED = frozenset({"states"})


def check_variables(root: model.StateMachine) -> Iterator[Diagnostic]:
    """Yield a fault for each variable that may not be assigned under its name where it is."""
    pending: list[tuple[model.StateMachine, frozenset[str]]] = [(root, frozenset())]
    while pending:
        machine, outer = pending.pop()
        assigned = [each for state in machine.states.values() for each in _assigned(state)]
        for name, pointer in assigned:
            yield from _check_name(name, pointer, outer)
        inner = outer | {name for name, _ in assigned}
        for state in machine.states.values():
            pending.extend((each, inner) for each in _below(state))


def _check_name(name: str, pointer: str, outer: frozenset[str]) -> Iterator[Diagnostic]:
    if not name.isidentifier() or len(name) > LONGEST_NAME:
        message = f"a variable's name begins with a letter, and has at most {LONGEST_NAME} letters, digits and _"
        yield Diagnostic("variable-name", message, pointer=pointer)
    elif name in RESERVED:
        yield Diagnostic("variable-name", f"the variable ${name} is reserved, and cannot be assigned", pointer=pointer)
    elif name in outer:
        message = f"the variable ${name} is assigned in an outer scope already: give this one another name"
        yield Diagnostic("duplicate-variable", message, pointer=pointer)


def _assigned(state: model.State) -> Iterator[tuple[str, str]]:
    """Yield the variables that a state assigns, with the pointer to each."""
    places = [(state.assign, pointer_to(state.pointer, "Assign"))]
    if isinstance(state, model.Choice):
        places += [(each.assign, f"{state.pointer}/Choices/{place}/Assign") for place, each in enumerate(state.choices)]
    if isinstance(state, model.Task | model.Parallel | model.Map):
        places += [(each.assign, f"{state.pointer}/Catch/{place}/Assign") for place, each in enumerate(state.catch)]
    for assign, pointer in places:
        for key in assign if isinstance(assign, dict) else ():
            name = key.removesuffix(".$") if state.query_language == "JSONPath" else key
            yield name, pointer_to(pointer, key)


def _below(state: model.State) -> tuple[model.StateMachine, ...]:
    if isinstance(state, model.Parallel):
        return state.branches
    return (state.item_processor.machine,) if isinstance(state, model.Map) else ()
