"""State machines in a template: where their definitions are, with which substitutions, checked at their own places.

`AWS::StepFunctions::StateMachine` has Definition, DefinitionString or DefinitionS3Location,
`AWS::Serverless::StateMachine` Definition or DefinitionUri, and a serverless.yml `stepFunctions.stateMachines`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

import attrs

from statechain.asl.definition import Definition, load_value, placed
from statechain.asl.substitutions import Substitutions, substitute_text, substitute_value
from statechain.asl.text import Place, Positions, pointer_to, read_text
from statechain.codec import JSONValue
from statechain.errors import DefinitionError, Diagnostic
from statechain.limits import DEFAULT_LIMITS, Limits
from statechain.templates.functions import Functions, Obj, error_at, section
from statechain.templates.serverless import FILE, Variables
from statechain.templates.text import Template, read_template

__all__ = ["FileReader", "TemplateMachine", "find_machines", "is_template"]

FileReader: TypeAlias = Callable[[str], str]
"""Returns the text of a file by its path from the template's folder; raises OSError."""

# Read only to distinguish a template from a definition: not worth a parser.
LOOK: Final = re.compile(r"""(?:^|[{,])\s*["']?(?:Resources|stepFunctions)["']?\s*:""", re.MULTILINE)
TYPES: Final = ("AWS::StepFunctions::StateMachine", "AWS::Serverless::StateMachine")
SERVERLESS: Final = ("stepFunctions", "stateMachines")
SIMPLE: Final = (str, int, float, bool)
FORMS: Final = ("Definition", "DefinitionString", "DefinitionUri", "DefinitionS3Location", "definition")


@attrs.frozen(kw_only=True)
class TemplateMachine:
    """A state machine in a template.

    Attributes:
        name: Its name: that which its properties give, where it is plain, else its logical id.

        text: The text of the file that its definition is in.

        type: STANDARD or EXPRESS.

        file: That file, by its path from the template's folder; empty for the template itself.

        definition: The definition; None where it has errors.

        diagnostics: The errors, with their places in the file.
    """

    name: str
    text: str
    type: Literal["STANDARD", "EXPRESS"] = "STANDARD"
    file: str = ""
    definition: Definition | None = None
    diagnostics: tuple[Diagnostic, ...] = ()


def is_template(text: str) -> bool:
    """Return whether a string may be a template: it has a key that only templates have."""
    return LOOK.search(text) is not None


def find_machines(
    text: str,
    read_file: FileReader,
    substitutions: Substitutions | None = None,
    *,
    limits: Limits = DEFAULT_LIMITS,
) -> list[TemplateMachine] | None:
    """Return the state machines of a template, each with its definition or with what is wrong with it.

    Arguments:
        text: The template, as YAML or JSON.

        read_file: Reads the files that it names.

        substitutions: Values by name, which come before those in the template: of DefinitionSubstitutions, of
            parameters and pseudo parameters, of resources and their attributes, of variables of a serverless.yml.

        limits: What guards the process.

    Returns:
        The machines; None where the text is no template.

    Raises:
        DefinitionError: The text cannot be read.
    """
    if not is_template(text):
        return None
    template = read_template(text, limits)
    reader = _Reader(text, template, read_file, substitutions, limits)
    if section(template.value, *SERVERLESS):
        return reader.serverless()
    resources = section(template.value, "Resources").values()
    return reader.resources() if any("Type" in section(each) for each in resources) else None


@attrs.frozen
class _Value:
    """A definition that is an object in the template."""

    value: JSONValue
    positions: Positions


@attrs.frozen
class _Text:
    """A definition that is text: a file's, or a string in the template.

    Attributes:
        text: The text.

        place: Returns the place in the file of a place in the text.

        file: The file; empty for the template.
    """

    text: str
    place: Callable[[Place], Place]
    file: str = ""


