"""Paths and expressions in fields: whether they compile, and whether they are allowed where they are."""

from __future__ import annotations

from typing import Any

import pytest

from statechain.asl import load
from statechain.errors import DefinitionError

PROCESSOR = {"StartAt": "P", "States": {"P": {"Type": "Pass", "End": True}}}
DISTRIBUTED = {**PROCESSOR, "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}}
S3 = "arn:aws:states:::s3:"


def of(state: dict[str, Any], language: str = "JSONPath") -> dict[str, Any]:
    ends = {} if state["Type"] in {"Fail", "Succeed"} else {"End": True}
    return {"QueryLanguage": language, "StartAt": "A", "States": {"A": {**state, **ends}}}


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"Type": "Pass", "InputPath": "$.a[*]", "OutputPath": "$$.State"}, {}),
        ({"Type": "Pass", "InputPath": "a"}, {"InputPath": "bad-path"}),
        ({"Type": "Pass", "OutputPath": "$.a["}, {"OutputPath": "bad-path"}),
        ({"Type": "Pass", "InputPath": "States.Format('a')"}, {"InputPath": "bad-path"}),
        ({"Type": "Pass", "ResultPath": "$.a[*]"}, {"ResultPath": "bad-path"}),
        ({"Type": "Pass", "ResultPath": "$$.a"}, {"ResultPath": "bad-path"}),
        ({"Type": "Pass", "Parameters": {"a.$": "States.Arry()"}}, {"Parameters/a.$": "bad-function"}),
        ({"Type": "Pass", "Parameters": [{"a": {"b.$": "x"}}]}, {"Parameters/0/a/b.$": "bad-path"}),
        ({"Type": "Pass", "Parameters": {"a.$": 1}}, {"Parameters/a.$": "wrong-type"}),
        ({"Type": "Pass", "Parameters": {"a.$": "$.b", "a": 1}}, {"Parameters/a.$": "exclusive-fields"}),
        ({"Type": "Pass", "Result": {"a.$": "anything goes"}}, {}),
        ({"Type": "Pass", "Assign": {"a.$": "$["}}, {"Assign/a.$": "bad-path"}),
        ({"Type": "Wait", "SecondsPath": "$.a[*]"}, {"SecondsPath": "bad-path"}),
        ({"Type": "Wait", "TimestampPath": "$at"}, {}),
        ({"Type": "Fail", "ErrorPath": "States.Format('E{}', $.n)", "CausePath": "$.c"}, {}),
        ({"Type": "Fail", "ErrorPath": "States.Format("}, {"ErrorPath": "bad-function"}),
        ({"Type": "Task", "Resource": "r", "TimeoutSecondsPath": "$..a"}, {"TimeoutSecondsPath": "bad-path"}),
        ({"Type": "Task", "Resource": "r", "ResultSelector": {"a.$": "$["}}, {"ResultSelector/a.$": "bad-path"}),
        ({"Type": "Task", "Resource": "r", "Credentials": {"RoleArn.$": "$["}}, {"Credentials/RoleArn.$": "bad-path"}),
        (
            {
                "Type": "Map",
                "ItemProcessor": DISTRIBUTED,
                "ItemsPath": "x",
                "ItemSelector": {"v.$": "$["},
                "MaxConcurrencyPath": "$.l[*]",
                "ItemReader": {
                    "Resource": f"{S3}getObject",
                    "ReaderConfig": {"MaxItemsPath": "$.m[*]"},
                    "Parameters": {"Key.$": "$["},
                },
                "ItemBatcher": {"MaxItemsPerBatchPath": "$.m[*]", "BatchInput": {"a.$": "$["}},
                "ResultWriter": {"Resource": f"{S3}putObject", "Parameters": {"Bucket.$": "$["}},
            },
            dict.fromkeys(
                [
                    "ItemsPath",
                    "ItemSelector/v.$",
                    "MaxConcurrencyPath",
                    "ItemReader/Parameters/Key.$",
                    "ItemReader/ReaderConfig/MaxItemsPath",
                    "ItemBatcher/MaxItemsPerBatchPath",
                    "ItemBatcher/BatchInput/a.$",
                    "ResultWriter/Parameters/Bucket.$",
                ],
                "bad-path",
            ),
        ),
    ],
)
def test_a_jsonpath_field_that_does_not_compile_is_reported_at_its_pointer(
    faults: Any, state: dict[str, Any], expected: dict[str, str]
) -> None:
    assert faults(of(state)) == {f"/States/A/{field}": code for field, code in expected.items()}


