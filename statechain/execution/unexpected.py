"""Exceptions that no state is expected to raise, as the error that ends their execution.

A bug, or a value that nothing here foresaw, must not leave an execution RUNNING: it ends at once as ``States.Runtime``,
which no Retrier and no Catcher answers, and the traceback is logged.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from statechain.errors import EngineNotUsable, LeaseLost, RepositoryError, StateError
from statechain.logs import about
from statechain.tasks.retry import RUNTIME

if TYPE_CHECKING:
    from statechain.execution.frame import Frame
    from statechain.limits import Limits
    from statechain.records.executions import Execution

__all__ = ["PASSING", "as_state_error", "runtime_error"]

logger = logging.getLogger(__name__)

PASSING: Final = (LeaseLost, RepositoryError, EngineNotUsable, MemoryError)
"""What says nothing about the state: it leaves the execution RUNNING, to be resumed here or by another worker."""


def as_state_error(error: Exception, frame: Frame, limits: Limits) -> StateError:
    """Log an exception that the visit of a state raised; return the error that it is for the execution."""
    place = f"An error occurred while executing the state '{frame.state}' (entered at the event id "
    return runtime_error(error, frame.run.execution, limits, f"{place}#{frame.entered_event}). ", state=frame.state)


def runtime_error(
    error: Exception, execution: Execution, limits: Limits, place: str = "", *, state: str | None = None
) -> StateError:
    """Log an exception that nothing here expects; return it as States.Runtime."""
    logger.error(
        "execution %s%s failed by an unexpected %s",
        execution.id,
        "" if state is None else f" in the state {state!r}",
        type(error).__name__,
        exc_info=error,
        extra=about(execution, state=state),
    )
    fault = StateError(RUNTIME, limits.cut_off(f"{place}The engine met an unexpected {_text_of(error)}"))
    fault.__cause__ = error
    return fault


def _text_of(error: Exception) -> str:
    """Return an exception's class and text; an exception whose text cannot be made still has a class."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 -- the class is enough
        text = ""
    name = type(error).__name__
    return f"{name}: {text}" if text else name
