"""A step and its record: what a visit puts out becomes the frame's next input, and a row for the next write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from statechain.errors import InvalidPayload, StateError
from statechain.tasks.retry import RUNTIME

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from statechain.asl.plan.plan import State
    from statechain.codec import JSONValue
    from statechain.execution.frame import Frame
    from statechain.limits import Limits
    from statechain.payload import Payload

__all__ = ["PURE", "encode_output", "record_step"]

PURE: Final = frozenset({"Pass", "Choice", "Succeed", "Fail"})
"""The types of the states that have no effect."""


def record_step(
    frame: Frame,
    state: State,
    following: str | None,
    output: Payload,
    assigned: Mapping[str, JSONValue] | None,
    now: datetime,
    limits: Limits,
) -> None:
    """Take what a visit puts out, and remember the visit for the next write; an EXPRESS execution has none.

    Raises:
        StateError: The output is too large, or no JSON, or the history is full: then the visit is as it was.
    """
    run = frame.run
    if run.is_express:
        if output.text is None and not output.is_owned:  # made by expressions, of which each could double it
            encode_output(output, state.name, limits)
        run.next_event()
        frame.put_out(output, assigned)
        return
    if output.text is None:
        encode_output(output, state.name, limits)
    # `leave` raises where the history is full, before anything of the visit has changed.
    run.ledger.add(frame.leave(state, following, output, assigned, now))
    if following is None and frame.is_iteration:
        run.next_event()  # the iteration's own end follows at once
    if state.type not in PURE:
        frame.has_unsaved_effect = True


def encode_output(output: Payload, name: str, limits: Limits) -> str:
    """Return the text of what a state puts out. Raises StateError where it is too large, or no JSON."""
    try:
        return output.encoded(max_bytes=limits.payload_bytes, max_depth=limits.payload_depth)
    except InvalidPayload as fault:
        raise StateError(
            "States.DataLimitExceeded" if fault.is_too_large else RUNTIME,
            f"The state/task '{name}' returned a result with a size exceeding the maximum number of bytes "
            f"service limit."
            if fault.is_too_large
            else f"the output of the state '{name}': {fault}",
        ) from fault
