"""Makes the harness importable, and tells at the end how much of each feature conforms."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

conforming: Counter[str] = Counter()
counted: Counter[str] = Counter()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Count a case under each of its features."""
    report = yield
    callspec = getattr(item, "callspec", None)
    case = None if callspec is None else callspec.params.get("case")
    if report.when == "call" and isinstance(case, dict) and "features" in case:
        for feature in ["all", *case["features"]]:
            counted[feature] += 1
            conforming[feature] += report.passed
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the rate of each feature."""
    if counted:
        terminalreporter.section("conformance with recorded AWS executions")
        for feature, count in counted.most_common():
            terminalreporter.write_line(f"{feature:20} {conforming[feature]:4} of {count:4}")
