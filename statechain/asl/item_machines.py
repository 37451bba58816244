"""What a distributed Map runs for each item, as the definition of a separate state machine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from statechain.codec import JSONValue

__all__ = ["item_machine"]

# A processor has no query language: its states take the definition's.
INHERITED = ("QueryLanguage",)
OWN = ("StartAt", "States")


def item_machine(definition: JSONValue, map_state: str) -> tuple[dict[str, JSONValue], str]:
    """Return the definition of the items of a distributed Map, and its type: ``"STANDARD"`` or ``"EXPRESS"``.

    Arguments:
        definition: The definition that has the Map, at any depth. It was checked: a state's name is unique in it.

        map_state: The name of the Map.
    """
    whole = cast("dict[str, Any]", definition)
    state = next(state for name, state in _states(whole) if name == map_state)
    processor = _processor(state)
    own = {name: whole[name] for name in INHERITED if name in whole} | {name: processor[name] for name in OWN}
    return own, str(processor["ProcessorConfig"]["ExecutionType"])


def _states(machine: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield all states with their names, nested ones included."""
    pending = [machine]
    while pending:
        for name, state in pending.pop()["States"].items():
            yield name, state
            if state["Type"] == "Map":
                pending.append(_processor(state))
            elif state["Type"] == "Parallel":
                pending.extend(state["Branches"])


def _processor(state: dict[str, Any]) -> dict[str, Any]:
    return cast("dict[str, Any]", state.get("ItemProcessor") or state["Iterator"])
