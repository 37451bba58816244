"""Needs → the source of a module of handlers, which runs as it is and passes a strict type checker."""

from __future__ import annotations

import keyword
import re
import textwrap
from collections.abc import Sequence

import attrs

from statechain.drawing.picture import shortened

__all__ = ["Need", "skeleton"]


@attrs.frozen(kw_only=True)
class Need:
    """What one Resource needs.

    Attributes:
        resource: The Resource.

        states: The states that have it.

        handler: The name that a handler is registered under; None where none is needed, or the name is not known.

        takes: What it takes here, in a few words.

        waits: Whether the state waits for an answer under a task token.
    """

    resource: str
    states: tuple[str, ...]
    handler: str | None
    takes: str
    waits: bool = False


HEAD = '''"""Handlers for {files}.

Each is awaited with what its docstring says, and answers with a JSON value. An exception's class name is the error name
that Retry and Catch see; `TaskError` names any. A handler that is not written yet answers with its input.
"""

from __future__ import annotations

import logging
from typing import Any

from statechain import {names}

logger = logging.getLogger(__name__)
tasks = TaskRegistry()
'''

HANDLER = '''

@tasks.register({name})
async def {function}({arguments}) -> Any:
    """{summary}

    {takes}.
    """
    logger.warning("%s is not written yet: its input is its answer", {name})
{body}'''

ANSWER_NOW = "    return event\n"
ANSWER_LATER = """    # To answer, call engine.send_task_success(token, output): that ends the state.
    logger.warning("its task token is %s", context.task_token)
    return event
"""


def skeleton(needs: Sequence[Need], files: Sequence[str]) -> str:
    """Return a module with one handler for each name that is needed."""
    handlers = {need.handler: need for need in needs if need.handler is not None}
    names = ["TaskContext", "TaskRegistry"] if any(n.waits for n in handlers.values()) else ["TaskRegistry"]
    parts = [HEAD.format(files=_inside(", ".join(files)), names=", ".join(names))]
    # What the module has for itself.
    taken: set[str] = {"tasks", "logger", "logging", "event", "context"}
    for handler, need in handlers.items():
        function = _function_name(handler, taken)
        taken.add(function)
        parts.append(
            HANDLER.format(
                name=_literal(handler),
                function=function,
                arguments="event: Any, context: TaskContext" if need.waits else "event: Any",
                summary=_inside(shortened(f"Serve {', '.join(need.states)}.", 100)),
                takes=textwrap.fill(_inside(f"It gets {need.takes}"), 112, subsequent_indent="    "),
                body=ANSWER_LATER if need.waits else ANSWER_NOW,
            )
        )
    return "".join(parts)


def _function_name(handler: str, taken: set[str]) -> str:
    """Return a Python name for a handler, unlike those that are taken."""
    last = handler.rpartition(":::")[2] or handler
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", last, re.ASCII) or ["handler"]
    name = "_".join(words).lower()
    if name[0].isdigit() or keyword.iskeyword(name) or keyword.issoftkeyword(name):
        name = f"handle_{name}"
    number = 2
    unique = name
    # Resources of several regions, or services, may end in the same word.
    while unique in taken:
        unique, number = f"{name}_{number}", number + 1
    return unique


def _literal(text: str) -> str:
    """Return a string as a Python string literal in double quotes."""
    body = "".join(c if c.isprintable() and c not in '"\\' else c.encode("unicode_escape").decode() for c in text)
    return '"' + body.replace('"', '\\"') + '"'


def _inside(text: str) -> str:
    """Return a string that can be in a docstring."""
    return text.replace("\\", "/").replace('"""', "'''")