RESULT, ERROR = "{% $states.result %}", "{% $x & $states.errorOutput.Cause %}"
CATCH = {"ErrorEquals": ["States.ALL"], "Next": "A"}


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"Type": "Pass", "Output": {"a": ["{% 1 + %}"]}}, {"Output/a/0": "bad-expression"}),
        ({"Type": "Pass", "Output": "{% phone %}", "Comment": "{% nonsense( %}"}, {"Output": "bad-expression"}),
        ({"Type": "Pass", "Output": "{% $eval('1') %}"}, {}),
        ({"Type": "Pass", "Output": RESULT}, {"Output": "states-field"}),
        ({"Type": "Pass", "Assign": {"a": ERROR}}, {"Assign/a": "states-field"}),
        ({"Type": "Wait", "Seconds": RESULT}, {"Seconds": "states-field"}),
        ({"Type": "Fail", "Error": ERROR, "Cause": "{% 1 + %}"}, {"Error": "states-field", "Cause": "bad-expression"}),
        ({"Type": "Task", "Resource": "r", "Output": RESULT, "Assign": {"a": RESULT}}, {}),
        ({"Type": "Task", "Resource": "r", "Arguments": RESULT}, {"Arguments": "states-field"}),
        ({"Type": "Task", "Resource": "r", "Output": ERROR}, {"Output": "states-field"}),
        ({"Type": "Task", "Resource": "{% not an expression here %}"}, {}),
        ({"Type": "Task", "Resource": "r", "Catch": [{**CATCH, "Output": ERROR, "Assign": {"a": ERROR}}]}, {}),
        ({"Type": "Task", "Resource": "r", "Catch": [{**CATCH, "Output": RESULT}]}, {"Catch/0/Output": "states-field"}),
        ({"Type": "Parallel", "Branches": [PROCESSOR], "Output": RESULT}, {}),
        (
            {"Type": "Map", "ItemProcessor": PROCESSOR, "Output": RESULT, "Items": RESULT, "ItemSelector": "{% a %}"},
            {"Items": "states-field", "ItemSelector": "bad-expression"},
        ),
        (
            {
                "Type": "Map",
                "ItemProcessor": DISTRIBUTED,
                "ItemReader": {"Resource": f"{S3}getObject", "Arguments": {"Key": "{% a %}"}},
                "ItemBatcher": {"MaxItemsPerBatch": 1, "BatchInput": "{% a %}"},
                "ResultWriter": {"Resource": f"{S3}putObject", "Arguments": "{% a %}"},
            },
            {
                "ItemReader/Arguments/Key": "bad-expression",
                "ItemBatcher/BatchInput": "bad-expression",
                "ResultWriter/Arguments": "bad-expression",
            },
        ),
    ],
)
def test_a_jsonata_field_that_does_not_compile_is_reported_at_its_pointer(
    faults: Any, state: dict[str, Any], expected: dict[str, str]
) -> None:
    assert faults(of(state, "JSONata")) == {f"/States/A/{field}": code for field, code in expected.items()}


def test_the_message_says_at_which_character() -> None:
    for state, place in (
        ({"Type": "Pass", "InputPath": "$.items[?(@.n > )]"}, "at character 17 of it"),
        ({"Type": "Pass", "Parameters": {"a.$": "States.Array(1,)"}}, "at character 16 of it"),
    ):
        with pytest.raises(DefinitionError, match=place):
            load(of(state))
    with pytest.raises(DefinitionError, match="at character 5 of it"):
        load(of({"Type": "Pass", "Output": "{% 1 + foo %}"}, "JSONata"))
