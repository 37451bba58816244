"""Variables → diagnostics: their names, and that an inner scope does not hide an outer one's (ASL, "Variables").

The items of a distributed Map are separate executions: they see no outer variable, so they hide none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import attrs

from statechain.asl import model
from statechain.asl.text import pointer_to
from statechain.errors import Diagnostic

__all__ = ["check_variables"]

LONGEST_NAME = 80
RESERVED = frozenset({"states"})


def check_variables(root: model.StateMachine) -> Iterator[Diagnostic]:
    """Yield a diagnostic for each variable that may not be assigned under its name where it is."""
    pending: list[tuple[model.StateMachine, _Scope | None]] = [(root, None)]
    while pending:
        machine, outer = pending.pop()
        assigned = [each for state in machine.states.values() for each in _assigned(state)]
        for name, pointer in assigned:
            yield from _check_name(name, pointer, outer)
        counts = Counter(name for name, _ in assigned)
        for state in machine.states.values():
            # The items of a distributed Map are executions of their own, with no scope around them.
            is_apart = isinstance(state, model.Map) and state.item_processor.mode == "DISTRIBUTED"
            scope = None if is_apart else _Scope(counts, Counter(name for name, _ in _caught(state)), outer)
            pending.extend((each, scope) for each in state.machines)


@attrs.frozen
class _Scope:
    """What the branches or items of a state must not assign.

    Attributes:
        assigned: How often each variable is assigned in the scope of the state.

        caught: How often by Catchers of the state itself: when one assigns, the branches are over.

        outer: The scope around it.
    """

    assigned: Counter[str]
    caught: Counter[str]
    outer: _Scope | None

    def has(self, name: str) -> bool:
        """Return whether this scope, or one around it, has a variable."""
        scope: _Scope | None = self
        while scope is not None:
            # Assigned elsewhere in the scope, too: what only this state's Catchers assign comes after its branches.
            if scope.assigned[name] > scope.caught[name]:
                return True
            scope = scope.outer
        return False


def _check_name(name: str, pointer: str, outer: _Scope | None) -> Iterator[Diagnostic]:
    if not name.isidentifier() or len(name) > LONGEST_NAME:
        message = f"a variable's name begins with a letter, and has at most {LONGEST_NAME} letters, digits and _"
        yield Diagnostic("variable-name", message, pointer=pointer)
    elif name in RESERVED:
        yield Diagnostic("variable-name", f"the variable ${name} is reserved, and cannot be assigned", pointer=pointer)
    elif outer is not None and outer.has(name):
        message = f"the variable ${name} is assigned in an outer scope already: give this one another name"
        yield Diagnostic("duplicate-variable", message, pointer=pointer)


def _assigned(state: model.State) -> Iterator[tuple[str, str]]:
    """Yield the variables that a state assigns, with the pointer to each."""
    places = [(state.assign, pointer_to(state.pointer, "Assign"))]
    if isinstance(state, model.Choice):
        places += [(each.assign, f"{state.pointer}/Choices/{place}/Assign") for place, each in enumerate(state.choices)]
    for assign, pointer in places:
        yield from _names(state, assign, pointer)
    yield from _caught(state)


def _caught(state: model.State) -> Iterator[tuple[str, str]]:
    """Yield the variables that a state's Catchers assign."""
    if isinstance(state, model.Task | model.Parallel | model.Map):
        for place, each in enumerate(state.catch):
            yield from _names(state, each.assign, f"{state.pointer}/Catch/{place}/Assign")


def _names(state: model.State, assign: model.Optional, pointer: str) -> Iterator[tuple[str, str]]:
    for key in assign if isinstance(assign, dict) else ():
        yield key.removesuffix(".$") if state.query_language == "JSONPath" else key, pointer_to(pointer, key)
