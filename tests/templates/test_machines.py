"""State machines in templates of SAM, CloudFormation and the Serverless Framework."""

from __future__ import annotations

import json
from typing import Any

import pytest

from statechain.errors import DefinitionError
from statechain.templates import TemplateMachine, find_machines

MACHINE = """{
  "StartAt": "Charge",
  "States": {
    "Charge": {"Type": "Task", "Resource": "${ChargeArn}", "TimeoutSeconds": ${Seconds}, "End": true}
  }
}
"""
FILES = {
    "machines/order.asl.json": MACHINE,
    "machines/plain.yml": "StartAt: A\nStates:\n  A: {Type: Pass, End: true}\n",
    "config.yml": "stages: {dev: {table: orders-dev}}\n",
}


def machines(text: str, **given: str | int) -> dict[str, TemplateMachine]:
    def read(path: str) -> str:
        if path not in FILES:
            raise FileNotFoundError(2, "No such file or directory", path)
        return FILES[path]

    found = find_machines(text, read, given or None)
    assert found is not None
    return {machine.name: machine for machine in found}


def states(machine: TemplateMachine) -> dict[str, Any]:
    """Return the states of a machine that has no errors."""
    assert machine.definition is not None, machine.diagnostics
    found: dict[str, Any] = json.loads(machine.definition.text)["States"]
    return found


def errors(machine: TemplateMachine) -> list[tuple[str, int | None]]:
    assert machine.definition is None
    return [(each.code, each.line) for each in machine.diagnostics]


SAM = """
AWSTemplateFormatVersion: "2010-09-09"
Transform: AWS::Serverless-2016-10-31
Parameters:
  Patience: {Type: Number, Default: 30}
Resources:
  Orders:
    Type: AWS::Serverless::StateMachine
    Properties:
      Type: EXPRESS
      DefinitionUri: machines/order.asl.json
      DefinitionSubstitutions:
        ChargeArn: !GetAtt Charge.Arn
        Seconds: !Ref Patience
  Charge:
    Type: AWS::Serverless::Function
    Properties: {Handler: app.charge, Events: {Api: {Type: Api, Properties: {Responses: {200: ok}}}}}
"""


def test_a_definition_of_sam_is_in_a_file_with_substitutions() -> None:
    machine = machines(SAM)["Orders"]
    assert (machine.file, machine.type) == ("machines/order.asl.json", "EXPRESS")
    charge = states(machine)["Charge"]
    assert charge["Resource"] == "arn:aws:lambda:us-east-1:123456789012:function:Charge"
    assert charge["TimeoutSeconds"] == 30


def test_given_values_come_before_those_of_the_template() -> None:
    assert states(machines(SAM, Patience=60)["Orders"])["Charge"]["TimeoutSeconds"] == 60
    assert states(machines(SAM, ChargeArn="charge")["Orders"])["Charge"]["Resource"] == "charge"
    assert ":eu-west-1:" in states(machines(SAM, **{"AWS::Region": "eu-west-1"})["Orders"])["Charge"]["Resource"]


def test_every_missing_substitution_is_an_error_in_the_file_of_the_definition() -> None:
    machine = machines(SAM.partition("      DefinitionSubstitutions")[0] + "      DefinitionSubstitutions: {}\n")[
        "Orders"
    ]
    assert machine.file == "machines/order.asl.json"
    assert errors(machine) == [("missing-substitution", 4), ("missing-substitution", 4)]


def test_a_parameter_without_a_value_is_an_error_at_its_place() -> None:
    machine = machines(SAM.replace(", Default: 30", ""))["Orders"]
    assert (machine.file, errors(machine)) == ("", [("missing-substitution", 14)])
    assert "Patience has no default" in machine.diagnostics[0].message


def test_a_file_that_is_not_there_is_an_error_at_its_place() -> None:
    machine = machines(SAM.replace("machines/order.asl.json", "none.json"))["Orders"]
    assert errors(machine) == [("template", 11)]
    assert "none.json cannot be read: No such file" in machine.diagnostics[0].message
    assert errors(machines(SAM.replace("machines/order.asl.json", "s3://bucket/key"))["Orders"]) == [("template", 11)]


