"""Compiled states: what entering each type answers, and what leaving makes of a result."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from statechain.asl import load
from statechain.asl.outcome import CallTask, Done, Fail, FanOut, Next, WaitUntil
from statechain.errors import StateError
from support.calls import counted_calls
from support.visit import Visit

VALUE: Any = {"a": {"b": 1}, "n": 2, "at": "2024-01-02T04:04:05Z", "s": "text", "half": 1.5, "neg": -1} | {
    "far": 10**9,
    "later": "2999-01-01T00:00:00Z",
}
NOW = Visit().now()
BRANCH = {"StartAt": "P", "States": {"P": {"Type": "Pass", "End": True}}}


def cause_of(question: Any) -> tuple[str | None, str | None]:
    with pytest.raises(StateError) as caught:
        question()
    return caught.value.error, caught.value.cause


class TestPass:
    @pytest.mark.parametrize(
        ("fields", "output"),
        [
            ({}, VALUE),
            ({"Result": {"r.$": "as it is"}}, {"r.$": "as it is"}),
            ({"Result": None}, None),
            ({"InputPath": "$.a"}, {"b": 1}),
            ({"InputPath": None}, {}),
            ({"OutputPath": "$.n"}, 2),
            ({"OutputPath": None}, {}),
            ({"Parameters": {"x.$": "$.n"}}, {"x": 2}),
            ({"InputPath": "$.a", "Parameters": {"x.$": "$.b"}}, {"x": 1}),
            ({"Result": 9, "ResultPath": "$.r"}, {**VALUE, "r": 9}),
            ({"Result": 9, "ResultPath": None}, VALUE),
            ({"InputPath": "$.a", "ResultPath": "$.r", "OutputPath": "$.r"}, {"b": 1}),
            ({"InputPath": "$$.State.Name"}, "A"),
            ({"InputPath": "$v"}, 7),
        ],
    )
    def test_a_pass_state_applies_the_jsonpath_fields_to_its_input(self, enter: Any, fields: Any, output: Any) -> None:
        assert enter({"Type": "Pass", **fields}, VALUE, v=7) == Next("B", output)

    @pytest.mark.parametrize(
        ("fields", "output"),
        [
            ({}, VALUE),
            ({"Output": "{% $states.input.n + $v %}"}, 9),
            ({"Output": {"x": ["{% $states.context.State.Name %}", None, 1]}}, {"x": ["A", None, 1]}),
            ({"Output": None}, None),
            ({"Output": "plain"}, "plain"),
        ],
    )
    def test_a_pass_state_outputs_its_jsonata_output_field(self, enter: Any, fields: Any, output: Any) -> None:
        assert enter({"Type": "Pass", **fields}, VALUE, language="JSONata", v=7) == Next("B", output)

    def test_assigns_in_both_languages(self, enter: Any) -> None:
        outcome = enter({"Type": "Pass", "Assign": {"x.$": "$.n", "y": 1}}, VALUE)
        assert outcome == Next("B", VALUE, {"x": 2, "y": 1})
        fields = {"Assign": {"x": "{% $x + 1 %}"}, "Output": "{% $x %}"}
        outcome = enter({"Type": "Pass", **fields}, 0, language="JSONata", x=1)
        assert outcome == Next("B", 1, {"x": 2})

    def test_a_state_with_end_is_done_with_its_output(self, enter: Any) -> None:
        assert enter({"Type": "Pass", "End": True}, 1) == Done(1)

    def test_a_step_calls_few_functions(self) -> None:
        states = {
            "A": {"Type": "Choice", "Choices": [{"Variable": "$.n", "NumericEquals": 2, "Next": "B"}], "Default": "B"},
            "B": {"Type": "Pass", "Parameters": {"n.$": "$.n", "deep.$": "$.a.b"}, "End": True},
        }
        plan, visit = load({"StartAt": "A", "States": states}).plan, Visit()
        choose, make = plan.states["A"].enter, plan.states["B"].enter
        with counted_calls() as calls:
            for _ in range(1_000):
                choose(VALUE, visit)
                make(VALUE, visit)
        assert calls() <= 2_000 * 20


class TestWait:
    @pytest.mark.parametrize(
        ("fields", "effect"),
        [
            ({"Seconds": 10}, WaitUntil(seconds=10)),
            ({"Seconds": 0}, WaitUntil(seconds=0)),
            ({"SecondsPath": "$.n"}, WaitUntil(seconds=2)),
            ({"SecondsPath": "$v"}, WaitUntil(seconds=7)),
            ({"Timestamp": "2024-01-02T05:04:05+01:00"}, WaitUntil(until=datetime(2024, 1, 2, 4, 4, 5, tzinfo=UTC))),
            ({"TimestampPath": "$.at"}, WaitUntil(until=datetime(2024, 1, 2, 4, 4, 5, tzinfo=UTC))),
            ({"Timestamp": "1999-01-01T00:00:00Z"}, WaitUntil(until=datetime(1999, 1, 1, tzinfo=UTC))),
        ],
    )
    def test_a_wait_state_takes_seconds_or_a_timestamp_by_path(self, enter: Any, fields: Any, effect: Any) -> None:
        assert enter({"Type": "Wait", **fields}, VALUE, v=7) == effect

    def test_a_wait_state_takes_seconds_or_a_timestamp_by_expression(self, enter: Any) -> None:
        def ask(**fields: Any) -> Any:
            return enter({"Type": "Wait", **fields}, VALUE, language="JSONata")

        assert ask(Seconds="{% $states.input.n * 2 %}") == WaitUntil(seconds=4)
        assert ask(Timestamp="{% $states.input.at %}").until == datetime(2024, 1, 2, 4, 4, 5, tzinfo=UTC)
        error, cause = cause_of(lambda: ask(Seconds="{% $states.input.half %}"))
        assert (error, cause) == (
            "States.QueryEvaluationError",
            "The Seconds field cannot be parsed as an integer: 1.5",
        )
        assert "Expected 'number', but was 'string' for value: \"text\"" in str(
            cause_of(lambda: ask(Seconds="{% $states.input.s %}"))[1]
        )
        assert cause_of(lambda: ask(Timestamp="{% $states.input.n %}"))[0] is not None

    @pytest.mark.parametrize(
        ("fields", "cause"),
        [
            ({"SecondsPath": "$.none"}, "Invalid path '$.none' : No results for path: $['none']"),
            ({"SecondsPath": "$.s"}, "The SecondsPath parameter cannot be parsed as a long value: $.s == text"),
            ({"SecondsPath": "$.half"}, "The SecondsPath parameter cannot be parsed as a long value: $.half == 1.5"),
            ({"SecondsPath": "$.neg"}, "The SecondsPath parameter references a negative value: $.neg == -1"),
            ({"SecondsPath": "$.far"}, "Wait state delay is too long."),
            ({"TimestampPath": "$.later"}, "Wait state delay is too long."),
            (
                {"TimestampPath": "$.s"},
                (
                    "The TimestampPath parameter does not reference a valid ISO-8601 extended offset date-time format "
                    "string: $.s == text"
                ),
            ),
            ({"Timestamp": "2999-01-01T00:00:00Z"}, "Wait state delay is too long."),
        ],
    )
    def test_what_cannot_be_waited_for(self, enter: Any, fields: Any, cause: str) -> None:
        assert cause_of(lambda: enter({"Type": "Wait", **fields}, VALUE)) == ("States.Runtime", cause)

    @pytest.mark.parametrize(
        ("fields", "cause"),
        [
            ({"Seconds": "{% -1 %}"}, "The Seconds field must be between 0 and 99999999, and was -1"),
            ({"Seconds": "{% 1e8 %}"}, "The Seconds field must be between 0 and 99999999, and was 100000000"),
            (
                {"Timestamp": "{% 'noon' %}"},
                ("The Timestamp field cannot be parsed as an ISO-8601 extended offset date-time format string: noon"),
            ),
            ({"Timestamp": "{% $states.input.later %}"}, "Wait state delay is too long."),
        ],
    )
    def test_what_an_expression_gives_that_cannot_be_waited_for(self, enter: Any, fields: Any, cause: str) -> None:
        with pytest.raises(StateError) as caught:
            enter({"Type": "Wait", **fields}, VALUE, language="JSONata")
        assert (caught.value.error, caught.value.cause) == ("States.QueryEvaluationError", cause)
        assert caught.value.location == next(iter(fields))

    def test_a_moment_may_be_24855_days_ahead(self, enter: Any) -> None:
        def asked(days: int) -> list[Any]:
            at = (NOW + timedelta(days=days)).isoformat()
            by_path = {"TimestampPath": "$.at"}, "JSONPath"
            literal = {"Timestamp": at}, "JSONPath"
            by_expression = {"Timestamp": "{% $states.input.at %}"}, "JSONata"
            return [
                partial(enter, {"Type": "Wait", **fields}, {"at": at}, language=language)
                for fields, language in (by_path, literal, by_expression)
            ]

        near, far = asked(24_855), asked(24_856)
        assert [ask() for ask in near] == [WaitUntil(until=NOW + timedelta(days=24_855))] * 3
        assert {cause_of(ask)[1] for ask in far} == {"Wait state delay is too long."}

    def test_it_goes_on_with_its_input(self, leave: Any) -> None:
        wait = {"Type": "Wait", "Seconds": 1, "InputPath": "$.a", "OutputPath": "$.b"}
        assert leave(wait, {"a": {"b": 1}}, None) == Next("B", 1)


class TestTask:
    @pytest.mark.parametrize(
        ("fields", "effect"),
        [
            ({}, CallTask("r", VALUE)),
            ({"InputPath": "$.a"}, CallTask("r", {"b": 1})),
            ({"Parameters": {"x.$": "$.n"}}, CallTask("r", {"x": 2})),
            ({"TimeoutSeconds": 9, "HeartbeatSeconds": 3}, CallTask("r", VALUE, 9, 3)),
            ({"TimeoutSecondsPath": "$.n", "HeartbeatSecondsPath": "$.a.b"}, CallTask("r", VALUE, 2, 1)),
            ({"Credentials": {"RoleArn.$": "$.s"}}, CallTask("r", VALUE, credentials={"RoleArn": "text"})),
        ],
    )
    def test_enters_in_jsonpath(self, enter: Any, fields: Any, effect: Any) -> None:
        assert enter({"Type": "Task", "Resource": "r", **fields}, VALUE) == effect

    def test_enters_in_jsonata(self, enter: Any) -> None:
        fields = {
            "Arguments": {"x": "{% $states.input.n %}"},
            "TimeoutSeconds": "{% $states.input.n * 2 %}",
            "HeartbeatSeconds": 1,
            "Credentials": {"RoleArn": "{% $states.input.s %}"},
        }
        effect = enter({"Type": "Task", "Resource": "r", **fields}, VALUE, language="JSONata")
        assert effect == CallTask("r", {"x": 2}, 4, 1, {"RoleArn": "text"})

    @pytest.mark.parametrize("path", ["$.neg", "$.zero"])
    def test_a_timeout_is_positive(self, enter: Any, path: str) -> None:
        with pytest.raises(StateError, match="TimeoutSeconds must be between"):
            enter({"Type": "Task", "Resource": "r", "TimeoutSecondsPath": path}, {"neg": -1, "zero": 0})

    @pytest.mark.parametrize(
        ("fields", "output"),
        [
            ({}, {"r": 1}),
            ({"ResultSelector": {"x.$": "$.r"}}, {"x": 1}),
            ({"ResultPath": "$.a"}, {"a": {"r": 1}, "n": 2}),
            ({"ResultPath": None}, {"a": 0, "n": 2}),
            ({"ResultSelector": {"x.$": "$.r"}, "ResultPath": "$.a", "OutputPath": "$.a.x"}, 1),
        ],
    )
    def test_leaves_in_jsonpath(self, leave: Any, fields: Any, output: Any) -> None:
        assert leave({"Type": "Task", "Resource": "r", **fields}, {"a": 0, "n": 2}, {"r": 1}) == Next("B", output)

    def test_leaves_in_jsonata(self, leave: Any) -> None:
        fields = {"Output": {"of": "{% $states.result.r + $states.input.n %}"}, "Assign": {"r": "{% $states.result %}"}}
        step = leave({"Type": "Task", "Resource": "r", **fields}, {"n": 2}, {"r": 1}, language="JSONata")
        assert step == Next("B", {"of": 3}, {"r": {"r": 1}})
        assert leave({"Type": "Task", "Resource": "r"}, 0, None, language="JSONata") == Next("B", None)

    def test_a_result_path_that_does_not_fit(self, leave: Any) -> None:
        question = lambda: leave({"Type": "Task", "Resource": "r", "ResultPath": "$.x"}, [1], 2)  # noqa: E731
        assert cause_of(question) == ("States.ResultPathMatchFailure", "Unable to apply ReferencePath $.x to input [1]")


class TestCatch:
    FAULT = StateError("E", "why")

    def test_a_jsonpath_catcher_puts_the_error_at_its_result_path(self, catch: Any) -> None:
        assert catch({}, {"n": 1}, self.FAULT) == Next("B", {"Error": "E", "Cause": "why"})
        step = catch({"ResultPath": "$.e"}, {"n": 1}, self.FAULT)
        assert step.output == {"n": 1, "e": {"Error": "E", "Cause": "why"}}
        assert catch({"ResultPath": None}, {"n": 1}, self.FAULT).output == {"n": 1}
        step = catch({"Assign": {"x.$": "$.Error"}}, {"n": 1}, self.FAULT)
        assert step.assigned == {"x": "E"}

    def test_a_jsonata_catcher_outputs_from_error_output(self, catch: Any) -> None:
        def ask(**fields: Any) -> Any:
            return catch(fields, {"n": 1}, self.FAULT, language="JSONata")

        assert ask() == Next("B", {"Error": "E", "Cause": "why"})
        assert ask(Output="{% $states.errorOutput.Cause & $states.input.n %}").output == "why1"
        assert ask(Assign={"x": "{% $states.errorOutput.Error %}"}).assigned == {"x": "E"}


class TestFail:
    @pytest.mark.parametrize(
        ("fields", "effect"),
        [
            ({}, Fail(None, None)),
            ({"Error": "E", "Cause": "why"}, Fail("E", "why")),
            ({"ErrorPath": "$.s", "CausePath": "States.Format('{}!', $.s)"}, Fail("text", "text!")),
            ({"ErrorPath": "$$.State.Name", "CausePath": "$v"}, Fail("A", "seven")),
        ],
    )
    def test_a_fail_state_takes_error_and_cause_by_path_or_intrinsic(
        self, enter: Any, fields: Any, effect: Any
    ) -> None:
        assert enter({"Type": "Fail", **fields}, VALUE, v="seven") == effect

    def test_a_fail_state_takes_error_and_cause_by_expression(self, enter: Any) -> None:
        fields = {"Type": "Fail", "Error": "{% $states.input.s %}", "Cause": "plain"}
        assert enter(fields, VALUE, language="JSONata") == Fail("text", "plain")
        with pytest.raises(StateError, match="Expected 'string', but was 'number' for value: 2"):
            enter({"Type": "Fail", "Cause": "{% $states.input.n %}"}, VALUE, language="JSONata")

    def test_a_path_that_finds_nothing_or_no_text(self, enter: Any) -> None:
        _, cause = cause_of(lambda: enter({"Type": "Fail", "ErrorPath": "$.none"}, {"a": 1}))
        assert cause == (
            """The JSONPath '$.none' specified for the field 'ErrorPath' could not be found in the input '{"a":1}'"""
        )
        error, _ = cause_of(lambda: enter({"Type": "Fail", "CausePath": "$.a"}, {"a": 1}))
        assert error == "States.Runtime"


class TestSucceedAndChoice:
    def test_a_succeed_state_applies_its_input_and_output_paths(self, enter: Any) -> None:
        assert enter({"Type": "Succeed"}, VALUE) == Done(VALUE)
        assert enter({"Type": "Succeed", "InputPath": "$.a", "OutputPath": "$.b"}, VALUE) == Done(1)
        assert enter({"Type": "Succeed", "Output": "{% $states.input.n %}"}, VALUE, language="JSONata") == Done(2)

    def test_a_choice_filters_and_assigns_by_the_rule_it_takes(self, enter: Any) -> None:
        rule = {"Variable": "$.b", "NumericEquals": 1, "Next": "B", "Assign": {"x": "rule"}}
        choice = {"Type": "Choice", "InputPath": "$.a", "Choices": [rule], "Default": "A", "Assign": {"x": "default"}}
        assert enter(choice, VALUE) == Next("B", {"b": 1}, {"x": "rule"})
        assert enter(choice, {"a": {"b": 2}}) == Next("A", {"b": 2}, {"x": "default"})

    def test_a_jsonata_rule_has_its_own_output(self, enter: Any) -> None:
        rule = {"Condition": "{% $states.input.n = 2 %}", "Next": "B", "Output": "{% $states.input.s %}"}
        choice = {"Type": "Choice", "Choices": [rule], "Default": "A", "Output": "default"}
        assert enter(choice, VALUE, language="JSONata") == Next("B", "text")
        assert enter(choice, {"n": 1}, language="JSONata") == Next("A", "default")


class TestParallel:
    def test_each_branch_gets_the_effective_input(self, enter: Any) -> None:
        effect = enter({"Type": "Parallel", "Branches": [BRANCH], "Parameters": {"x.$": "$.n"}}, VALUE)
        assert isinstance(effect, FanOut)
        assert effect.branches is not None
        assert [(branch.index, branch.input) for branch in effect.branches] == [(0, {"x": 2})]
        effect = enter({"Type": "Parallel", "Branches": [BRANCH], "Arguments": "{% 1 %}"}, VALUE, language="JSONata")
        assert [branch.input for branch in effect.branches] == [1]

    def test_its_result_is_selected_and_merged(self, leave: Any) -> None:
        parallel = {"Type": "Parallel", "Branches": [BRANCH], "ResultSelector": {"x.$": "$[1]"}, "ResultPath": "$.r"}
        assert leave(parallel, {"n": 1}, [4, 5]) == Next("B", {"n": 1, "r": {"x": 5}})
