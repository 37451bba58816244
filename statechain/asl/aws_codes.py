"""Codes of diagnostics here → codes of AWS's ValidateStateMachineDefinition, and places as it writes them."""

from __future__ import annotations

import re
from typing import Final

from statechain.errors import Diagnostic

__all__ = ["aws_code", "aws_location"]

CODES: Final = {
    "syntax": "INVALID_JSON_DESCRIPTION",
    "not-json": "INVALID_JSON_DESCRIPTION",
    "number": "INVALID_JSON_DESCRIPTION",
    "duplicate-key": "INVALID_JSON_DESCRIPTION",
    "key": "INVALID_JSON_DESCRIPTION",
    "merge-key": "INVALID_JSON_DESCRIPTION",
    "alias": "INVALID_JSON_DESCRIPTION",
    "tag": "INVALID_JSON_DESCRIPTION",
    "too-large": "INVALID_JSON_DESCRIPTION",
    "too-deep": "TOO_DEEPLY_NESTED",
    "state-name": "INVALID_STATE_NAME",
    "duplicate-name": "DUPLICATE_STATE_NAME",
    "duplicate-label": "DUPLICATE_LABEL_NAME",
    "missing-target": "MISSING_TRANSITION_TARGET",
    "unreachable": "MISSING_TRANSITION_TARGET",
    "no-end": "MISSING_END_STATE",
    "unknown-resource": "INVALID_RESOURCE",
}
OTHER: Final = "SCHEMA_VALIDATION_FAILED"
INDEX: Final = re.compile(r"/(And|Branches|Catch|Choices|Or|Retry)/(\d+)(?=/|$)")


def aws_code(diagnostic: Diagnostic) -> str:
    """Return the code that AWS gives such an error."""
    if diagnostic.code == "wrong-value" and diagnostic.pointer.endswith("/Label"):
        return "INVALID_LABEL_NAME"
    return CODES.get(diagnostic.code, OTHER)


def aws_location(diagnostic: Diagnostic) -> str | None:
    """Return the place as AWS writes it, such as ``/States/A/Choices[0]/Next``; None where it gives none."""
    if not diagnostic.pointer or diagnostic.code == "no-end":
        return None
    # AWS writes names as they are, and no JSON pointer.
    return INDEX.sub(r"/\1[\2]", diagnostic.pointer).replace("~1", "/").replace("~0", "~")
