"""Mock configuration files of AWS Step Functions Local → for each mocked state its responses, in order.

``StateMachines`` → name → ``TestCases`` → name → state → the name of an entry of ``MockedResponses``, which numbers
responses from 0, alone (``"0"``) or as ranges (``"1-2"``), each with a ``Return`` or a ``Throw``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from statechain.codec import JSONValue

__all__ = ["Response", "read_mock_config"]

NUMBERS = re.compile(r"(?P<first>\d{1,6})(?:-(?P<last>\d{1,6}))?")
MOST_RESPONSES = 10_000


@attrs.frozen
class Response:
    """A mocked response: a result, or with an error a failure."""

    result: JSONValue = None
    error: str | None = None
    cause: str | None = None


def read_mock_config(config: Path | Mapping[str, Any], state_machine: str, test_case: str) -> dict[str, list[Response]]:
    """Return the responses of each state that a test case mocks. Raises ValueError, which names the place."""
    loaded = _load(config) if isinstance(config, Path) else config
    machines = _object(loaded, "StateMachines")
    cases = _object(_member(machines, state_machine, "StateMachines"), "TestCases", f"StateMachines/{state_machine}")
    states = _member(cases, test_case, f"StateMachines/{state_machine}/TestCases")
    responses = _object(loaded, "MockedResponses")
    return {
        state: _responses(_member(responses, name, "MockedResponses"), f"MockedResponses/{name}")
        for state, name in states.items()
    }


def _load(path: Path) -> Any:  # noqa: ANN401 -- whatever JSON it holds
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as fault:
        raise ValueError(f"{path.name} is no JSON: {fault}") from fault


def _object(parent: Any, key: str, place: str = "") -> Mapping[str, Any]:  # noqa: ANN401
    found = parent.get(key) if isinstance(parent, Mapping) else None
    if not isinstance(found, Mapping):
        raise ValueError(f"{place or 'the mock configuration'} has no object {key!r}")
    return found


def _member(parent: Mapping[str, Any], name: str, place: str) -> Mapping[str, Any]:
    found = parent.get(name) if isinstance(name, str) else None
    if not isinstance(found, Mapping):
        raise ValueError(f"{place} has no {name!r}; it has: {', '.join(sorted(parent)) or 'nothing'}")
    return found


def _responses(numbered: Mapping[str, Any], place: str) -> list[Response]:
    """Return the responses in the order of their numbers, which begin at 0 and leave none out."""
    # By number: JSON has no order of members, and "10" comes before "2" as text.
    spans = sorted((*_span(numbers, place), numbers) for numbers in numbered)
    responses: list[Response] = []
    for first, last, numbers in spans:
        if first != len(responses):
            raise ValueError(f"{place}/{numbers} must begin at {len(responses)}: numbers follow each other, from 0")
        responses += [_response(numbered[numbers], f"{place}/{numbers}")] * (last - first + 1)
    if not responses:
        raise ValueError(f"{place} has no responses")
    return responses


def _span(numbers: str, place: str) -> tuple[int, int]:
    found = NUMBERS.fullmatch(numbers)
    if found is not None:
        first = int(found["first"])
        last = first if found["last"] is None else int(found["last"])
        if first <= last < MOST_RESPONSES:
            return first, last
    raise ValueError(f"{place}/{numbers} is not a number, or a range such as '1-2', below {MOST_RESPONSES}")


def _response(value: Any, place: str) -> Response:  # noqa: ANN401
    if isinstance(value, Mapping) and value.keys() == {"Return"}:
        return Response(value["Return"])
    thrown = value["Throw"] if isinstance(value, Mapping) and value.keys() == {"Throw"} else None
    if not isinstance(thrown, Mapping) or not isinstance(thrown.get("Error"), str):
        raise ValueError(f"{place} must have either a Return, or a Throw with an Error")
    return Response(error=thrown["Error"], cause=thrown.get("Cause"))
