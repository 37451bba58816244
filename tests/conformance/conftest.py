"""Makes the harness importable, and prints at the end how much of each feature or group conforms."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

RECORDED = "conformance with recorded AWS executions"
SUITE = "conformance with the public JSONata suite"

counted: dict[str, Counter[str]] = {RECORDED: Counter(), SUITE: Counter()}
conforming: dict[str, Counter[str]] = {RECORDED: Counter(), SUITE: Counter()}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Count a case under each of its features, or under its group; one that does not apply is not counted."""
    report = yield
    params = getattr(getattr(item, "callspec", None), "params", {})
    recorded, jsonata = params.get("case"), params.get("jsonata_case")
    if report.when != "call":
        return report
    if isinstance(recorded, dict) and "features" in recorded:
        _count(RECORDED, ["all", *recorded["features"]], passed=report.passed)
    if isinstance(jsonata, dict) and not report.skipped:
        _count(SUITE, ["all", jsonata["group"]], passed=report.passed)
    return report


def _count(section: str, names: list[str], *, passed: bool) -> None:
    for name in names:
        counted[section][name] += 1
        conforming[section][name] += passed


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the rate of each feature and group."""
    for section, counts in counted.items():
        if not counts:
            continue
        terminalreporter.section(section)
        for name, count in counts.most_common():
            terminalreporter.write_line(f"{name:30} {conforming[section][name]:4} of {count:4}")
