"""Every recorded AWS execution ends here as it ended there: status, output, error, cause and history."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from external_cases import CONFORMANCE, find_cases, require_cases
from recorded import Case, Folder

PATH = find_cases(CONFORMANCE)
FOLDER = None if PATH is None else Folder.open(PATH)
GAPS: dict[str, str] = tomllib.loads(Path(__file__).with_name("known_gaps.toml").read_text())["gaps"]


def _name(case: Case | None) -> str:
    return "none" if case is None else f"{case['id']}-{case['area']}"


def test_the_cases_are_at_hand() -> None:
    require_cases(CONFORMANCE)
    assert FOLDER is not None
    assert FOLDER.cases


def test_every_known_gap_is_a_case_and_has_a_reason() -> None:
    require_cases(CONFORMANCE)
    assert FOLDER is not None
    assert set(GAPS) <= {case["id"] for case in FOLDER.cases}
    assert all(GAPS.values())


@pytest.mark.parametrize("case", FOLDER.cases if FOLDER else [None], ids=_name)
def test_it_ends_as_it_was_recorded(case: Case | None) -> None:
    require_cases(CONFORMANCE)
    assert FOLDER is not None
    assert case is not None
    differences = FOLDER.differences(case)
    reason = GAPS.get(case["id"])
    if reason is not None:
        assert differences, f"listed as a known gap ({reason}), but it conforms: take it off the list"
        pytest.xfail(reason)
    assert not differences, "\n".join(differences)
