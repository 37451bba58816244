"""Files → definitions: a file of one, AWS's description of a state machine, or a template with any number of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

import attrs
import click

from statechain.asl import Definition, load
from statechain.asl.substitutions import Substitutions
from statechain.asl.text import read_text as read_value
from statechain.cli.texts import read_text, reason_of
from statechain.errors import DefinitionError, Diagnostic
from statechain.limits import DEFAULT_LIMITS
from statechain.templates import find_machines

__all__ = [
    "SUFFIXES",
    "Checked",
    "MachineType",
    "read_machines",
    "substitutions_options",
    "text_of",
]

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
MachineType = Literal["STANDARD", "EXPRESS"]
# The longest first, as a name is cut by the first that fits.
SUFFIXES = (".asl.json", ".asl.yaml", ".asl.yml", ".json", ".asl", ".yaml", ".yml")


@attrs.frozen(kw_only=True)
class Checked:
    """A definition of a file, checked.

    Attributes:
        name: The state machine's name: that in a template, else that of the file.

        file: The file that the definition is in.

        text: The text of that file.

        type: STANDARD or EXPRESS.

        definition: The definition; None where it has errors.

        diagnostics: The errors.

        is_of_template: Whether a template has it.
    """

    name: str
    file: str
    text: str
    type: MachineType
    definition: Definition | None = None
    diagnostics: tuple[Diagnostic, ...] = ()
    is_of_template: bool = False

    @property
    def loaded(self) -> Definition:
        """The definition, which has no errors."""
        if self.definition is None:
            raise DefinitionError(self.diagnostics)
        return self.definition


def substitutions_options(command: FunctionT) -> FunctionT:
    """Add ``--substitute`` and ``--substitutions``; the command gets a mapping, or None, as ``substitutions``."""
    file = click.option(
        "--substitutions",
        "substitutions",
        metavar="FILE",
        callback=_read_substitutions,
        help="A JSON or YAML file of values for ${NAME}, by name.",
    )
    one = click.option(
        "--substitute",
        "substitute",
        multiple=True,
        metavar="NAME=VALUE",
        # Read first: the callback of --substitutions adds these.
        is_eager=True,
        expose_value=False,
        callback=_keep_substitutes,
        help="What ${NAME} in a definition means, or a parameter of a template; any number of times.",
    )
    return one(file(command))


def _keep_substitutes(ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> None:
    pairs = [value.partition("=") for value in values]
    wrong = next((value for value, (name, equals, _) in zip(values, pairs, strict=True) if not (name and equals)), None)
    if wrong is not None:
        raise click.BadParameter(f"{wrong!r}: it is written as NAME=VALUE")
    ctx.meta[__name__] = {name: value for name, _, value in pairs}


def _read_substitutions(ctx: click.Context, _param: click.Parameter, name: str | None) -> Substitutions | None:
    given: dict[str, str] = ctx.meta.get(__name__, {})
    if name is None:
        return given or None
    try:
        found = read_value(read_text(name), DEFAULT_LIMITS)[0]
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{name}: {reason_of(error)}") from None
    except DefinitionError as error:
        raise click.BadParameter(f"{name}: {error.diagnostics[0]}") from None
    values: dict[str, str | int | float | bool] = {}
    for key, item in found.items() if isinstance(found, dict) else [("", None)]:
        if not isinstance(item, str | int | float | bool):
            raise click.BadParameter(f"{name}: it is an object of strings, numbers and booleans")
        values[key] = item
    # What is given one by one counts more than the file.
    return {**values, **given}


def text_of(name: str) -> str:
    """Return a file's text; a file that cannot be read is a usage error."""
    try:
        return read_text(name)
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{name}: {reason_of(error)}") from None


def read_machines(
    name: str, text: str, substitutions: Substitutions | None = None, kind: MachineType = "STANDARD"
) -> list[Checked]:
    """Return every definition of a file, checked: one, or those of a template.

    Arguments:
        name: The file's name, or ``-``.

        text: Its text.

        substitutions: What ``${Name}`` means.

        kind: The type of the machine, where it is not one of a template.
    """
    folder = Path(name).parent
    shown = _stem(name)
    try:
        found = find_machines(text, lambda path: read_text(folder / path), substitutions)
    except DefinitionError as error:
        return [Checked(name=shown, file=name, text=text, type=kind, diagnostics=error.diagnostics)]
    if found is None:
        return [_one(name, shown, text, substitutions, kind)]
    return [
        Checked(
            name=each.name,
            file=str(folder / each.file) if each.file else name,
            text=each.text,
            type=each.type,
            definition=each.definition,
            diagnostics=each.diagnostics,
            is_of_template=True,
        )
        for each in found
    ]


def _one(name: str, shown: str, text: str, substitutions: Substitutions | None, kind: MachineType) -> Checked:
    described = _described(text)
    # The very same text: it is no description by AWS, and `load` reads the file, by its suffix.
    is_file = described is text and name != "-"
    made = Checked(name=shown, file=name, text=text, type=kind)
    try:
        definition = load(Path(name) if is_file else described, type=kind, substitutions=substitutions)
    except DefinitionError as error:
        return attrs.evolve(made, diagnostics=error.diagnostics)
    return attrs.evolve(made, definition=definition)


def _described(text: str) -> str:
    """Return the definition inside AWS's description of a state machine, or the text itself."""
    # A look spares most files a second parse.
    if '"stateMachineArn"' not in text and '"definition"' not in text:
        return text
    try:
        described = json.loads(text)
    except ValueError:
        return text
    inner = described.get("definition") if isinstance(described, dict) else None
    return inner if isinstance(inner, str) else text


def _stem(name: str) -> str:
    file = Path(name).name
    suffix = next((each for each in SUFFIXES if file.endswith(each)), Path(name).suffix)
    return file.removesuffix(suffix)
