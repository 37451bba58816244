"""Callbacks: tasks that wait for an answer from outside, as storage keeps them."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["Callback", "CallbackStatus"]


class CallbackStatus(StrEnum):
    """The status of a task that waits for an answer from outside."""

    WAITING = "WAITING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CLOSED = "CLOSED"


@attrs.frozen(kw_only=True, repr=False)
class Callback:
    """A task that waits for an answer from outside: under a task token, or from an activity's worker.

    Attributes:
        id: The visit's key and the attempt: the same however often the visit is run.

        execution_id: The execution that waits.

        redrive_count: The execution's when it began to wait; a redrive leaves older callbacks behind.

        token_hash: The SHA-256 of the task token, as hexadecimal digits; None while no worker has taken an
            activity's task. The token itself is never stored here.

        activity: The activity's name, or None for a task token that a handler passes on.

        input_text: What an activity's worker is given, as JSON text; else None.

        status: WAITING until it is answered (SUCCEEDED, FAILED), or nothing waits any more (CLOSED).

        output_text: The answer as JSON text, once SUCCEEDED.

        error: The error name, once FAILED.

        cause: The cause beside it.

        last_heartbeat: When its worker last sent a heartbeat, or took the task; None before.

        state: The state that waits; None where a release wrote it that did not store the state.

        since: When it began to wait; None as above.
    """

    id: str
    execution_id: str
    redrive_count: int = 0
    token_hash: str | None = None
    activity: str | None = None
    input_text: str | None = None
    status: CallbackStatus = CallbackStatus.WAITING
    output_text: str | None = None
    error: str | None = None
    cause: str | None = None
    last_heartbeat: datetime | None = None
    state: str | None = None
    since: datetime | None = None

    def __repr__(self) -> str:
        return f"<Callback {self.id} {self.status}>"
