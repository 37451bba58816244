"""Executions without lines: each line of control in an asyncio task, from state to state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from statechain.execution.lines.shared import Lines
from statechain.worker.runner import ExecutionRunner

if TYPE_CHECKING:
    import pytest

__all__ = ["turn_lines_off"]


def turn_lines_off(patch: pytest.MonkeyPatch) -> None:
    """Have the interpreter do all that a line would, and a task all that goes on without one."""
    patch.setattr(Lines, "begins", lambda *_: False)
    patch.setattr(ExecutionRunner, "unattended", lambda *_: None)