INLINE = """
Resources:
  Orders:
    Type: AWS::StepFunctions::StateMachine
    Properties:
      StateMachineName: order-machine
      Definition:
        StartAt: Put
        States:
          Put:
            Type: Task
            Resource: !Sub arn:${AWS::Partition}:states:::dynamodb:putItem
            Parameters:
              TableName: !Ref Table
              Topic: {Ref: Topic}
              Queue: !Join [":", [a, !Ref "AWS::Region", !Select [1, !Split ["-", x-y]]]]
              Kind: !If [IsProduction, big, small]
              Gone: !If [IsProduction, 1, !Ref AWS::NoValue]
              Size: !FindInMap [Sizes, small, MiB]
              Text: "${!Literal} ${Stage}"
            End: true
      DefinitionSubstitutions: {Stage: dev}
  Table: {Type: AWS::DynamoDB::Table, Properties: {TableName: orders}}
  Topic: {Type: AWS::SNS::Topic}
Mappings: {Sizes: {small: {MiB: 128}}}
Conditions:
  IsProduction: !And [!Not [!Equals [!Ref "AWS::Region", us-east-1]], !Condition Always]
  Always: !Or [!Equals [a, a], !Equals [a, b]]
"""


def test_functions_in_a_definition_are_evaluated() -> None:
    put = states(machines(INLINE)["order-machine"])["Put"]
    assert put["Resource"] == "arn:aws:states:::dynamodb:putItem"
    assert put["Parameters"] == {
        "TableName": "orders",
        "Topic": "arn:aws:sns:us-east-1:123456789012:Topic",
        "Queue": "a:us-east-1:y",
        "Kind": "small",
        "Size": 128,
        "Text": "${!Literal} dev",
    }


def test_an_error_in_an_inline_definition_is_at_its_place_in_the_template() -> None:
    machine = machines(INLINE.replace("End: true", "Ende: true"))["order-machine"]
    assert errors(machine) == [("missing-field", 11), ("unknown-field", 21)]
    assert machine.file == ""
    line = INLINE.replace("End: true", "Ende: true").splitlines()[20]
    assert line[(machine.diagnostics[1].column or 0) - 1 :] == "Ende: true"


BLOCK = """
Resources:
  Orders:
    Type: AWS::StepFunctions::StateMachine
    Properties:
      DefinitionString: !Sub |
        {
          "StartAt": "A",
          "States": {
            "A": {"Type": "Task", "Resource": "${Function.Arn}", "Nxt": 1, "End": true}
          }
        }
  Function: {Type: AWS::Lambda::Function, Properties: {FunctionName: charge-card}}
"""


def test_a_definition_string_is_read_at_its_place() -> None:
    machine = machines(BLOCK)["Orders"]
    assert errors(machine) == [("unknown-field", 10)]
    assert "did you mean 'Next'?" in machine.diagnostics[0].message
    task = states(machines(BLOCK.replace('"Nxt": 1, ', ""))["Orders"])["A"]
    assert task["Resource"] == "arn:aws:lambda:us-east-1:123456789012:function:charge-card"


def test_a_definition_string_may_be_joined() -> None:
    parts = ['{"StartAt": "A", "States": {"A": {"Type": "Task", "Resource": "', {"Fn::GetAtt": ["F", "Arn"]}]
    joined = {"Fn::Join": ["", [*parts, '", "End": true}}}']]}
    template = {
        "Resources": {
            "M": {"Type": "AWS::StepFunctions::StateMachine", "Properties": {"DefinitionString": joined}},
            "F": {"Type": "AWS::Lambda::Function", "Properties": {}},
        }
    }
    assert states(machines(json.dumps(template))["M"])["A"]["Resource"].endswith(":function:F")
    joined["Fn::Join"][1][2] = '"}}}'  # type: ignore[index]
    assert errors(machines(json.dumps(template, indent=1))["M"]) == [("missing-field", 6)]


def test_a_location_in_s3_is_a_local_file_by_its_key() -> None:
    location = {"Bucket": "b", "Key": "machines/plain.yml"}
    kind = "AWS::StepFunctions::StateMachine"
    template = {"Resources": {"M": {"Type": kind, "Properties": {"DefinitionS3Location": location}}}}
    assert states(machines(json.dumps(template))["M"]) == {"A": {"Type": "Pass", "End": True}}


