"""Faults of the library in JSONata's words."""

from __future__ import annotations

import pytest
from jsonata.jexception import JException

from statechain.asl.jsonata.messages import sentence


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (JException("T0410", -1, 1, "each"), 'T0410: Argument 1 of function "each" does not match function signature'),
        (JException("D1004", -1), "D1004: Regular expression matches zero length string"),
        (JException("T9999", -1), "T9999"),
        (ValueError("so"), "so"),
        (KeyError(), "KeyError"),
    ],
)
def test_says(fault: Exception, said: str) -> None:
    assert sentence(fault) == said
