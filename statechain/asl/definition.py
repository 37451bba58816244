"""A definition as it was given: loaded from a mapping, a string or a file, checked, and compiled on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import attrs

from statechain.asl import model
from statechain.asl.checks.check import MachineType, check
from statechain.asl.parse import parse
from statechain.asl.plan.plan import Plan, compile_plan
from statechain.asl.substitutions import Substitutions, substitute_text, substitute_value
from statechain.asl.text import Positions, read_json, read_text, read_yaml
from statechain.codec import JSONValue, isolate
from statechain.errors import DefinitionError, Diagnostic, InvalidPayload
from statechain.limits import DEFAULT_LIMITS, Limits

__all__ = ["Definition", "load", "load_stored", "load_value", "placed"]

TextReader: TypeAlias = Callable[[str, Limits], tuple[JSONValue, Positions]]
READERS: dict[str, TextReader] = {".json": read_json, ".asl": read_json, ".yaml": read_yaml, ".yml": read_yaml}

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
MOST_OF_A_CHARACTER = 4


@attrs.define(slots=False, eq=False, repr=False)
class Definition:
    """A definition without errors.

    Attributes:
        value: The definition as a JSON value.

        text: The same as canonical JSON text: what is stored and compared.

        model: What it says.
    """

    value: JSONValue
    text: str
    model: model.StateMachine
    _limits: Limits
    _positions: Positions

    @cached_property
    def plan(self) -> Plan:
        """The compiled plan."""
        return compile_plan(self.model, limits=self._limits)

    def resources(self) -> Iterator[tuple[str, str]]:
        """Yield the pointer and the Resource of every Task, nested ones included."""
        for machine in self.model.walk():
            for state in machine.states.values():
                if isinstance(state, model.Task):
                    yield f"{state.pointer}/Resource", state.resource

    def place(self, diagnostic: Diagnostic) -> Diagnostic:
        """Return a diagnostic with its line and column, where the definition was text."""
        return placed(diagnostic, self._positions)


def load(
    definition: Mapping[str, Any] | str | Path,
    *,
    limits: Limits = DEFAULT_LIMITS,
    type: MachineType = "STANDARD",  # noqa: A002 -- AWS's term
    substitutions: Substitutions | None = None,
) -> Definition:
    """Load and check a definition.

    Arguments:
        definition: A mapping, JSON or YAML text, or the path of a file of either (``.json``, ``.asl``, ``.yaml``,
            ``.yml``).

        limits: What guards the process.

        type: Of the machine that it is for: an EXPRESS one has not all that a STANDARD one has.

        substitutions: What ``${Name}`` in the definition means, by name; without it such strings stay as they are.

    Raises:
        DefinitionError: with every error, each with its JSON pointer and, for text, line and column.
    """
    value, positions = _read(definition, limits, substitutions)
    return load_value(value, positions, limits=limits, type=type)


def load_value(
    value: JSONValue,
    positions: Positions,
    *,
    limits: Limits = DEFAULT_LIMITS,
    type: MachineType = "STANDARD",  # noqa: A002 -- AWS's term
) -> Definition:
    """Check a definition that was read already, by positions that may be those in another file. Raises as `load`."""
    parsed, diagnostics = parse(value)
    if parsed is not None:
        diagnostics = [*diagnostics, *check(parsed, value, limits, type)]
    if parsed is None or diagnostics:
        # A set: what is wrong at one place may be found by the reader and by a check.
        # Each once, and those of one place in the order in which they were found: a set has another one each time.
        found = dict.fromkeys(placed(each, positions) for each in diagnostics)
        raise DefinitionError(sorted(found, key=_in_order))
    try:
        text, own = isolate(value, max_depth=limits.definition_depth)
    except InvalidPayload as error:
        raise DefinitionError([Diagnostic("not-json", str(error))]) from error
    return Definition(own, text, parsed, limits, positions)


def load_stored(text: str, *, limits: Limits = DEFAULT_LIMITS) -> Definition:
    """Load a definition that was accepted when it was stored.

    Only its form is read, nothing is checked: a release that checks more must not refuse what an earlier one runs.
    """
    value, positions = read_json(text, limits)
    parsed, diagnostics = parse(value)
    if parsed is None:
        raise DefinitionError(diagnostics)
    return Definition(value, text, parsed, limits, positions)


def _read(
    definition: Mapping[str, Any] | str | Path, limits: Limits, substitutions: Substitutions | None
) -> tuple[JSONValue, Positions]:
    if isinstance(definition, Path):
        read = READERS.get(definition.suffix, read_text)
        return _read_text(_text_of(definition, limits), read, limits, substitutions)
    if isinstance(definition, str):
        return _read_text(definition, read_text, limits, substitutions)
    if isinstance(definition, Mapping):
        try:
            value = isolate(definition, max_bytes=limits.definition_bytes, max_depth=limits.definition_depth)[1]
        except InvalidPayload as error:
            raise DefinitionError([Diagnostic("not-json", str(error))]) from error
        return (value if substitutions is None else substitute_value(value, substitutions)), {}
    raise TypeError(f"a definition is a mapping, a string or a Path, not {type(definition).__name__}")


def _read_text(
    text: str, read: TextReader, limits: Limits, substitutions: Substitutions | None
) -> tuple[JSONValue, Positions]:
    if substitutions is None:
        return read(text, limits)
    substituted = substitute_text(text, substitutions)
    try:
        value, positions = read(substituted.text, limits)
    except DefinitionError as error:
        raise DefinitionError([substituted.diagnostic(each) for each in error.diagnostics]) from error
    return value, substituted.positions(positions)


def _text_of(path: Path, limits: Limits) -> str:
    """Return what a file holds, as far as it may be read: a longer text is refused by its length."""
    with path.open("rb") as file:
        # One byte more than may be read shows that there are too many.
        content = file.read(limits.definition_bytes + len(BYTE_ORDER_MARK) + 1)
    try:
        return content.removeprefix(BYTE_ORDER_MARK).decode()
    except UnicodeDecodeError as error:
        if error.start >= limits.definition_bytes - MOST_OF_A_CHARACTER:
            return content.decode(errors="replace")  # it is cut off, and will be refused for its length
        raise DefinitionError([Diagnostic("syntax", f"{path.name} is not UTF-8 text")]) from error


def placed(diagnostic: Diagnostic, positions: Positions) -> Diagnostic:
    """Return a diagnostic with the line and column of its pointer, or of the nearest one above that has a place."""
    if diagnostic.line is not None or not positions:
        return diagnostic
    # These are about a key, and not about its value.
    keyed = diagnostic.code in {"unknown-field", "mixed-query-languages", "unreachable", "duplicate-name", "state-name"}
    pointer = diagnostic.pointer
    place = positions.get(f"{pointer}#key") if keyed else None
    while place is None and (place := positions.get(pointer)) is None and pointer:
        pointer = pointer.rpartition("/")[0]
    return diagnostic if place is None else attrs.evolve(diagnostic, line=place[0], column=place[1])


def _in_order(each: Diagnostic) -> tuple[int, int, str]:
    return each.line or 0, each.column or 0, each.pointer
