"""`migrate`: a schema is made or upgraded, and that one is upgraded is said."""

from __future__ import annotations

import logging

import pytest

from statechain_backends.sql.schema.migrate import HEAD, is_current
from support.cli_project import CliProject


def test_a_schema_is_made_however_long_it_takes(project: CliProject) -> None:
    assert project.call("migrate").stderr == "the schema is what this release needs\n"
    project.call("list")
    assert project.call("migrate").stderr == "the schema is what this release needs\n"


def test_that_a_schema_is_upgraded_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert is_current(HEAD)
        assert not is_current(None)
        assert caplog.text == ""
        assert not is_current("0001")
    assert f"the schema is upgraded from 0001 to {HEAD}" in caplog.text
    assert "statechain migrate" in caplog.text
