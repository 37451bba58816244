"""A step and its record: what a visit puts out becomes the frame's next input, and a row for the next write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from statechain.asl.outcome import Done, Next
from statechain.codec import JSONValue, encode
from statechain.errors import InvalidPayload, StateError
from statechain.tasks.retry import RUNTIME

if TYPE_CHECKING:
    from datetime import datetime

    from statechain.asl.plan.plan import State
    from statechain.execution.frame import Frame
    from statechain.limits import Limits

__all__ = ["PURE", "encoded_output", "record_step"]

PURE: Final = frozenset({"Pass", "Choice", "Succeed", "Fail"})
"""The types of the states that have no effect."""


def record_step(frame: Frame, state: State, step: Next | Done, now: datetime, limits: Limits) -> None:
    """Take a step's output, and remember the visit for the next write.

    Raises:
        StateError: The output is too large, or no JSON: then the visit is as it was.
    """
    text = frame.text_of(step.output)
    run = frame.run
    if text is None and not run.is_express:
        text = encoded_output(step.output, state.name, limits)
    frame.leave(step, text)
    if run.is_express:
        run.next_event()
        return
    run.ledger.add(frame.left(now, step))
    if frame.is_iteration and type(step) is Done:
        run.next_event()  # the iteration's own end follows at once
    if state.type not in PURE:
        frame.has_unsaved_effect = True


def encoded_output(value: JSONValue, name: str, limits: Limits) -> str:
    """Return the text of what a state puts out."""
    try:
        return encode(value, max_bytes=limits.payload_bytes, max_depth=limits.payload_depth)
    except InvalidPayload as fault:
        raise StateError(
            "States.DataLimitExceeded" if fault.is_too_large else RUNTIME,
            f"The state/task '{name}' returned a result with a size exceeding the maximum number of bytes "
            f"service limit."
            if fault.is_too_large
            else f"the output of the state '{name}': {fault}",
        ) from fault
