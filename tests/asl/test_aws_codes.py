"""The codes of AWS's ValidateStateMachineDefinition, for each diagnostic."""

from __future__ import annotations

import re

import pytest

from statechain.asl.aws_codes import CODES, OTHER, aws_code, aws_location
from statechain.errors import Diagnostic
from support.recorded.service_model import documentation


def test_every_code_is_one_of_aws() -> None:
    known = set(re.findall(r"<dt>([A-Z_]+)</dt>", documentation("ValidateStateMachineDefinitionDiagnostic")))
    assert {*CODES.values(), OTHER, "INVALID_LABEL_NAME"} <= known


@pytest.mark.parametrize(
    ("code", "pointer", "expected"),
    [
        ("syntax", "", ("INVALID_JSON_DESCRIPTION", None)),
        ("no-end", "/States", ("MISSING_END_STATE", None)),
        ("missing-target", "/States/A/Choices/0/Next", ("MISSING_TRANSITION_TARGET", "/States/A/Choices[0]/Next")),
        ("unreachable", "/States/1", ("MISSING_TRANSITION_TARGET", "/States/1")),
        ("duplicate-name", "/States/a~1b", ("DUPLICATE_STATE_NAME", "/States/a/b")),
        ("wrong-value", "/States/A/Label", ("INVALID_LABEL_NAME", "/States/A/Label")),
        ("wrong-value", "/States/A/End", (OTHER, "/States/A/End")),
        ("unknown-field", "/States/A/Nxt", (OTHER, "/States/A/Nxt")),
    ],
)
def test_the_code_and_the_place_of_aws(code: str, pointer: str, expected: tuple[str, str | None]) -> None:
    found = Diagnostic(code, "it is wrong", pointer=pointer)
    assert (aws_code(found), aws_location(found)) == expected
