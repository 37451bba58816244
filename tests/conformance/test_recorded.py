"""Every recorded AWS execution ends here as it ended there: status, output, error, cause and history."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.recorded.cases import Case, Folder
from support.recorded.external_cases import CONFORMANCE, find_cases, require_cases
from support.recorded.service_model import violations

PATH = find_cases(CONFORMANCE)
KNOWN: dict[str, dict[str, Any]] = tomllib.loads(Path(__file__).with_name("known_gaps.toml").read_text())
GAPS, ORDER = KNOWN["gaps"], KNOWN["order"]
MASKED: dict[str, list[str]] = {id_: each["texts"] for id_, each in KNOWN["masked"].items()}
FOLDER = None if PATH is None else Folder.open(PATH, MASKED)


def _name(case: Case | None) -> str:
    return "none" if case is None else f"{case['id']}-{case['area']}"


def test_the_cases_are_at_hand() -> None:
    require_cases(CONFORMANCE)
    assert FOLDER is not None
    assert FOLDER.cases


def test_every_known_gap_is_a_case_and_has_a_reason() -> None:
    require_cases(CONFORMANCE)
    assert FOLDER is not None
    assert {id_ for table in KNOWN.values() for id_ in table} <= {case["id"] for case in FOLDER.cases}
    assert all([*GAPS.values(), *ORDER.values(), *(each["reason"] for each in KNOWN["masked"].values())])


@pytest.mark.parametrize("id_", MASKED)
def test_what_is_masked_differs_without_the_mask(id_: str) -> None:
    require_cases(CONFORMANCE)
    assert PATH is not None
    folder = Folder.open(PATH)
    (case,) = [case for case in folder.cases if case["id"] == id_]
    assert folder.differences(case), "it conforms without a mask: take it off the list"


@pytest.mark.parametrize("case", FOLDER.cases if FOLDER else [None], ids=_name)
def test_it_ends_as_it_was_recorded(case: Case | None, record_property: Callable[[str, object], None]) -> None:
    require_cases(CONFORMANCE)
    assert FOLDER is not None
    assert case is not None
    record_property("conformance", ["conformance with recorded AWS executions", "all", *case["features"]])
    differences = FOLDER.differences(case)
    reason = GAPS.get(case["id"])
    if reason is not None:
        assert differences, f"listed as a known gap ({reason}), but it conforms: take it off the list"
        pytest.xfail(reason)
    assert not differences, "\n".join(differences)


@pytest.mark.parametrize("played", FOLDER.cases if FOLDER else [None], ids=_name)
def test_its_history_is_as_the_services_model_says(played: Case | None) -> None:
    require_cases(CONFORMANCE)
    assert FOLDER is not None
    assert played is not None
    history = FOLDER.outcome(played).get("history") or []
    assert not [found for event in history for found in violations(event)]


@pytest.mark.parametrize("played", FOLDER.cases if FOLDER else [None], ids=_name)
def test_its_events_follow_those_that_were_recorded(played: Case | None) -> None:
    require_cases(CONFORMANCE)
    assert FOLDER is not None
    assert played is not None
    recorded, history = played["expected_events"], FOLDER.outcome(played).get("history")
    if played["id"] in GAPS or not recorded or history is None:
        pytest.skip("its events were not recorded")
    follows = [(event["id"], event["type"], event["previousEventId"]) for event in history]
    expected = [(event["id"], event["type"], event["previousEventId"]) for event in recorded]
    if played["id"] in ORDER:
        assert follows != expected, f"listed as in another order ({ORDER[played['id']]}), but it is not"
        pytest.xfail(ORDER[played["id"]])
    assert follows == expected
