"""`import-aws`: what each Resource needs, and a skeleton that runs as it is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.cli_project import CliProject, rows

pytestmark = pytest.mark.slow  # type-checks what it generates

REPOSITORY = Path(__file__).resolve().parents[3]
ACCOUNT = "eu-central-1:123456789012"


def task(resource: str, following: str | None, **more: Any) -> dict[str, Any]:
    """Return a Task state."""
    return {"Type": "Task", "Resource": resource, **({"Next": following} if following else {"End": True}), **more}


DEFINITION = {
    "StartAt": "Charge",
    "States": {
        "Charge": task(
            "arn:aws:states:::lambda:invoke",
            "Old",
            Parameters={"FunctionName": f"arn:aws:lambda:{ACCOUNT}:function:charge-card:3", "Payload.$": "$"},
            OutputPath="$.Payload",
        ),
        "Old": task(f"arn:aws:lambda:{ACCOUNT}:function:class", "Put"),
        "Put": task("arn:aws:states:::dynamodb:putItem", "Placed", Parameters={"TableName": 'a"b'}, ResultPath=None),
        "Placed": task("${PlacedFunction}", "Again"),
        "Again": task("${PlacedFunction}", None),
    },
}
ASKS = {
    "StartAt": "Ask",
    "States": {
        "Ask": task(
            "arn:aws:states:::sqs:sendMessage.waitForTaskToken", "Human", Parameters={"Token.$": "$$.Task.Token"}
        ),
        "Human": task(f"arn:aws:states:{ACCOUNT}:activity:approve", "Child"),
        "Child": task(
            "arn:aws:states:::states:startExecution.sync:2",
            "Any",
            Parameters={"StateMachineArn": f"arn:aws:states:{ACCOUNT}:stateMachine:child"},
        ),
        "Any": task("arn:aws:states:::lambda:invoke", None, Parameters={"FunctionName.$": "$.f"}),
    },
}


def handlers_of(project: CliProject, *arguments: str) -> dict[str, str]:
    """Return the handler that is needed for each state."""
    found = rows(project.call("import-aws", *arguments).stdout)
    return {row["STATE"]: row["HANDLER"] for row in found}


def test_each_resource_is_told_with_its_handler(project: CliProject) -> None:
    assert handlers_of(project, project.write("aws.json", DEFINITION)) == {
        "Charge": "charge-card",
        "Old": "class",
        "Put": "arn:aws:states:::dynamodb:putItem",
        "Placed, Again": "${PlacedFunction}",
    }
    assert handlers_of(project, project.write("asks.json", ASKS)) == {
        "Ask": "arn:aws:states:::sqs:sendMessage",
        "Human": "approve",
        "Child": "-",
        "Any": "-",
    }


def test_the_skeleton_runs_as_it_is(project: CliProject) -> None:
    project.call("import-aws", project.write("aws.json", DEFINITION), "-o", "skeleton.py")
    result = project.call("run", "aws.json", "--tasks", "skeleton:tasks", "--input", '{"order": 1}')
    assert json.loads(result.stdout) == {"order": 1}
    assert "skeleton.py is there already" in project.call("import-aws", "aws.json", "-o", "skeleton.py", code=2).stderr


def test_the_skeleton_serves_every_resource_and_passes_a_strict_type_checker(project: CliProject) -> None:
    files = (project.write("aws.json", DEFINITION), project.write("asks.json", ASKS))
    project.call("import-aws", *files, "-o", "skeleton.py")
    project.call("validate", *files, "--tasks", "skeleton")
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "--strict", project.folder / "skeleton.py"]
    checked = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)  # with its cache
    assert checked.returncode == 0, checked.stdout


def test_awss_own_description_of_a_state_machine_is_read(project: CliProject) -> None:
    described = {"stateMachineArn": "arn", "definition": json.dumps(DEFINITION), "type": "STANDARD"}
    assert "Charge" in handlers_of(project, project.write("described.json", described))


def test_a_definition_with_faults_is_told_and_the_others_go_on(project: CliProject) -> None:
    project.write("bad.json", {"StartAt": "A", "States": {}})
    result = project.call("import-aws", "bad.json", project.write("aws.json", DEFINITION), code=1)
    assert "bad.json:" in result.stderr
    assert "charge-card" in result.stdout