SERVERLESS = """
service: shop
provider: {name: aws, stage: "${opt:stage, 'dev'}"}
custom:
  patience: &patience 20
  table: ${file(config.yml):stages.${self:provider.stage}.table}
functions:
  charge: {handler: app.charge}
stepFunctions:
  stateMachines:
    orders:
      name: orders-${self:provider.stage}
      type: EXPRESS
      definition:
        StartAt: Charge
        States:
          Charge:
            Type: Task
            Resource: {Fn::GetAtt: [charge, Arn]}
            TimeoutSeconds: *patience
            Parameters: {Table: "${self:custom.table}", Region: !Ref AWS::Region}
            End: true
    plain:
      definition: ${file(machines/plain.yml)}
    broken:
      definition: {StartAt: A, States: {A: {Type: Pass, Comment: "${self:custom.none}", End: true}}}
"""


def test_the_machines_of_a_serverless_yml() -> None:
    found = machines(SERVERLESS)
    assert list(found) == ["orders", "plain", "broken"]
    assert found["orders"].type == "EXPRESS"
    charge = states(found["orders"])["Charge"]
    assert charge["Resource"].endswith(":function:charge")
    assert charge["TimeoutSeconds"] == 20
    assert charge["Parameters"] == {"Table": "orders-dev", "Region": "us-east-1"}
    assert found["plain"].file == "machines/plain.yml"
    assert "A" in states(found["plain"])
    assert errors(found["broken"]) == [("missing-substitution", 26)]
    given = machines(SERVERLESS, **{"self:custom.none": "x"})["broken"]
    assert states(given)["A"]["Comment"] == "x"


@pytest.mark.parametrize(
    "text",
    [
        "StartAt: A\nStates:\n  Resources: {Type: Pass, End: true}\n",
        '{"StartAt": "A", "States": {"A": {"Type": "Task",\n "Resource": "a", "End": true}}}',
        "Resources: {Type: Pass}\n",
    ],
)
def test_a_definition_is_no_template(text: str) -> None:
    assert find_machines(text, FILES.__getitem__) is None


def test_a_template_without_a_machine_has_none() -> None:
    assert find_machines("Resources: {T: {Type: AWS::SNS::Topic}}\n", FILES.__getitem__) == []


@pytest.mark.parametrize(
    ("definition", "code"),
    [
        ("!Ref None", "missing-substitution"),
        ("!GetAtt None.Arn", "missing-substitution"),
        ("!ImportValue shared", "missing-substitution"),
        ("!Cidr [a, b]", "template"),
        ("!Select [3, [a]]", "template"),
        ("!FindInMap [A, b, c]", "template"),
        ("!If [None, a, b]", "template"),
        ("!If [Self, a, b]", "template"),
        ("!Join [a]", "template"),
        ("!Split [a]", "template"),
        ("!Sub [a]", "template"),
    ],
)
def test_what_cannot_be_evaluated_is_an_error_at_its_place(definition: str, code: str) -> None:
    text = f"""
Resources:
  M:
    Type: AWS::StepFunctions::StateMachine
    Properties:
      DefinitionString: {definition}
Conditions: {{Self: !Condition Self}}
"""
    (found,) = machines(text)["M"].diagnostics
    assert (found.code, found.line in (6, 7)) == (code, True)


def test_a_template_that_cannot_be_read_is_an_error() -> None:
    with pytest.raises(DefinitionError):
        find_machines("Resources: {\n", FILES.__getitem__)


def test_aliases_that_come_to_too_much_are_refused() -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 8)]
    with pytest.raises(DefinitionError, match="too-large"):
        find_machines("\n".join([*levels, "Resources: {T: {Type: X}}", ""]), FILES.__getitem__)


def test_merge_keys_give_what_is_not_there() -> None:
    text = """
x: &defaults {Type: AWS::StepFunctions::StateMachine, Properties: {DefinitionUri: machines/plain.yml}}
Resources:
  A: {<<: *defaults}
  B:
    <<: [*defaults]
    Properties: {DefinitionUri: none.yml}
"""
    found = machines(text)
    assert found["A"].definition is not None
    assert "none.yml" in found["B"].diagnostics[0].message


def test_variables_that_lead_to_themselves_are_refused() -> None:
    text = SERVERLESS.replace("patience: &patience 20", "none: ${self:custom.none}\n  patience: &patience 20")
    assert errors(machines(text)["broken"])[0][0] == "too-deep"
