"""Paths in every field that takes one: the forms that AWS takes are taken there, and find what they find there."""

from __future__ import annotations

from typing import Any

import pytest

from support.engine_harness import EngineHarness, machine, output, task

VALUE: dict[str, Any] = {
    "rows": [{"kind": "Receipt", "n": 2}, {"kind": "Other", "n": 3}],
    "to": {"zip code": "1"},
    "list": [[4, 5]],
    "at": ["2024-01-01T00:00:00Z"],
    "errors": ["Broken"],
}
ENDS = {"Y": {"Type": "Pass", "Result": "Y"}, "N": {"Type": "Pass", "Result": "N"}}


def see(path: str) -> dict[str, Any]:
    return {"Type": "Pass", "Parameters": {"v.$": path}}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("$.rows.[0].n", 2),
        ("$.rows.[(@.length-1)].n", 3),
        ("$.to.['zip code']", "1"),
        ("$.rows.[?(@.kind==Receipt)].n", [2]),
        ("$$.Execution.Input.rows.[1].n", 3),
        ("$v.rows.[0].n", 2),
        ("States.ArrayGetItem($.rows.[?(@.kind == Receipt)].n, 0)", 2),
        ("States.MathAdd($.rows.[(@.length-1)].n, $v.rows.[0].n)", 5),
        ("States.Format('{}, {}', $.to.['zip code'], States.ArrayLength($.rows.[*]))", "1, 2"),
    ],
)
async def test_in_a_template(quick: EngineHarness, path: str, found: Any) -> None:
    first = {"Type": "Pass", "Assign": {"v.$": "$"}, "Next": "See"}
    assert output(await quick.run(machine(First=first, See=see(path)), VALUE)) == {"v": found}


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"InputPath": "$.rows.[(@.length-1)].n"}, 3),
        ({"OutputPath": "$.to.['zip code']"}, "1"),
        ({"Parameters": {"n": 1}, "ResultPath": "$.rows.[0].['the result']", "OutputPath": "$.rows.[0]"},
         {"kind": "Receipt", "n": 2, "the result": {"n": 1}}),
    ],
)  # fmt: skip
async def test_in_and_out_of_a_state(quick: EngineHarness, fields: dict[str, Any], found: Any) -> None:
    assert output(await quick.run(machine(Do={"Type": "Pass", **fields}), VALUE)) == found


@pytest.mark.parametrize(
    ("rule", "leads"),
    [
        ({"Variable": "$.rows.[0].n", "NumericEquals": 2}, "Y"),
        ({"Variable": "$.rows.[0].n", "NumericLessThanPath": "$.rows.[(@.length-1)].n"}, "Y"),
        ({"Variable": "$.rows.[9]", "IsPresent": True}, "N"),
        ({"Not": {"Variable": "$.to.['zip code']", "StringEqualsPath": "$.to.['zip code']"}}, "N"),
    ],
)
async def test_in_a_choice(quick: EngineHarness, rule: dict[str, Any], leads: str) -> None:
    choice = {"Type": "Choice", "Choices": [{**rule, "Next": "Y"}], "Default": "N"}
    assert output(await quick.run(machine(Ask=choice, **ENDS), VALUE)) == leads


async def test_in_a_map(quick: EngineHarness) -> None:
    each = {
        "Type": "Map",
        "ItemsPath": "$.list.[(@.length-1)]",
        "MaxConcurrencyPath": "$.rows.[0].n",
        "ItemSelector": {"n.$": "$$.Map.Item.Value", "zip.$": "$.to.['zip code']"},
        "ItemProcessor": machine(See={"Type": "Pass"}),
        "ResultSelector": {"last.$": "$.[(@.length-1)]"},
    }
    assert output(await quick.run(machine(Each=each), VALUE)) == {"last": {"n": 5, "zip": "1"}}


async def test_in_a_wait_a_task_and_a_failure(quick: EngineHarness) -> None:
    async def echo(value: Any) -> Any:
        return value

    quick.tasks.add("Echo", echo)
    states = {
        "Wait": {"Type": "Wait", "SecondsPath": "$.rows.[0].n", "Next": "Until"},
        "Until": {"Type": "Wait", "TimestampPath": "$.at.[0]", "Next": "Work"},
        "Work": task("Echo", TimeoutSecondsPath="$.rows.[1].n", HeartbeatSecondsPath="$.rows.[0].n", Next="Fail"),
        "Fail": {"Type": "Fail", "ErrorPath": "$.errors.[0]", "CausePath": "States.Format('{}', $.to.['zip code'])"},
    }
    ended = await quick.run(machine(**states), VALUE)
    assert (ended.error, ended.cause) == ("Broken", "1")
