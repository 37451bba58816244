"""``FILE|NAME`` → the state machine that a command runs or draws: of a definition in a file, or a stored one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn, cast

import click

from statechain.asl import load_stored
from statechain.asl.substitutions import Substitutions
from statechain.cli.definitions.diagnostics import show_diagnostics, unserved
from statechain.cli.definitions.files import SUFFIXES, Checked, MachineType, read_machines, text_of
from statechain.cli.exits import Failure, usage_errors
from statechain.cli.lookup import find_machine
from statechain.cli.terminal import echo_err
from statechain.engine.engine import Engine
from statechain.engine.machine import StateMachine
from statechain.errors import DefinitionError, Diagnostic
from statechain.tasks.registry import TaskRegistry

__all__ = ["check_served", "machine_of", "name_of", "read_definition"]

NAME_THEM = "name the handlers by --tasks module:registry"


def read_definition(
    name: str,
    machine: str | None = None,
    substitutions: Substitutions | None = None,
    kind: MachineType = "STANDARD",
) -> Checked:
    """Return the definition in a file; show its errors and leave where it has any.

    Arguments:
        name: The file.

        machine: Which state machine of a template it is; it may be left out where there is one.

        substitutions: What ``${Name}`` means.

        kind: The type of the machine, where it is not one of a template.
    """
    found = read_machines(name, text_of(name), substitutions, kind)
    names = [each.name for each in found]
    if found and found[0].is_of_template and machine is not None:
        found = [each for each in found if each.name == machine]
    if len(found) != 1:
        which = f"name one of {', '.join(names)} by --machine" if names else "it has no state machine"
        raise click.UsageError(f"{name} is a template: {which}")
    (checked,) = found
    if checked.definition is None:
        show_diagnostics(checked.file, checked.text, checked.diagnostics)
        raise click.exceptions.Exit(2)
    return checked


async def machine_of(
    engine: Engine,
    target: str,
    name: str | None = None,
    kind: MachineType = "STANDARD",
    *,
    tasks: TaskRegistry | None,
    substitutions: Substitutions | None = None,
) -> StateMachine:
    """Return the machine that a file defines, or the stored one of that name."""
    checked = _read_target(target, name, substitutions, kind)
    if checked is None:
        return await _stored_machine(engine, target, tasks)
    try:
        with usage_errors():
            return await engine.create_state_machine(
                _own_name(checked, name), {**cast("dict[str, Any]", checked.loaded.value)}, type=checked.type
            )
    except DefinitionError as error:
        _refuse(checked, error.diagnostics, tasks)


async def name_of(engine: Engine, target: str, name: str | None = None, *, tasks: TaskRegistry | None) -> str:
    """Return the name of the machine that `machine_of` would return; check its definition, and store nothing."""
    checked = _read_target(target, name)
    if checked is None:
        return (await _stored_machine(engine, target, tasks)).name
    if missing := unserved(checked.loaded, tasks or TaskRegistry()):
        _refuse(checked, missing, tasks)
    return _own_name(checked, name)


def _read_target(
    target: str,
    name: str | None,
    substitutions: Substitutions | None = None,
    kind: MachineType = "STANDARD",
) -> Checked | None:
    """Return the definition that a file has; None where the target names a stored machine."""
    if target == "-":
        if name is None:
            raise click.UsageError("a definition from standard input has no name: give one by --machine")
        return read_definition(target, name, substitutions, kind)
    # A file comes before a stored state machine of that name.
    if Path(target).is_file():
        return read_definition(target, name, substitutions, kind)
    if target.endswith(SUFFIXES):
        raise click.UsageError(f"there is no file {target}")
    return None


def _own_name(checked: Checked, name: str | None) -> str:
    return checked.name if name is None or checked.is_of_template else name


async def _stored_machine(engine: Engine, name_or_id: str, tasks: TaskRegistry | None) -> StateMachine:
    machine = await find_machine(engine, name_or_id)
    await check_served(engine, machine.id, machine.revision, tasks)
    return machine


def _refuse(checked: Checked, diagnostics: Iterable[Diagnostic], tasks: TaskRegistry | None) -> NoReturn:
    """Show the errors of a definition, and leave."""
    found = [checked.loaded.place(each) for each in diagnostics]
    show_diagnostics(checked.file, checked.text, found)
    if tasks is None and any(each.code == "unknown-resource" for each in found):
        echo_err(NAME_THEM)
    raise click.exceptions.Exit(2) from None


async def check_served(engine: Engine, state_machine_id: str, revision: int, tasks: TaskRegistry | None) -> None:
    """Refuse to run a stored revision whose handlers are not among these."""
    record = await engine.repository.state_machine(state_machine_id, revision)
    # Before anything runs: a Task without a handler would fail its execution.
    missing = [] if record is None else unserved(load_stored(record.definition), tasks or TaskRegistry())
    if record is not None and missing:
        messages = "; ".join(each.message for each in missing[:3])
        raise Failure(f"{record.name}: {messages}" + ("" if tasks else f"; {NAME_THEM}"))
