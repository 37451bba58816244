"""A suite outside the repository is required where its variable is set, and skipped with a reason elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.recorded import external_cases
from support.recorded.external_cases import CONFORMANCE, JSONATA, require_cases

RUN = (Path(__file__).parents[2] / ".ci/run").read_text() if (Path(__file__).parents[2] / ".ci/run").is_file() else None


@pytest.mark.parametrize("variable", [CONFORMANCE, JSONATA])
def test_a_suite_whose_folder_is_set_and_missing_fails(
    variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(variable, str(tmp_path))
    with pytest.raises(pytest.fail.Exception, match=variable):
        require_cases(variable)


@pytest.mark.parametrize("variable", [CONFORMANCE, JSONATA])
def test_a_suite_whose_folder_is_not_set_is_skipped_with_a_reason(
    variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(variable, raising=False)
    monkeypatch.setitem(external_cases._FOLDERS, variable, tmp_path)
    monkeypatch.setenv("CI", "true")  # a public CI has no suites, and is green
    with pytest.raises(pytest.skip.Exception, match=f"set {variable}"):
        require_cases(variable)


@pytest.mark.skipif(RUN is None, reason="an installed or unpacked copy has no .ci/run")
@pytest.mark.parametrize("variable", [CONFORMANCE, JSONATA])
def test_the_projects_own_ci_requires_each_suite(variable: str) -> None:
    assert RUN is not None
    assert f"export {variable}=" in RUN
