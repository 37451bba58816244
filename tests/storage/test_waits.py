"""What a RUNNING execution waits for, by what storage knows of it."""

from __future__ import annotations

from datetime import UTC, datetime

import attrs
import pytest

from statechain.storage.waits import Awaited, ExecutionWait, wait_of

UNTIL = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RESUME = f'{{"resume":{int(UNTIL.timestamp()) * 1_000_000}}}'


@attrs.frozen
class Visit:
    """The part of a visit's row that is read."""

    type: str = "Wait"
    exited: datetime | None = None
    detail: str | None = RESUME


@pytest.mark.parametrize(
    ("is_owned", "is_queued", "awaited", "visit", "expected", "text"),
    [
        (False, True, None, None, ExecutionWait(reason="limit"), "a limit, or its turn"),
        (False, False, None, None, ExecutionWait(reason="worker"), "a worker"),
        (False, False, None, Visit(), ExecutionWait(reason="worker"), "a worker"),
        (
            True,
            False,
            Awaited("Approve", "approvals", is_taken=False),
            None,
            ExecutionWait(reason="activity", about="approvals"),
            "a worker of the activity approvals",
        ),
        (
            True,
            False,
            Awaited("Approve", "approvals", is_taken=True),
            None,
            ExecutionWait(reason="answer", about="Approve"),
            "an answer to Approve",
        ),
        (
            False,
            False,
            Awaited(None, None, is_taken=False),
            None,
            ExecutionWait(reason="answer"),
            "an answer to a task",
        ),
        (True, False, None, Visit(), ExecutionWait(reason="time", until=UNTIL), "2026-01-02 03:04:05 UTC"),
        (
            True,
            False,
            None,
            Visit(type="Task"),
            ExecutionWait(reason="retry", until=UNTIL),
            "a retry at 2026-01-02 03:04:05 UTC",
        ),
        (True, False, None, Visit(exited=UNTIL), None, ""),
        (True, False, None, Visit(detail=None), None, ""),
        (True, False, None, Visit(detail="{}"), None, ""),
        (True, False, None, Visit(detail='{"assigned":{"resume":1}}'), None, ""),
        (True, False, None, None, None, ""),
    ],
)
def test_an_execution_waits_for_what_storage_says(
    *,
    is_owned: bool,
    is_queued: bool,
    awaited: Awaited | None,
    visit: Visit | None,
    expected: ExecutionWait | None,
    text: str,
) -> None:
    found = wait_of(is_owned=is_owned, is_queued=is_queued, awaited=awaited, visit=visit)
    assert found == expected
    assert ("" if found is None else str(found)) == text
