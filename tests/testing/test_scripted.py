"""Scripted handlers: by state, in sequence, with delays; AWS's mock configuration files; what was visited."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from statechain import Engine, Execution, ExecutionStatus, TaskContext, TaskRegistry
from statechain.testing import Return, ScriptedTasks, Throw, VirtualClock, visited_states

SHOP = {
    "StartAt": "Charge",
    "States": {
        "Charge": {
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke",
            "Parameters": {"FunctionName": "charge", "Payload.$": "$"},
            "ResultPath": "$.charged",
            "Retry": [{"ErrorEquals": ["Busy"], "IntervalSeconds": 3600, "MaxAttempts": 3}],
            "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.fault", "Next": "Refund"}],
            "Next": "Approve",
        },
        "Approve": {
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
            "Parameters": {"FunctionName": "ask", "Payload": {"token.$": "$$.Task.Token"}},
            "ResultPath": "$.approved",
            "TimeoutSeconds": 7200,
            "Next": "Ship",
        },
        "Ship": {
            "Type": "Task",
            "Resource": "arn:aws:states:::states:startExecution.sync:2",
            "Parameters": {"StateMachineArn": "shipping", "Input.$": "$"},
            "ResultPath": "$.shipped",
            "End": True,
        },
        "Refund": {"Type": "Task", "Resource": "refund", "End": True},
    },
}
LOOP = {
    "StartAt": "Ask",
    "States": {
        "Ask": {"Type": "Task", "Resource": "ask", "Next": "IsDone"},
        "IsDone": {
            "Type": "Choice",
            "Choices": [{"Variable": "$", "BooleanEquals": False, "Next": "Ask"}],
            "Default": "Done",
        },
        "Done": {"Type": "Succeed"},
    },
}
CONFIG = {
    "StateMachines": {
        "shop": {
            "TestCases": {
                "Happy": {"Charge": "Charged", "Approve": "Approved", "Ship": "Shipped"},
                "Retried": {"Charge": "ChargedLate", "Approve": "Approved", "Ship": "Shipped"},
                "Refunded": {"Charge": "Declined"},
            }
        }
    },
    "MockedResponses": {
        "Charged": {"0": {"Return": {"Payload": {"paid": True}}}},
        "ChargedLate": {
            "0": {"Throw": {"Error": "Busy", "Cause": "a queue"}},
            "1-2": {"Throw": {"Error": "Busy"}},
            "3": {"Return": {"Payload": {"paid": True}}},
        },
        "Approved": {"0": {"Return": "yes"}},
        "Shipped": {"0": {"Return": {"Status": "SUCCEEDED"}}},
        "Declined": {"0": {"Throw": {"Error": "Card.Declined", "Cause": "no funds"}}},
    },
}


async def run(tasks: TaskRegistry, definition: dict[str, Any], value: Any = None) -> tuple[Execution, list[str]]:
    """Run an execution to its end in virtual time; return it with the states that it visited."""
    async with Engine(tasks=tasks, clock=VirtualClock()) as engine:
        machine = await engine.create_state_machine("shop", definition)
        ended = await (await machine.start_execution({} if value is None else value)).wait()
        return ended, await visited_states(engine, ended)


async def test_whatever_a_state_calls_is_answered_in_its_place() -> None:
    tasks = ScriptedTasks(
        {
            "Charge": [Throw("Busy"), Throw("Busy", after=60), Return({"paid": True}, after=timedelta(hours=1))],
            "Approve": Return("yes", after=3600),
            "Ship": lambda value: {"to": value["Input"]["customer"]},
            "Refund": Return(),
        }
    )
    ended, visited = await run(tasks, SHOP, {"customer": "Ada"})
    assert ended.output == {"customer": "Ada", "charged": {"paid": True}, "approved": "yes", "shipped": {"to": "Ada"}}
    assert visited == ["Charge", "Approve", "Ship"]
    assert [(call.state, call.attempt) for call in tasks.calls] == [
        ("Charge", 1),
        ("Charge", 2),
        ("Charge", 3),
        ("Approve", 1),
        ("Ship", 1),
    ]
    assert tasks.inputs("Charge")[0] == {"FunctionName": "charge", "Payload": {"customer": "Ada"}}
    assert tasks.uncalled == ["Refund"]
    assert ended.end_time is not None
    # two retries of 1 and 2 hours, an hour and a minute of charging, an hour of asking
    assert ended.end_time - ended.start_time == timedelta(hours=5, minutes=1)


async def test_a_delay_is_cut_by_the_states_timeout() -> None:
    tasks = ScriptedTasks({"Charge": Return(), "Approve": Return("yes", after=timedelta(days=1))})
    ended, visited = await run(tasks, SHOP)
    assert (ended.status, ended.error) == (ExecutionStatus.FAILED, "States.Timeout")
    assert visited == ["Charge", "Approve"]


async def test_a_script_that_has_no_answer_left_ends_the_execution_whoever_would_catch_it() -> None:
    ended, visited = await run(ScriptedTasks({"Charge": [Throw("Busy")]}), SHOP)
    assert (ended.error, ended.cause) == (
        "States.Runtime",
        "the script of the state 'Charge' has 1 answers, and this is call 2",
    )
    assert visited == ["Charge"]


async def test_a_state_without_a_script_goes_to_the_fallback_or_ends_the_execution() -> None:
    fallback = TaskRegistry()
    fallback.add("refund", lambda value: {"refunded": value["fault"]["Error"]})
    script = {"Charge": Throw("Card.Declined")}
    ended, _ = await run(ScriptedTasks(script, fallback=fallback), SHOP)
    assert ended.output == {"refunded": "Card.Declined"}
    ended, visited = await run(ScriptedTasks(script), SHOP)
    assert ended.error == "States.Runtime"
    assert ended.cause == "the state 'Refund' has no script, and there is no fallback"
    assert visited == ["Charge", "Refund"]


async def test_a_sequence_counts_the_calls_of_a_state_within_an_execution() -> None:
    tasks = ScriptedTasks({"Ask": [Return(False), Return(False), Return(True)]})
    async with Engine(tasks=tasks) as engine:
        machine = await engine.create_state_machine("loop", LOOP)
        for _ in range(2):
            execution = await machine.execute()
            assert await visited_states(engine, execution.id) == ["Ask", "IsDone"] * 3 + ["Done"]
    assert len(tasks.calls) == 6


async def test_a_handler_in_a_script_is_one_as_any_other() -> None:
    async def ask(value: Any, context: TaskContext) -> bool:
        value["touched"] = True
        return context.state_name == "Ask"

    tasks = ScriptedTasks({"Ask": ask})
    ended, _ = await run(tasks, LOOP, {"n": 1})
    assert ended.output is True
    assert tasks.inputs("Ask") == [{"n": 1}]


def test_an_empty_script_and_a_thing_that_is_no_answer_are_refused() -> None:
    with pytest.raises(ValueError, match="the script of the state 'Ask' has no answer"):
        ScriptedTasks({"Ask": []})
    with pytest.raises(TypeError):
        ScriptedTasks({"Ask": 5})  # type: ignore[dict-item]


# AWS's mock configuration files


@pytest.mark.parametrize(
    ("case", "visited", "calls"),
    [
        ("Happy", ["Charge", "Approve", "Ship"], 3),
        ("Retried", ["Charge", "Approve", "Ship"], 6),
    ],
)
async def test_a_test_case_of_a_mock_configuration(tmp_path: Path, case: str, visited: list[str], calls: int) -> None:
    file = tmp_path / "MockConfigFile.json"
    file.write_text(json.dumps(CONFIG))
    tasks = ScriptedTasks.from_mock_config(file, "shop", case)
    ended, states = await run(tasks, SHOP)
    assert ended.output == {
        "charged": {"Payload": {"paid": True}},
        "approved": "yes",
        "shipped": {"Status": "SUCCEEDED"},
    }
    assert states == visited
    assert len(tasks.calls) == calls


async def test_a_mocked_failure_is_caught_and_the_rest_is_real() -> None:
    fallback = TaskRegistry()
    fallback.add("refund", lambda value: value["fault"])
    ended, _ = await run(ScriptedTasks.from_mock_config(CONFIG, "shop", "Refunded", fallback=fallback), SHOP)
    assert ended.output == {"Error": "Card.Declined", "Cause": "no funds"}


async def test_numbered_responses_begin_anew_after_the_last() -> None:
    config = {
        "StateMachines": {"loop": {"TestCases": {"Twice": {"Ask": "No"}}}},
        "MockedResponses": {"No": {"0-1": {"Return": False}, "2": {"Return": True}}},
    }
    twice = {**LOOP, "States": {**LOOP["States"], "Done": {"Type": "Task", "Resource": "ask", "Next": "Last"}}}  # type: ignore[dict-item]
    twice["States"] |= {"Last": {"Type": "Succeed"}}
    config["StateMachines"]["loop"]["TestCases"]["Twice"]["Done"] = "No"
    ended, visited = await run(ScriptedTasks.from_mock_config(config, "loop", "Twice"), twice)
    assert ended.output is False
    assert visited == ["Ask", "IsDone"] * 3 + ["Done", "Last"]


@pytest.mark.parametrize(
    ("responses", "message"),
    [
        ({}, "MockedResponses/Charged has no responses"),
        ({"1": {"Return": 1}}, "MockedResponses/Charged/1 must begin at 0"),
        ({"0-1": {"Return": 1}, "1": {"Return": 1}}, "MockedResponses/Charged/1 must begin at 2"),
        ({"0": {"Return": 1}, "2": {"Return": 1}}, "MockedResponses/Charged/2 must begin at 1"),
        ({"2-1": {"Return": 1}}, "Charged/2-1 is not a number, or a range"),
        ({"0-99999999": {"Return": 1}}, "is not a number, or a range"),
        ({"first": {"Return": 1}}, "Charged/first is not a number"),
        ({"0": {"Return": 1, "Throw": {"Error": "E"}}}, "either a Return, or a Throw with an Error"),
        ({"0": {"Throw": {"Cause": "C"}}}, "either a Return, or a Throw with an Error"),
        ({"0": 5}, "either a Return, or a Throw with an Error"),
    ],
)
def test_faulty_responses_are_refused_by_their_place(responses: dict[str, Any], message: str) -> None:
    config = {**CONFIG, "MockedResponses": {**CONFIG["MockedResponses"], "Charged": responses}}  # type: ignore[dict-item]
    with pytest.raises(ValueError, match=message):
        ScriptedTasks.from_mock_config(config, "shop", "Happy")


@pytest.mark.parametrize(
    ("config", "machine", "case", "message"),
    [
        (CONFIG, "office", "Happy", "StateMachines has no 'office'; it has: shop"),
        (CONFIG, "shop", "Sad", "TestCases has no 'Sad'; it has: Happy, Refunded, Retried"),
        ({}, "shop", "Happy", "the mock configuration has no object 'StateMachines'"),
        ({**CONFIG, "MockedResponses": {}}, "shop", "Happy", "MockedResponses has no 'Charged'; it has: nothing"),
    ],
)
def test_what_is_missing_is_named(config: dict[str, Any], machine: str, case: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScriptedTasks.from_mock_config(config, machine, case)


def test_a_file_that_is_no_json_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mock.json"
    file.write_text("{")
    with pytest.raises(ValueError, match=r"mock\.json is no JSON"):
        ScriptedTasks.from_mock_config(file, "shop", "Happy")
