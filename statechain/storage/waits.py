"""Why RUNNING executions wait, as storage knows it: what each is asked, and the record of the answer."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, Protocol, TypeAlias

import attrs

from statechain.records.details import VisitDetail

__all__ = ["Awaited", "ExecutionWait", "OpenVisit", "WaitReason", "wait_of"]

WaitReason: TypeAlias = Literal["limit", "worker", "activity", "answer", "time", "retry"]

SAID: dict[WaitReason, str] = {
    "limit": "a limit, or its turn",
    "worker": "a worker",
    "activity": "a worker of the activity {about}",
    "answer": "an answer to {about}",
    "time": "{until}",
    "retry": "a retry at {until}",
}


@attrs.frozen(kw_only=True)
class ExecutionWait:
    """What a RUNNING execution waits for.

    Attributes:
        reason: ``"limit"``: a limit of its machine, or its turn under it. ``"worker"``: a worker that claims it.
            ``"activity"``: a worker that takes the activity's task. ``"answer"``: an answer under a task token.
            ``"time"``: the end of a Wait state. ``"retry"``: the next attempt of a Task that failed.

        about: The activity, or the state that waits for an answer; else None.

        until: When the Wait state ends, or the next attempt begins; else None.
    """

    reason: WaitReason
    about: str | None = None
    until: datetime | None = None

    def __str__(self) -> str:
        until = "" if self.until is None else f"{self.until:%Y-%m-%d %H:%M:%S} UTC"
        return SAID[self.reason].format(about=self.about or "a task", until=until)


@attrs.frozen
class Awaited:
    """The task of an execution that has waited longest for an answer from outside."""

    state: str | None
    activity: str | None
    is_taken: bool


class OpenVisit(Protocol):
    """The part of a visit's row that says whether it waits; the last row of an execution counts."""

    @property
    def type(self) -> str:
        """The state's type."""

    @property
    def exited(self) -> datetime | None:
        """When it was left."""

    @property
    def detail(self) -> str | None:
        """The text of its `VisitDetail`."""


def wait_of(
    *, is_owned: bool, is_queued: bool, awaited: Awaited | None, visit: OpenVisit | None
) -> ExecutionWait | None:
    """Return what a RUNNING execution waits for; None where it runs, as far as its last visit says."""
    # A callback that waits says more than the visit, and holds also while no worker owns the execution.
    if awaited is not None:
        if awaited.activity is not None and not awaited.is_taken:
            return ExecutionWait(reason="activity", about=awaited.activity)
        return ExecutionWait(reason="answer", about=awaited.state)
    if not is_owned:
        return ExecutionWait(reason="limit" if is_queued else "worker")
    # A look at the text spares decoding the details of executions that run.
    if visit is None or visit.exited is not None or visit.detail is None or '"resume":' not in visit.detail:
        return None
    until = VisitDetail.load(visit.detail).resume_at
    reason: WaitReason = "time" if visit.type == "Wait" else "retry"
    return None if until is None else ExecutionWait(reason=reason, until=until)
