"""Every recorded AWS execution ends here as it ended there: status, output, error, cause and history."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest
from recorded import Case, Folder, find_folder

PATH = find_folder()
FOLDER = None if PATH is None else Folder.open(PATH)
GAPS: dict[str, str] = tomllib.loads(Path(__file__).with_name("known_gaps.toml").read_text())["gaps"]


def test_the_cases_are_at_hand() -> None:
    if FOLDER is None and not os.environ.get("CI"):
        pytest.skip("no recorded cases: set STATECHAIN_CONFORMANCE to their folder")
    assert FOLDER is not None, "a run in CI measures conformance: set STATECHAIN_CONFORMANCE"
    assert FOLDER.cases


def test_every_known_gap_is_a_case_and_has_a_reason() -> None:
    if FOLDER is None:
        pytest.skip("no recorded cases")
    assert set(GAPS) <= {case["id"] for case in FOLDER.cases}
    assert all(GAPS.values())


@pytest.mark.parametrize("case", FOLDER.cases if FOLDER else [], ids=lambda case: f"{case['id']}-{case['area']}")
def test_it_ends_as_it_was_recorded(case: Case) -> None:
    assert FOLDER is not None
    differences = FOLDER.differences(case)
    reason = GAPS.get(case["id"])
    if reason is not None:
        assert differences, f"listed as a known gap ({reason}), but it conforms: take it off the list"
        pytest.xfail(reason)
    assert not differences, "\n".join(differences)
