"""Lines at the end of a run: the figures of the harnesses of failures, and how much of each public suite conforms.

A fact travels in the test's report (``user_properties``), so that it reaches the end of the run from whichever worker
process of pytest-xdist ran the test.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TypeAlias

import pytest

__all__ = ["Figures"]

Figures: TypeAlias = Callable[..., None]
"""(name=value, …) → None: writes a line of figures at the end of the run, and beside a failure."""

FIGURES = "figures"
"""The property of a report that is a line of figures."""

CONFORMANCE = "conformance"
"""The property of a report that is a list: the name of a public suite, and what its case counts under."""


class Summary:
    """Gathers facts from the reports of tests, and prints them at the end."""

    def __init__(self) -> None:
        self._figures: list[str] = []
        self._conforming: dict[str, Counter[str]] = {}
        self._counted: dict[str, Counter[str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" or (report.skipped and not hasattr(report, "wasxfail")):
            return
        for name, fact in report.user_properties:
            if name == FIGURES:
                self._figures.append(str(fact))
            elif name == CONFORMANCE and isinstance(fact, list):
                self._count(*fact, passed=report.passed)

    def _count(self, section: str, *names: str, passed: bool) -> None:
        counted = self._counted.setdefault(section, Counter())
        conforming = self._conforming.setdefault(section, Counter())
        for name in names:
            counted[name] += 1
            conforming[name] += passed

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._figures:
            terminalreporter.section("faults: figures")
        for line in self._figures:
            terminalreporter.write_line(line)
        for section, counted in self._counted.items():
            terminalreporter.section(section)
            for name, count in counted.most_common():
                terminalreporter.write_line(f"{name:30} {self._conforming[section][name]:4} of {count:4}")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Summary(), "statechain-summary")


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    """Write a line of figures at the end of the run, and beside a failure."""

    def write(**facts: object) -> None:
        shown = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items())
        line = f"{request.node.name}: {shown}"
        request.node.user_properties.append((FIGURES, line))
        print(line)  # noqa: T201 -- pytest shows it where the test fails

    return write
