"""``module:attribute`` → an object of the user's modules: a registry of handlers, a function."""

from __future__ import annotations

import difflib
import importlib
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from statechain.cli.options.values import ParamType
from statechain.tasks.registry import TaskRegistry

__all__ = ["FUNCTION", "TASKS", "TRANSFORMER"]


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
        except ModuleNotFoundError as error:
            # The module that was named, or a package of it, is missing; else it is one that the module imports.
            if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
                self.fail(f"there is no module {error.name!r}, neither in {folder} nor installed", param, ctx)
            self.fail(_message(name, error), param, ctx)
        except Exception as error:  # noqa: BLE001 -- the user's module may raise anything
            self.fail(_message(name, error), param, ctx)


def _message(module: str, error: Exception) -> str:
    """Return what went wrong in the user's module, and where in it."""
    # Without those of the import system.
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<frozen")]
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if len(frames) > 1 else ""
    if isinstance(error, SyntaxError) and error.filename:
        place = f" ({error.filename}, line {error.lineno})"
    text = error.msg if isinstance(error, SyntaxError) else error
    return f"importing {module} failed: {type(error).__name__}: {text}{place}"


class _Transformer(_Object):
    """``module:function``, or the name of a transformer that is registered in the handlers."""

    name = "module:function|name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401
        """Import and return the function, or return the name."""
        return super().convert(value, param, ctx) if isinstance(value, str) and ":" in value else value


TASKS = _Object("a TaskRegistry", lambda found: isinstance(found, TaskRegistry))
FUNCTION = _Object("a function", callable)
TRANSFORMER = _Transformer("a function", callable)
