"""`doctor`: what is damaged in a storage, and its repair."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

from support.cli_project import CliProject, rows

__all__: list[str] = []


def damage(project: CliProject, statement: str) -> None:
    with closing(sqlite3.connect(project.folder / "statechain.db")) as connection, connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute(statement)
    connection.close()


def test_a_sound_storage_has_no_findings(project: CliProject) -> None:
    project.run("one")
    told = project.call("doctor")
    assert (told.stdout, told.stderr) == ("", "nothing is damaged\n")
    assert project.call("doctor", "--json", "--fix").stdout == ""


def test_what_is_damaged_is_shown_and_repaired(project: CliProject) -> None:
    project.run("one")
    ident = project.shown("one")["id"]
    damage(project, "UPDATE executions SET start_time = 400000000000000000")
    damage(project, "INSERT INTO runs (execution_id, epoch, seq, claims) VALUES ('gone', 1, 0, 0)")
    found = rows(project.call("doctor", code=1).stdout)
    assert [(row["TABLE"], row["ROW"]) for row in found] == [("executions", ident), ("runs", "gone")]
    assert "start_time" in found[0]["PROBLEM"]
    assert "a time before the year 1 or after 9999" in found[0]["PROBLEM"]
    assert ident in project.call("show", ident, code=2).stderr
    fixed = project.call("doctor", "--fix", "--json", code=1)
    assert [json.loads(line)["repaired"] for line in fixed.stdout.splitlines()] == [True, True]
    assert fixed.stderr == "2 of 2 damaged rows were repaired\n"
    assert project.call("doctor").stderr == "nothing is damaged\n"
    assert project.shown(ident)["status"] == "SUCCEEDED"
