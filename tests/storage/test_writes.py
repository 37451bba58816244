"""Writes as values: when one was made before, and what one cannot be."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from statechain.records.batches import BatchStatus
from statechain.records.callbacks import CallbackStatus
from statechain.storage.repository import AnswerCallback, EndBatch
from statechain.testing.contract.samples import callback, execution, moment

SUCCEEDED, FAILED = CallbackStatus.SUCCEEDED, CallbackStatus.FAILED


@pytest.mark.parametrize(
    ("answer", "stored", "is_the_same"),
    [
        ({"output_text": '{"a":1,"b":2}'}, {"status": SUCCEEDED, "output_text": '{"b": 2, "a": 1}'}, True),
        ({"output_text": "1"}, {"status": SUCCEEDED, "output_text": "1.0"}, False),
        ({"output_text": "1"}, {}, False),
        ({"error": "Late"}, {"status": FAILED, "error": "Late"}, True),
        ({"error": "Late", "cause": "a"}, {"status": FAILED, "error": "Late", "cause": "b"}, False),
        ({}, {"status": FAILED}, True),
        ({}, {"status": FAILED, "error": "Late"}, False),
        ({}, {"status": CallbackStatus.CLOSED}, False),
    ],
)
def test_an_answer_is_given_where_it_means_the_same(
    answer: dict[str, Any], stored: dict[str, Any], *, is_the_same: bool
) -> None:
    waiting = callback(execution())
    write = AnswerCallback(token_hash=str(waiting.token_hash), **answer)
    assert write.is_given_to(attrs.evolve(waiting, **stored)) is is_the_same


def test_no_end_of_a_batch_is_running() -> None:
    with pytest.raises(ValueError, match="status"):
        EndBatch(batch_id="batch", status=BatchStatus.RUNNING, end_time=moment())
