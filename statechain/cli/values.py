"""What may be behind an option: texts → JSON values, moments, statuses, objects of the user's modules."""

from __future__ import annotations

import difflib
import importlib
import json
import re
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

import click

from statechain.cli.texts import read_text, reason_of
from statechain.codec import JSONValue
from statechain.codec.hints import wrong_place
from statechain.records.executions import ExecutionStatus
from statechain.tasks.registry import TaskRegistry

__all__ = ["FUNCTION", "JSON", "MOMENT", "NO_LIMIT", "OR_NONE", "RATE", "STATUS", "TASKS"]

if TYPE_CHECKING:
    ParamType: TypeAlias = click.ParamType[Any]
else:
    ParamType = click.ParamType  # older releases of click have no types in it

NO_LIMIT: Final = object()
"""What "none" means where a limit may be given."""

PER = re.compile(r"(\d{1,9})/(\d{1,9}(?:\.\d{1,6})?)?\s*([smhd]?)", re.ASCII)
STANDARD_INPUT = frozenset({"-", "@-"})
AGO = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])", re.ASCII)
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class _OrNone(ParamType):
    """A whole number, or ``none``."""

    name = "n|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> object:  # noqa: ANN401
        """Return the number, or `NO_LIMIT`."""
        if str(value).lower() == "none":
            return NO_LIMIT
        return click.IntRange(0).convert(value, param, ctx)


class _Rate(ParamType):
    """How many in a time, as in ``100/60s`` or ``5/s``, or ``none``."""

    name = "n/seconds|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> object:  # noqa: ANN401
        """Return the number and the seconds, or `NO_LIMIT`."""
        if str(value).lower() == "none":
            return NO_LIMIT
        found = PER.fullmatch(value)
        # A number and a slash alone name no time.
        if found is None or not (found[2] or found[3]):
            self.fail(f"{value!r} is no rate: write such as 100/60s, 5/s, or none", param, ctx)
        return int(found[1]), timedelta(**{UNITS[found[3] or "s"]: float(found[2] or 1)}).total_seconds()


class _JSON(ParamType):
    """A JSON text, ``@file``, or ``-`` for standard input."""

    name = "json|@file|-"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> JSONValue:  # noqa: ANN401
        """Return the value that the text means."""
        try:
            text, place = self._read(value)
        except (OSError, UnicodeDecodeError) as fault:
            place = "standard input" if value in STANDARD_INPUT else value[1:]
            self.fail(f"{place} cannot be read: {reason_of(fault)}".lstrip(), param, ctx)
        try:
            read: JSONValue = json.loads(text, parse_constant=_refuse)
        except json.JSONDecodeError as fault:
            self.fail(f"{place}, {wrong_place(fault)}", param, ctx)
        except (ValueError, RecursionError) as fault:
            self.fail(f"{place} is not JSON: {fault}", param, ctx)
        return read

    def _read(self, value: str) -> tuple[str, str]:
        if value in STANDARD_INPUT:
            return read_text("-"), "standard input"
        if value.startswith("@"):
            return read_text(value[1:]), value[1:]
        return value, "the text"


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


class _Moment(ParamType):
    """An ISO 8601 time with its timezone, or how long ago: ``90m``, ``2h``, ``7d``."""

    name = "time|ago"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:  # noqa: ANN401
        """Return the moment that the text means."""
        # click may pass on what was converted already.
        if isinstance(value, datetime):
            return value
        ago = AGO.fullmatch(value.strip())
        if ago is not None:
            return datetime.now(UTC) - timedelta(**{UNITS[ago[2]]: float(ago[1])})
        try:
            moment = datetime.fromisoformat(value.strip())
        except ValueError:
            self.fail(f"{value!r} is neither a time (2026-01-31T12:00:00Z) nor how long ago (90m, 2h, 7d)", param, ctx)
        if moment.tzinfo is None:
            utc, local = f"{moment.isoformat()}Z", moment.astimezone().isoformat()
            self.fail(f"{value!r} has no timezone: write {utc} for UTC, or {local} for the time here", param, ctx)
        return moment


class _Object(ParamType):
    """``module:attribute``, imported with the working directory on the path; a path ``file.py:attribute`` too."""

    name = "module:attribute"

    def __init__(self, what: str, is_right: Callable[[Any], bool]) -> None:
        self._what = what
        self._is_right = is_right

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401
        """Import and return the object."""
        if not isinstance(value, str):
            return value
        name, _, attribute = value.partition(":")
        if not name:
            self.fail(f"{value!r}: it is written as module:attribute, such as app.handlers:tasks", param, ctx)
        module = self._import(name, param, ctx)
        fitting = [own for own, found in vars(module).items() if not own.startswith("_") and self._is_right(found)]
        if not attribute:
            if len(fitting) == 1:
                return getattr(module, fitting[0])
            choices = ", ".join(f"{name}:{own}" for own in fitting) or "it has none"
            self.fail(f"say which {self._what} of {name} is meant ({choices})", param, ctx)
        found: object = module
        for step in attribute.split("."):
            if not hasattr(found, step):
                near = difflib.get_close_matches(step, vars(found) if hasattr(found, "__dict__") else (), 1)
                hint = f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(fitting)}" if fitting else ""
                self.fail(f"{name} has no {attribute!r}{hint}", param, ctx)
            found = getattr(found, step)
        if not self._is_right(found):
            self.fail(f"{value} is {type(found).__name__}, not {self._what}", param, ctx)
        return found

    def _import(self, name: str, param: click.Parameter | None, ctx: click.Context | None) -> ModuleType:
        if name.endswith(".py"):
            path = Path(name)
            if not path.is_file():
                self.fail(f"there is no file {name}", param, ctx)
            folder, name = str(path.parent.resolve()), path.stem
        else:
            folder = str(Path.cwd())
        if folder not in sys.path:
            # In front, as `python` does it for a script.
            sys.path.insert(0, folder)
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as fault:
            # The module that was named, or a package of it, is missing; else it is one that the module imports.
            if fault.name is not None and (name == fault.name or name.startswith(f"{fault.name}.")):
                self.fail(f"there is no module {fault.name!r}, neither in {folder} nor installed", param, ctx)
            self.fail(_message(name, fault), param, ctx)
        except Exception as fault:  # noqa: BLE001 -- the user's module may raise anything
            self.fail(_message(name, fault), param, ctx)


def _message(module: str, fault: Exception) -> str:
    """Return what went wrong in the user's module, and where in it."""
    # Without those of the import system.
    frames = [frame for frame in traceback.extract_tb(fault.__traceback__) if not frame.filename.startswith("<frozen")]
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if len(frames) > 1 else ""
    if isinstance(fault, SyntaxError) and fault.filename:
        place = f" ({fault.filename}, line {fault.lineno})"
    text = fault.msg if isinstance(fault, SyntaxError) else fault
    return f"importing {module} failed: {type(fault).__name__}: {text}{place}"


JSON = _JSON()
OR_NONE = _OrNone()
RATE = _Rate()


class _Transformer(_Object):
    """``module:function``, or the name of a transformer that is registered in the handlers."""

    name = "module:function|name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401
        """Import and return the function, or return the name."""
        return super().convert(value, param, ctx) if isinstance(value, str) and ":" in value else value


MOMENT = _Moment()
STATUS = click.Choice([str(status) for status in ExecutionStatus], case_sensitive=False)
TASKS = _Object("a TaskRegistry", lambda found: isinstance(found, TaskRegistry))
FUNCTION = _Object("a function", callable)
TRANSFORMER = _Transformer("a function", callable)
