"""`validate`: places, carets, hints, exit codes."""

from __future__ import annotations

import json

from support.cli_project import CliProject


def test_a_definition_without_faults_is_ok(project: CliProject) -> None:
    result = project.call("validate", "orders.json", "bills.json")
    assert result.stdout == ""
    assert result.stderr.splitlines() == ["ok  orders.json", "ok  bills.json"]


def test_a_fault_is_told_with_its_line_and_a_caret(project: CliProject) -> None:
    project.write("bad.json", '{"StartAt": "A",\n "States": {"A": {"Type": "Pass",\n   "Nxt": "A"}}}')
    told = project.call("validate", "bad.json", code=1).stderr
    assert "bad.json:3:4: error: " in told
    assert "did you mean 'Next'?" in told
    lines = told.splitlines()
    place = next(number for number, line in enumerate(lines) if '"Nxt": "A"' in line)
    assert lines[place].index('"Nxt"') == lines[place + 1].index("^")
    assert lines[place + 1].endswith("^~~~~")


def test_what_an_express_machine_cannot_do_is_found_where_the_type_is_given(project: CliProject) -> None:
    task = {"Type": "Task", "Resource": "arn:aws:states:::states:startExecution.sync", "End": True}
    project.write("waits.json", {"StartAt": "A", "States": {"A": task}})
    assert "not-in-express" in project.call("validate", "--type", "EXPRESS", "waits.json", code=1).stderr
    assert project.call("validate", "waits.json").stderr == "ok  waits.json\n"


def test_a_state_that_is_not_there_gets_the_near_name(project: CliProject) -> None:
    project.write("bad.json", {"StartAt": "Pay", "States": {"Pays": {"Type": "Succeed"}}})
    assert "did you mean 'Pays'?" in project.call("validate", "bad.json", code=1).stderr


def test_a_line_with_tabs_and_a_long_line_keep_the_caret_below_the_token(project: CliProject) -> None:
    padding = '"Comment": "' + "x" * 300 + '", '
    project.write("bad.json", '{"StartAt": "A", "States": {"A": {\t' + padding + '"Type": "Pas", "End": true}}}')
    lines = project.call("validate", "bad.json", code=1).stderr.splitlines()
    place = next(number for number, line in enumerate(lines) if "did you mean 'Pass'" in line)
    assert lines[place + 1].index('"Pas"') == lines[place + 2].index("^")
    assert len(lines[place + 1]) < 130


def test_yaml_has_places_too(project: CliProject) -> None:
    project.write("bad.yaml", "StartAt: A\nStates:\n  A:\n    Type: Pass\n    Ende: true\n")
    assert "bad.yaml:5:5: error: " in project.call("validate", "bad.yaml", code=1).stderr


def test_text_that_is_no_json_is_told_where_it_breaks(project: CliProject) -> None:
    project.write("bad.json", '{"StartAt": "A"\n"States": {}}')
    assert "bad.json:2:1: error: not JSON" in project.call("validate", "bad.json", code=1).stderr


def test_a_file_that_cannot_be_read_does_not_hide_the_faults_of_others(project: CliProject) -> None:
    project.write("bad.json", "{}")
    (project.folder / "latin.json").write_bytes(b"\xff\xfe{")
    result = project.call("validate", "none.json", "latin.json", "bad.json", code=2)
    assert "none.json: No such file" in result.stderr
    assert "latin.json: is not UTF-8 text" in result.stderr
    assert "bad.json:1:1: error: " in result.stderr


def test_a_file_without_an_end_is_refused_by_its_length(project: CliProject) -> None:
    assert "/dev/zero: is longer than 64 MiB" in project.call("validate", "/dev/zero", code=2).stderr


def test_a_name_that_is_empty_is_no_file(project: CliProject) -> None:
    assert "'': no file is named" in project.call("validate", "", code=2).stderr


def test_handlers_that_nobody_registered_are_faults_where_handlers_are_given(project: CliProject) -> None:
    project.write("other.py", "from statechain import TaskRegistry\ntasks = TaskRegistry()\n")
    told = project.call("validate", "bills.json", "--tasks", "other:tasks", code=1).stderr
    assert "no handler is registered for 'Bill'" in told
    project.call("validate", "bills.json", "--tasks", "handlers:tasks")


def test_faults_as_json(project: CliProject) -> None:
    result = project.call("validate", "-", "--json", given='{"StartAt": "A", "States": {}}', code=1)
    faults = [json.loads(line) for line in result.stdout.splitlines()]
    assert {fault["file"] for fault in faults} == {"-"}
    assert all(fault["line"] == 1 and fault["code"] and fault["message"] for fault in faults)


def test_several_files_leave_with_the_gravest_code(project: CliProject) -> None:
    project.write("bad.json", "{}")
    assert "ok" not in project.call("validate", "--quiet", "orders.json", "bad.json", code=1).stderr


def test_the_schema_is_json(project: CliProject) -> None:
    schema = json.loads(project.call("schema").stdout)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert {"StartAt", "States"} <= set(schema["required"])
