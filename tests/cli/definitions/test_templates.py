"""`validate`, `run`, `graph` and `import-aws` with substitutions and with templates."""

from __future__ import annotations

import json

from support.cli_project import CliProject, rows

DEFINITION = """{
  "StartAt": "Price",
  "States": {"Price": {"Type": "Task", "Resource": "${PriceArn}", "TimeoutSeconds": ${Seconds}, "End": true}}
}
"""
TEMPLATE = """
Resources:
  Orders:
    Type: AWS::Serverless::StateMachine
    Properties:
      DefinitionUri: price.asl.json
      DefinitionSubstitutions: {PriceArn: !GetAtt Price.Arn, Seconds: 30}
  Others:
    Type: AWS::StepFunctions::StateMachine
    Properties:
      StateMachineType: EXPRESS
      Definition: {StartAt: A, States: {A: {Type: Pass, End: true}}}
  Price: {Type: AWS::Serverless::Function}
"""


def test_each_missing_substitution_is_reported(project: CliProject) -> None:
    project.write("price.asl.json", DEFINITION)
    told = project.call("validate", "price.asl.json", "--substitute", "Other=1", code=1).stderr
    assert "no value was given for ${PriceArn}" in told
    assert "no value was given for ${Seconds}" in told
    assert "price.asl.json: 2 faults" in told


def test_substitutions_from_the_command_line_and_from_a_file(project: CliProject) -> None:
    project.write("price.asl.json", DEFINITION)
    project.write("values.yaml", "PriceArn: Other\nSeconds: 30\n")
    given = ("--substitutions", "values.yaml", "--substitute", "PriceArn=Price")
    project.call("validate", "price.asl.json", *given, "--tasks", "handlers")
    result = project.call("run", "price.asl.json", *given, "--tasks", "handlers", "--input", '{"quantity": 2}')
    assert json.loads(result.stdout)["total"] == 4
    (row,) = rows(project.call("import-aws", "price.asl.json", *given).stdout)
    assert row["HANDLER"] == "Price"


def test_substitutions_that_cannot_be_read_are_usage_errors(project: CliProject) -> None:
    project.write("list.json", "[1]")
    for arguments in (["--substitute", "x"], ["--substitutions", "none.json"], ["--substitutions", "list.json"]):
        project.call("validate", "orders.json", *arguments, code=2)


def test_every_machine_of_a_template_is_checked(project: CliProject) -> None:
    project.write("price.asl.json", DEFINITION)
    project.write("template.yaml", TEMPLATE)
    told = project.call("validate", "template.yaml").stderr.splitlines()
    assert told == ["ok  template.yaml: Orders", "ok  template.yaml: Others"]
    project.write("template.yaml", TEMPLATE.replace("Type: Pass", "Type: Pas").replace("Seconds: 30", "Seconds: x"))
    told = project.call("validate", "template.yaml", code=1).stderr
    assert "template.yaml:12:" in told
    assert "did you mean 'Pass'?" in told
    assert "price.asl.json:3:" in told


def test_a_machine_of_a_template_runs_and_is_drawn(project: CliProject) -> None:
    project.write("price.asl.json", DEFINITION)
    project.write("template.yaml", TEMPLATE)
    assert "--machine" in project.call("run", "template.yaml", code=2).stderr
    given = ("--machine", "Orders", "--tasks", "handlers", "--input", '{"quantity": 2}')
    assert json.loads(project.call("run", "template.yaml", *given).stdout)["total"] == 4
    assert "Price" in project.call("graph", "template.yaml", "--machine", "Orders").stdout
    refused = project.call("run", "template.yaml", "--machine", "Orders", code=2).stderr
    assert "price.asl.json:3:" in refused
    found = rows(project.call("import-aws", "template.yaml").stdout)
    assert [row["HANDLER"] for row in found] == ["Price"]


BAD = '{"StartAt": "A",\n "States": {"A": {"Type": "Choice", "Choices": [{"Nxt": "B: c,d%"}]}}}'


def test_json_has_the_codes_of_aws(project: CliProject) -> None:
    project.write("bad.json", BAD)
    found = [
        json.loads(line)
        for line in project.call("validate", "bad.json", "--format", "json", code=1).stdout.splitlines()
    ]
    assert found
    assert {each["aws_code"] for each in found} == {"SCHEMA_VALIDATION_FAILED", "MISSING_END_STATE"}
    assert {each["severity"] for each in found} == {"ERROR"}
    assert "/States/A/Choices[0]" in {each["aws_location"] for each in found}
    project.write("bad.json", {"StartAt": "A", "States": {"A": {"Type": "Pass", "Next": "A"}}})
    (loop,) = [json.loads(line) for line in project.call("validate", "bad.json", "--json", code=1).stdout.splitlines()]
    assert (loop["aws_code"], loop["aws_location"]) == ("MISSING_END_STATE", None)


def test_annotations_for_github(project: CliProject) -> None:
    project.write("bad.json", {"StartAt": "A", "States": {"B": {"Type": "Succeed"}}})
    lines = project.call("validate", "bad.json", "--format", "github", code=1).stdout.splitlines()
    assert lines[0].startswith("::error file=bad.json,line=2,col=14,title=missing-target::StartAt names 'A'")
    project.write("bad.json", '{"StartAt": "A%\\n:", "States": {"B": {"Type": "Succeed"}}}')
    assert "A%25" in project.call("validate", "bad.json", "--format", "github", code=1).stdout


def test_sarif(project: CliProject) -> None:
    project.write("bad.json", BAD)
    log = json.loads(project.call("validate", "bad.json", "orders.json", "--format", "sarif", code=1).stdout)
    (run,) = log["runs"]
    assert log["version"] == "2.1.0"
    codes = {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    assert {result["ruleId"] for result in run["results"]} == codes
    place = run["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"] == {"uri": "bad.json"}
    assert place["region"]["startLine"] == 2
    assert json.loads(project.call("validate", "orders.json", "--format", "sarif").stdout)["runs"][0]["results"] == []
