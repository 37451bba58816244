"""Diagnostics of definitions for programs: JSON lines, GitHub's workflow commands, SARIF for code scanning."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import PurePath
from typing import Any, Final, TypeAlias

import click

from statechain.asl.aws_codes import aws_code, aws_location
from statechain.cli.terminal import is_utf
from statechain.errors import Diagnostic

__all__ = ["REPORTS", "Finding"]

Finding: TypeAlias = tuple[str, Diagnostic]
"""A file, and a diagnostic in it."""

SARIF: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def write_json(findings: Iterable[Finding]) -> None:
    """Write one JSON object a line."""
    for file, found in findings:
        _echo(
            {
                "file": file,
                "line": found.line,
                "column": found.column,
                "pointer": found.pointer,
                "code": found.code,
                "message": found.message,
                "severity": "ERROR",
                "aws_code": aws_code(found),
                "aws_location": aws_location(found),
            }
        )


def write_github(findings: Iterable[Finding]) -> None:
    """Write workflow commands, which GitHub shows at the lines of a pull request."""
    for file, found in findings:
        places = {"file": PurePath(file).as_posix(), "line": found.line, "col": found.column, "title": found.code}
        properties = ",".join(f"{key}={_property(value)}" for key, value in places.items() if value is not None)
        click.echo(f"::error {properties}::{_command_data(found.message)}")


def _command_data(text: str) -> str:
    # The percent sign first, or the escapes of the others would be escaped again.
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(value: object) -> str:
    return _command_data(str(value)).replace(":", "%3A").replace(",", "%2C")


def write_sarif(findings: Iterable[Finding]) -> None:
    """Write one log in the Static Analysis Results Interchange Format 2.1.0."""
    found = list(findings)
    rules = sorted({diagnostic.code for _, diagnostic in found})
    driver = {"name": "statechain", "version": version("statechain"), "rules": [{"id": code} for code in rules]}
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": [_result(*each) for each in found]}
    _echo({"$schema": SARIF, "version": "2.1.0", "runs": [run]}, indent=2)


def _result(file: str, found: Diagnostic) -> dict[str, Any]:
    place: dict[str, Any] = {"artifactLocation": {"uri": PurePath(file).as_posix()}}
    if found.line is not None:
        place["region"] = {"startLine": found.line, "startColumn": found.column}
    return {
        "ruleId": found.code,
        "level": "error",
        "message": {"text": found.message},
        "locations": [{"physicalLocation": place, "logicalLocations": [{"fullyQualifiedName": found.pointer}]}],
        "properties": {"awsCode": aws_code(found)},
    }


def _echo(value: Mapping[str, Any], indent: int | None = None) -> None:
    click.echo(json.dumps(value, ensure_ascii=not is_utf(), indent=indent))


REPORTS: Final = {"json": write_json, "github": write_github, "sarif": write_sarif}
"""What writes each format."""