class _Reader:
    """Reads the definitions of one template."""

    def __init__(
        self, text: str, template: Template, read_file: FileReader, given: Substitutions | None, limits: Limits
    ) -> None:
        self._text = text
        self._template = template
        self._read_file = read_file
        self._given = given
        self._limits = limits
        self._functions = Functions(template.value, given or {})
        self._variables: Variables | None = None

    def resources(self) -> list[TemplateMachine]:
        """Return the machines of a template of CloudFormation or SAM."""
        resources = section(self._template.value, "Resources")
        return [
            self._machine(name, section(resource, "Properties"), f"{pointer_to('/Resources', name)}/Properties")
            for name, resource in resources.items()
            if section(resource).get("Type") in TYPES
        ]

    def serverless(self) -> list[TemplateMachine]:
        """Return the machines of a serverless.yml."""
        whole = self._template.value
        self._variables = Variables(whole, self._read_file, self._given or {}, self._limits)
        self._functions = Functions(section(whole, "resources"), self._given or {}, section(whole, "functions"))
        at = "/" + "/".join(SERVERLESS)
        found = section(whole, *SERVERLESS)
        return [self._machine(name, section(found[name]), pointer_to(at, name)) for name in found]

    def _machine(self, name: str, properties: Obj, pointer: str) -> TemplateMachine:
        """Return a state machine, with its definition or what is wrong with it."""
        made = TemplateMachine(name=name, text=self._text)
        try:
            made = attrs.evolve(made, name=self._name(properties) or name, type=self._type(properties, pointer))
            found, values = self._found(properties, pointer), self._values(properties, pointer)
        except DefinitionError as error:
            diagnostics = [placed(each, self._template.positions) for each in error.diagnostics]
            return attrs.evolve(made, diagnostics=tuple(diagnostics))
        if isinstance(found, _Text) and found.file:
            made = attrs.evolve(made, file=found.file, text=found.text)
        try:
            return attrs.evolve(made, definition=self._load(found, values, made.type))
        except DefinitionError as error:
            return attrs.evolve(made, diagnostics=error.diagnostics)

    def _name(self, properties: Obj) -> str | None:
        """Return the name that a machine is given, where it is plain."""
        names = (properties[key] for key in ("StateMachineName", "Name", "name") if key in properties)
        return next((name for name in names if isinstance(name, str) and "${" not in name), None)

    def _type(self, properties: Obj, pointer: str) -> Literal["STANDARD", "EXPRESS"]:
        key = next((key for key in ("StateMachineType", "Type", "type") if key in properties), None)
        return "EXPRESS" if key and self._value(properties[key], f"{pointer}/{key}") == "EXPRESS" else "STANDARD"

    def _values(self, properties: Obj, pointer: str) -> Substitutions | None:
        """Return what is substituted in a definition; None where nothing is."""
        key = "DefinitionSubstitutions"
        if key not in properties:
            return self._given
        own = section(self._value(properties[key], f"{pointer}/{key}"))
        # The caller's values come before those in the template.
        return {name: item for name, item in own.items() if isinstance(item, SIMPLE)} | {**(self._given or {})}

    def _value(self, value: JSONValue, pointer: str) -> JSONValue:
        """Return a value of the template with its variables and functions evaluated."""
        if self._variables is not None:
            value = self._variables.value(value, pointer)
        return self._functions.value(value, pointer)

    # Where the definition is

    def _found(self, properties: Obj, pointer: str) -> _Value | _Text:
        form = next((key for key in FORMS if key in properties), None)
        if form is None:
            raise error_at("the state machine has no definition", pointer)
        at, written = f"{pointer}/{form}", properties[form]
        file = FILE.fullmatch(written[2:-1].strip()) if isinstance(written, str) and written.startswith("${") else None
        if file is not None and not file["keys"]:
            return self._file(file["path"], at)
        found = self._value(written, at)
        if form in {"DefinitionUri", "DefinitionS3Location"}:
            return self._file(str(section(found).get("Key", "") if isinstance(found, dict) else found), at)
        if isinstance(found, str):
            return self._string(written, found, at)
        # The definition's own places, by pointers from its root on.
        inside = (f"{at}/", f"{at}#")
        positions = self._template.positions.items()
        return _Value(found, {key.removeprefix(at): place for key, place in positions if f"{key}/".startswith(inside)})

    def _file(self, path: str, pointer: str) -> _Text:
        if "://" in path:
            raise error_at(f"{path} is not a local file", pointer)
        try:
            return _Text(self._read_file(path), lambda place: place, path)
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise error_at(f"{path} cannot be read: {reason}", pointer) from error

    def _string(self, written: JSONValue, text: str, pointer: str) -> _Text:
        """Return a definition that is a string in the template.

        Places in it are known where it is one literal block whose lines are still those that were written.
        """
        sub = written.get("Fn::Sub") if isinstance(written, dict) else None
        block = self._template.blocks.get(pointer if sub is None else f"{pointer}/Fn::Sub")
        lines = len(str(written if sub is None else sub).splitlines())
        # A function that puts in a line end moves all lines below it: then only the beginning is known.
        if block is None or lines != len(text.splitlines()):
            place = self._template.positions.get(pointer, (1, 1))
            return _Text(text, lambda _: place)
        first, indent = block
        return _Text(text, lambda place: (first + place[0] - 1, indent + place[1] - 1))

    # Reading it

    def _load(
        self, found: _Value | _Text, values: Substitutions | None, type_: Literal["STANDARD", "EXPRESS"]
    ) -> Definition:
        if isinstance(found, _Text):
            value, positions = self._read(found, values)
        else:
            value, positions = found.value, found.positions
            try:
                value = value if values is None else substitute_value(value, values)
            except DefinitionError as error:
                raise DefinitionError([placed(each, positions) for each in error.diagnostics]) from error
        return load_value(value, positions, limits=self._limits, type=type_)

    def _read(self, found: _Text, values: Substitutions | None) -> tuple[JSONValue, Positions]:
        """Read a string, with every place as it is in its file."""
        text, place = found.text, found.place
        try:
            if values is not None:
                substituted = substitute_text(text, values)
                text, place = substituted.text, lambda at: found.place(substituted.written(at))
            value, positions = read_text(text, self._limits)
        except DefinitionError as error:
            raise DefinitionError([_moved(each, place) for each in error.diagnostics]) from error
        return value, {pointer: place(at) for pointer, at in positions.items()}


def _moved(found: Diagnostic, place: Callable[[Place], Place]) -> Diagnostic:
    line, column = place((found.line or 1, found.column or 1))
    return attrs.evolve(found, line=line, column=column)
