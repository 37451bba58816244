"""Variables of a serverless.yml → values: ``${self:custom.x}``, ``${opt:stage, 'dev'}``, ``${file(x.yml):a.b}``.

Names without a source, such as ``${AWS::Region}``, belong to CloudFormation and stay.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from statechain.asl.substitutions import Substitutions
from statechain.asl.text import pointer_to
from statechain.codec import JSONValue
from statechain.limits import Limits
from statechain.templates.functions import error_at
from statechain.templates.text import read_template

__all__ = ["FILE", "Variables"]

VARIABLE: Final = re.compile(r"\$\{\s*(?P<body>(?!AWS::)[A-Za-z]+(?:\([^()${}]*\))?(?::[^${}]*)?)\s*\}")
FILE: Final = re.compile(r"file\(\s*(?P<path>[^()]+?)\s*\)(?::(?P<keys>.+))?")
SOURCE: Final = re.compile(r"(?P<source>[A-Za-z]+):(?P<keys>.*)", re.DOTALL)
LITERAL: Final = re.compile(r"'(?P<single>[^']*)'|\"(?P<double>[^\"]*)\"")
DEEPEST: Final = 50
"""How far variables may lead to variables."""


class Variables:
    """Evaluates the variables of one serverless.yml.

    Arguments:
        template: The whole of it.

        read_file: Reads the files that it names.

        given: Values of variables by what is between the braces, such as ``opt:stage``.

        limits: What guards the process.
    """

    def __init__(
        self, template: JSONValue, read_file: Callable[[str], str], given: Substitutions, limits: Limits
    ) -> None:
        self._template = template
        self._read_file = read_file
        self._given = given
        self._limits = limits

    def value(self, value: JSONValue, pointer: str, depth: int = 0) -> JSONValue:
        """Return a value with its variables evaluated. Raises DefinitionError."""
        if isinstance(value, list):
            return [self.value(item, pointer_to(pointer, index), depth) for index, item in enumerate(value)]
        if isinstance(value, dict):
            return {key: self.value(item, pointer_to(pointer, key), depth) for key, item in value.items()}
        # From the inside out: a variable may be a part of another one's name.
        while isinstance(value, str) and (found := self._innermost(value)) is not None:
            depth += 1
            if depth > DEEPEST:
                raise error_at(f"variables lead to variables more than {DEEPEST} times", pointer, "too-deep")
            one = self._variable(found["body"], pointer, depth)
            # The whole string: the value keeps its type.
            if found.span() == (0, len(value)):
                return self.value(one, pointer, depth)
            if not isinstance(one, str | int | float | bool):
                raise error_at(f"the variable {found[0]} within a string is no string", pointer)
            shown = str(one).lower() if isinstance(one, bool) else str(one)
            value = value[: found.start()] + shown + value[found.end() :]
        return value

    def _innermost(self, text: str) -> re.Match[str] | None:
        """Return the first variable without another one in it, but for what belongs to CloudFormation."""
        return next((each for each in VARIABLE.finditer(text) if ":" in each["body"] or "(" in each["body"]), None)

    def _variable(self, body: str, pointer: str, depth: int) -> JSONValue:
        """Return the value of a variable: of the first of its sources that has one."""
        if body in self._given:
            return self._given[body]
        # Not at a comma within brackets, as in the path of a file.
        for part in re.split(r",\s*(?![^(]*\))", body):
            found = self._source(part.strip(), pointer, depth)
            if found is not None:
                return found
        message = f"no value was given for ${{{body}}}: add {body!r} to the substitutions"
        raise error_at(message, pointer, "missing-substitution")

    def _source(self, source: str, pointer: str, depth: int) -> JSONValue:
        if source in self._given:
            return self._given[source]
        if (literal := LITERAL.fullmatch(source)) is not None:
            return literal["single"] if literal["single"] is not None else literal["double"]
        if (file := FILE.fullmatch(source)) is not None:
            return self._look_up(self._file(file["path"], pointer), file["keys"] or "", pointer, depth)
        if source in {"true", "false"}:
            return source == "true"
        if source.isdigit():
            return int(source)
        found = SOURCE.fullmatch(source)
        if found is None:
            return None
        if found["source"] == "self":
            return self._look_up(self._template, found["keys"], pointer, depth)
        if source == "sls:stage":
            return (
                self._given.get("opt:stage") or self._look_up(self._template, "provider.stage", pointer, depth) or "dev"
            )
        return None

    def _file(self, path: str, pointer: str) -> JSONValue:
        try:
            text = self._read_file(path)
        except (OSError, UnicodeDecodeError) as error:
            raise error_at(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}", pointer) from error
        return read_template(text, self._limits).value

    def _look_up(self, value: JSONValue, keys: str, pointer: str, depth: int) -> JSONValue:
        for key in keys.split(".") if keys else ():
            value = self.value(value, pointer, depth) if isinstance(value, str) else value
            if isinstance(value, list) and key.isdigit() and int(key) < len(value):
                value = value[int(key)]
            else:
                value = value.get(key) if isinstance(value, dict) else None
        return value
