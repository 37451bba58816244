"""Each limit that guards the process, met by a hostile input through the public API."""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import Any

import pytest

from statechain import DefinitionError, Engine, Execution, ExecutionStatus, InvalidPayload, Limits, TaskRegistry

tasks = TaskRegistry()
MEGABYTE = 1_000_000


@tasks.register
async def shout(value: Any) -> str:
    return "x" * (10 * MEGABYTE)


@tasks.register
async def nest(value: Any) -> Any:
    nested: Any = 1
    for _ in range(5_000):
        nested = [nested]
    return nested


@tasks.register
async def complain(value: Any) -> None:
    raise ValueError("x" * MEGABYTE)


def passing(made: Any, **more: Any) -> dict[str, Any]:
    """Return a machine that makes something of its input."""
    return {"StartAt": "A", "States": {"A": {"Type": "Pass", **made, "End": True}}, **more}


def calling(resource: str) -> dict[str, Any]:
    """Return a machine that calls a handler."""
    return {"StartAt": "A", "States": {"A": {"Type": "Task", "Resource": resource, "End": True}}}


async def end_of(definition: dict[str, Any], value: Any = None, **limits: Any) -> Execution:
    """Return an execution as it ended."""
    async with Engine("memory://", tasks=tasks, limits=Limits(**limits)) as engine:
        machine = await engine.create_state_machine("m", definition)
        return await (await machine.start_execution(value)).wait()


HOSTILE = {
    "a range of a billion": (passing({"Parameters": {"a.$": "States.ArrayRange(1, 1000000000, 1)"}}), {}),
    "a text to encode": (passing({"Parameters": {"a.$": "States.Base64Encode($.text)"}}), {"text": "x" * 10_001}),
    "a search of everything": (
        passing({"Parameters": {"a.$": "$..*"}}),
        {"rows": [[1] * 100 for _ in range(100)]},
        {"path_nodes": 1_000},
    ),
    "JSONata without end": (
        passing({"Output": "{% ($f := function($n) { $f($n + 1) }; $f(0)) %}"}, QueryLanguage="JSONata"),
        {},
    ),
    "a JSONata range of millions": (passing({"Output": "{% [0..9999999] %}"}, QueryLanguage="JSONata"), {}),
    "JSONata that builds a text": (
        passing({"Output": "{% $reduce([1..60], function($a, $i) { $a & $a }, 'xx') %}"}, QueryLanguage="JSONata"),
        {},
    ),
    "a result of ten megabytes": (calling("shout"), {}),
    "a result that nests": (calling("nest"), {}),
}


@pytest.mark.parametrize("case", HOSTILE.values(), ids=HOSTILE)
async def test_what_is_hostile_fails_with_an_error_of_the_language(case: tuple[Any, ...]) -> None:
    definition, value, *limits = case
    ended = await end_of(definition, value, **(limits[0] if limits else {}))
    assert ended.status is ExecutionStatus.FAILED
    assert ended.error is not None
    assert ended.error.startswith("States.")


@pytest.mark.parametrize("value", ["x" * (10 * MEGABYTE), [[0] * 1000 for _ in range(1000)]], ids=["text", "array"])
async def test_an_input_that_is_too_large_is_refused_before_anything_is_written(value: Any) -> None:
    async with Engine("memory://", tasks=tasks) as engine:
        machine = await engine.create_state_machine("m", passing({}))
        with pytest.raises(InvalidPayload):
            await machine.execute(value)
        assert await engine.count_executions() == 0


FAILS = {
    "a handler": calling("complain"),
    "a Fail": {"StartAt": "A", "States": {"A": {"Type": "Fail", "Cause": "x" * 1000}}},
    "a Fail by its input": {"StartAt": "A", "States": {"A": {"Type": "Fail", "CausePath": "$.cause"}}},
    "a Fail in a branch": {
        "StartAt": "B",
        "States": {
            "B": {
                "Type": "Parallel",
                "Branches": [{"StartAt": "A", "States": {"A": {"Type": "Fail", "Cause": "x" * 1000}}}],
                "End": True,
            }
        },
    },
}


@pytest.mark.parametrize("kind", ["STANDARD", "EXPRESS"])
@pytest.mark.parametrize("definition", FAILS.values(), ids=FAILS)
async def test_a_cause_is_cut_off(definition: dict[str, Any], kind: Any) -> None:
    async with Engine("memory://", tasks=tasks, limits=Limits(cause_characters=100)) as engine:
        machine = await engine.create_state_machine("m", definition, type=kind)
        ended = await (await machine.start_execution({"cause": "x" * 1000})).wait()
        assert ended.cause == "x" * 100
        if kind == "STANDARD":
            events = await engine.get_execution_history(ended.id)
            details = [each for event in events for each in event.values() if isinstance(each, dict)]
            causes = {each["cause"] for each in details if "cause" in each}
            assert causes == {"x" * 100}


START = "arn:aws:states:::states:startExecution.sync:2"


def one_task(name: str, **fields: Any) -> dict[str, Any]:
    """Return a machine of one Task with more fields."""
    return {"StartAt": "A", "States": {"A": {"Type": "Task", "Resource": name, **fields, "End": True}}}


FAILS_WITH_A_VALUE = {
    "a path on entry": (passing({"Parameters": {"a.$": "$.none"}}), "States.Runtime"),
    "a path on exit": (one_task("keep", ResultSelector={"a.$": "$.none"}), "States.Runtime"),
    "an expression": (
        passing({"Output": "{% $number($states.input.text) %}"}, QueryLanguage="JSONata"),
        "States.QueryEvaluationError",
    ),
    "the name of a function": (
        one_task("arn:aws:states:::lambda:invoke", Parameters={"FunctionName.$": "$.text"}),
        "States.TaskFailed",
    ),
    "the name of a result's member": (calling("misname"), "States.TaskFailed"),
}


@tasks.register
async def keep(value: Any) -> Any:
    return value


@tasks.register
async def misname(value: Any) -> Any:
    return {"x" * 1000: object()}


@pytest.mark.parametrize("kind", ["STANDARD", "EXPRESS"])
@pytest.mark.parametrize(("definition", "error"), FAILS_WITH_A_VALUE.values(), ids=FAILS_WITH_A_VALUE)
async def test_a_cause_that_shows_a_value_is_cut_off(definition: dict[str, Any], error: str, kind: Any) -> None:
    async with Engine("memory://", tasks=tasks, limits=Limits(cause_characters=100)) as engine:
        machine = await engine.create_state_machine("m", definition, type=kind)
        ended = await (await machine.start_execution({"text": "x" * 1000})).wait()
        assert ended.error == error
        assert len(ended.cause or "") == 100
        if kind == "STANDARD":
            events = await engine.get_execution_history(ended.id)
            details = [each for event in events for each in event.values() if isinstance(each, dict)]
            assert {each["cause"] for each in details if "cause" in each} == {ended.cause}


async def test_the_cause_that_describes_a_nested_execution_is_cut_off() -> None:
    catch = [{"ErrorEquals": ["States.ALL"], "Next": "Caught"}]
    start = one_task(START, Parameters={"StateMachineArn": "child", "Input.$": "$"}, Catch=catch)
    start["States"]["Caught"] = {"Type": "Succeed"}
    async with Engine("memory://", tasks=tasks, limits=Limits(cause_characters=100)) as engine:
        await engine.create_state_machine("child", {"StartAt": "No", "States": {"No": {"Type": "Fail"}}})
        machine = await engine.create_state_machine("m", start)
        ended = await machine.execute({"text": "x" * 1000})
    assert ended.output["Error"] == "States.TaskFailed"
    assert len(ended.output["Cause"]) == 100


@pytest.mark.parametrize("by", ["its id", "its handle"])
async def test_the_cause_of_a_stop_is_cut_off(by: str) -> None:
    async with Engine("memory://", limits=Limits(cause_characters=100)) as engine:
        machine = await engine.create_state_machine("m", calling("arn:aws:states:eu-west-1:1:activity:paint"))
        handle = await machine.start_execution()
        if by == "its id":
            stopped = await engine.stop_execution(handle.id, cause="x" * 1000)
        else:
            stopped = await handle.stop(cause="x" * 1000)
        assert stopped.cause == "x" * 100


async def test_the_cause_of_an_answer_is_cut_off() -> None:
    async with Engine("memory://", limits=Limits(cause_characters=100)) as engine:
        machine = await engine.create_state_machine("m", calling("arn:aws:states:eu-west-1:1:activity:paint"))
        handle = await machine.start_execution()
        taken = await engine.get_activity_task("paint")
        assert taken is not None
        await engine.send_task_failure(taken.token, "Spilled", "x" * 1000)
        assert (await handle.wait()).cause == "x" * 100


@pytest.mark.parametrize(
    ("definition", "limits"),
    [
        ({"StartAt": "A", "States": {f"S{n}": {"Type": "Succeed"} for n in range(11)}}, {"definition_states": 10}),
        ("# " + "x" * 1_048_576, {}),
        ("[" * 100_000, {}),
        ("a: &a [1]\nb: [*a, *a]", {}),
    ],
    ids=["states", "bytes", "depth", "aliases"],
)
async def test_a_hostile_definition_is_refused(definition: Any, limits: dict[str, Any]) -> None:
    async with Engine("memory://", tasks=tasks, limits=Limits(**limits)) as engine:
        with pytest.raises(DefinitionError):
            await engine.create_state_machine("m", definition)
        assert await engine.list_state_machines() == []


@tasks.register
async def circle(value: Any) -> Any:
    turning: dict[str, Any] = {}
    turning["again"] = turning
    return turning


@pytest.mark.parametrize("type_", ["STANDARD", "EXPRESS"])
@pytest.mark.parametrize("levels", [210, 600, 5_000])
async def test_an_input_that_is_nested_too_deep_can_be_caught(type_: str, levels: int) -> None:
    definition = {
        "StartAt": "A",
        "States": {
            "A": {
                "Type": "Task",
                "Resource": "shout",
                "Parameters": {"x.$": "States.StringToJson($.t)"},
                "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "B", "ResultPath": None}],
                "End": True,
            },
            "B": {"Type": "Pass", "Result": "caught", "End": True},
        },
    }
    async with Engine("memory://", tasks=tasks) as engine:
        machine = await engine.create_state_machine("m", definition, type=type_)
        ended = await machine.execute({"t": "[" * levels + "]" * levels})
    assert ended.output == "caught"


@pytest.mark.parametrize("type_", ["STANDARD", "EXPRESS"])
async def test_a_result_that_goes_in_circles_is_refused(type_: str) -> None:
    async with Engine("memory://", tasks=tasks) as engine:
        machine = await engine.create_state_machine("m", calling("circle"), type=type_)
        ended = await (await machine.start_execution()).wait()
    assert (ended.status, ended.error) == (ExecutionStatus.FAILED, "States.DataLimitExceeded")


ONE: dict[str, Any] = {"StartAt": "One", "States": {"One": {"Type": "Pass", "Result": 1, "End": True}}}
TWICE = {"a.$": "$.text", "b.$": "$.text"}
DISTRIBUTED = {**ONE, "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}}


@pytest.mark.parametrize(
    "state",
    [
        {"Type": "Parallel", "Parameters": TWICE, "Branches": [ONE]},
        {"Type": "Map", "ItemsPath": "$.items", "ItemSelector": TWICE, "ItemProcessor": ONE},
        {"Type": "Map", "ItemsPath": "$.items", "Parameters": TWICE, "ItemProcessor": ONE},
        {
            "Type": "Task",
            "Resource": "arn:aws:states:::states:startExecution",
            "Parameters": {"StateMachineArn": "one", "Input": TWICE},
        },
        {
            "Type": "Parallel",
            "QueryLanguage": "JSONata",
            "Arguments": "{% [$states.input.text, $states.input.text] %}",
            "Branches": [ONE],
        },
        {
            "Type": "Map",
            "QueryLanguage": "JSONata",
            "Items": [1],
            "ItemSelector": "{% [$states.input.text, $states.input.text] %}",
            "ItemProcessor": ONE,
        },
    ],
    ids=lambda state: "-".join(key for key in state if key not in {"Branches", "ItemsPath", "ItemProcessor"}),
)
async def test_what_a_state_makes_of_its_input_for_others_is_bounded_as_an_input_is(state: dict[str, Any]) -> None:
    async with Engine("memory://", limits=Limits(payload_bytes=1_000)) as engine:
        await engine.create_state_machine("one", ONE)
        definition = {"StartAt": "Work", "States": {"Work": {**state, "End": True}}}
        machine = await engine.create_state_machine("m", definition)
        fits = await (await machine.start_execution({"items": [1], "text": "x" * 400})).wait()
        ended = await (await machine.start_execution({"items": [1], "text": "x" * 900})).wait()
    assert fits.status == "SUCCEEDED"
    assert (ended.status, ended.error) == (ExecutionStatus.FAILED, "States.DataLimitExceeded")


@pytest.mark.parametrize(
    "made", [{"ItemSelector": TWICE}, {"ItemBatcher": {"MaxItemsPerBatch": 1, "BatchInput": TWICE}}], ids="-".join
)
async def test_an_item_of_a_distributed_map_that_is_made_too_large_has_failed(made: dict[str, Any]) -> None:
    each = {"Type": "Map", "ItemsPath": "$.items", "ItemProcessor": DISTRIBUTED, "End": True, **made}
    async with Engine("memory://", limits=Limits(payload_bytes=1_000)) as engine:
        strict = await engine.create_state_machine("strict", {"StartAt": "Each", "States": {"Each": each}})
        each = {**each, "ToleratedFailureCount": 1}
        tolerant = await engine.create_state_machine("tolerant", {"StartAt": "Each", "States": {"Each": each}})
        fits = await (await strict.start_execution({"items": [1], "text": "x" * 400})).wait()
        too_large = {"items": [1], "text": "x" * 900}
        ended = await (await strict.start_execution(too_large)).wait()
        tolerated = await (await tolerant.start_execution(too_large)).wait()
    assert (fits.status, fits.output) == (ExecutionStatus.SUCCEEDED, [1])
    assert (ended.status, ended.error) == (ExecutionStatus.FAILED, "States.ExceedToleratedFailureThreshold")
    assert (tolerated.status, tolerated.output) == (ExecutionStatus.SUCCEEDED, [])


async def test_the_size_of_a_batch_is_that_of_its_text_as_utf8() -> None:
    work = {
        "Type": "Map",
        "ItemBatcher": {"MaxInputBytesPerBatch": 60},
        "ItemProcessor": {**DISTRIBUTED, "States": {"One": {"Type": "Pass", "End": True}}},
        "End": True,
    }
    async with Engine("memory://") as engine:
        machine = await engine.create_state_machine("m", {"StartAt": "Work", "States": {"Work": work}})
        batches = (await machine.execute(["é" * 10, "é" * 10])).output
    assert batches == [{"Items": ["é" * 10, "é" * 10]}]


@pytest.mark.parametrize("type_", ["STANDARD", "EXPRESS"])
async def test_what_a_state_puts_out_is_bounded_also_where_the_next_makes_it_small(type_: str) -> None:
    definition = {
        "StartAt": "Double",
        "States": {
            "Double": {"Type": "Pass", "Parameters": TWICE, "Next": "One"},
            "One": {"Type": "Pass", "Result": 1, "End": True},
        },
    }
    async with Engine("memory://", limits=Limits(payload_bytes=1_000)) as engine:
        machine = await engine.create_state_machine("m", definition, type=type_)
        fits = await (await machine.start_execution({"text": "x" * 400})).wait()
        ended = await (await machine.start_execution({"text": "x" * 900})).wait()
    assert fits.status == "SUCCEEDED"
    assert (ended.status, ended.error) == (ExecutionStatus.FAILED, "States.DataLimitExceeded")


WRAPS = {
    "a function": one_task("arn:aws:states:::lambda:invoke", Parameters={"FunctionName": "keep", "Payload.$": "$"}),
    "a nested execution": one_task(START, Parameters={"StateMachineArn": "child", "Input.$": "$"}),
}


@pytest.mark.parametrize("definition", WRAPS.values(), ids=WRAPS)
@pytest.mark.parametrize("value", [["x" * 1_400], [[[[[1]]]]]], ids=["large", "deep"])
async def test_a_result_with_what_is_put_around_it_is_bounded(definition: dict[str, Any], value: Any) -> None:
    async with Engine("memory://", tasks=tasks, limits=Limits(payload_bytes=1_450, payload_depth=5)) as engine:
        await engine.create_state_machine("child", passing({}))
        machine = await engine.create_state_machine("m", definition)
        fits = await (await machine.start_execution(["x"])).wait()
        ended = await (await machine.start_execution(value)).wait()
    assert fits.status == "SUCCEEDED"
    assert ended.error == "States.DataLimitExceeded"
    assert "returned a result with a size exceeding the maximum number of bytes service limit" in (ended.cause or "")


@pytest.mark.parametrize("kind", ["STANDARD", "EXPRESS"])
@pytest.mark.parametrize(
    ("given", "error"), [({"n": [[[[1]]]]}, "States.DataLimitExceeded"), ({"n": "\ud83d"}, "States.Runtime")]
)
async def test_what_a_state_cannot_hand_on_is_named_as_its_input(given: Any, error: str, kind: Any) -> None:
    """Two halves of one character make a text that is no JSON, which is not a question of size."""
    made = {"is": "States.Format('{}\ude00', $.n)"} if error == "States.Runtime" else {"is": "$"}
    definition = one_task("keep", Parameters={f"{key}.$": path for key, path in made.items()})
    async with Engine("memory://", tasks=tasks, limits=Limits(payload_depth=5)) as engine:
        machine = await engine.create_state_machine("m", definition, type=kind)
        ended = await (await machine.start_execution(given)).wait()
    assert ended.error == error
    assert (ended.cause or "").startswith("the input of the state 'A': ")


async def test_an_answer_that_nests_too_deep_is_refused() -> None:
    definition = one_task("hand_over.waitForTaskToken", Parameters={"token.$": "$$.Task.Token"})
    tokens: asyncio.Queue[str] = asyncio.Queue()
    waiting = TaskRegistry()

    async def hand_over(value: Any) -> None:
        tokens.put_nowait(value["token"])

    waiting.add("hand_over", hand_over)
    async with Engine("memory://", tasks=waiting, limits=Limits(payload_depth=3)) as engine:
        machine = await engine.create_state_machine("m", definition)
        handle = await machine.start_execution({})
        token = await asyncio.wait_for(tokens.get(), 60)
        with pytest.raises(InvalidPayload, match="nested deeper than 3 levels"):
            await engine.send_task_success(token, [[[[1]]]])
        with pytest.raises(InvalidPayload, match="nested deeper than 3 levels"):
            await engine.answer_waiting_task(handle.id, [[[[1]]]])
        await engine.send_task_success(token, [[[1]]])
        assert (await handle.wait()).output == [[[1]]]


MANY = "$map([1..4000], function($i) { $states.input })"
UNFOLDED = {
    "a result": (MANY, "Expression evaluation memory limit exceeded: Check for excessive memory usage"),
    "a string": (f"$string({MANY})", "Expression evaluation timeout: Check for infinite loop"),
    "a string with line ends": (f"$string({MANY}, true)", "Expression evaluation timeout: Check for infinite loop"),
    "a concatenation": (f"{MANY} & ''", "Expression evaluation timeout: Check for infinite loop"),
    "a cause": (f"-({MANY})", "D1002: Cannot negate a non-numeric value: …"),
    "the key of an object": (f"{{ {MANY}: 1 }}", "T1003: Key in object structure must evaluate to a string; got: …"),
}


@pytest.mark.parametrize(("expression", "cause"), UNFOLDED.values(), ids=UNFOLDED)
@pytest.mark.parametrize("value", [{"text": "x" * 200_000}, {"x" * 200_000: 1}], ids=["a text", "a name"])
async def test_an_expression_that_has_its_input_thousands_of_times_is_not_unfolded(
    expression: str, cause: str, value: Any
) -> None:
    """As JSON it would have 800 MB."""
    tracemalloc.start()
    try:
        ended = await end_of(passing({"Output": f"{{% {expression} %}}"}, QueryLanguage="JSONata"), value)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert ended.error == "States.QueryEvaluationError"
    assert (ended.cause or "").endswith(cause)
    assert peak < 100 * MEGABYTE


REFERENCES = {f"v{n}.$": "$" for n in range(4_000)}
REPEATED = {
    "Parameters": {"Parameters": REFERENCES},
    "nested objects": {"Parameters": {"nested": [{"deeper": REFERENCES}]}},
    "an intrinsic function": {"Parameters": {"all.$": f"States.Array({', '.join(['$'] * 4_000)})"}},
    "variables": {"Assign": REFERENCES},
    "JSONata": {"QueryLanguage": "JSONata", "Output": ["{% $states.input %}"] * 4_000},
}


@pytest.mark.parametrize("made", REPEATED.values(), ids=REPEATED)
@pytest.mark.parametrize("value", [{"text": "x" * 200_000}, {"x" * 200_000: 1}], ids=["a text", "a name"])
async def test_a_template_that_has_its_input_thousands_of_times_is_refused_before_its_text_is_made(
    made: dict[str, Any], value: Any
) -> None:
    tracemalloc.start()
    try:
        ended = await end_of(passing(made), value)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert ended.error == "States.DataLimitExceeded"
    assert peak < 100 * MEGABYTE


TEXTS = {f"v{n}.$": "States.JsonToString($)" for n in range(2_000)}
MADE = {
    "Parameters": {"Parameters": TEXTS},
    "nested objects": {"Parameters": {"nested": [{f"o{n}": {"v.$": "States.JsonToString($)"}} for n in range(2_000)]}},
    "variables": {"Assign": TEXTS},
}


@pytest.mark.parametrize("made", MADE.values(), ids=MADE)
async def test_a_template_stops_at_the_text_that_is_too_much_and_makes_no_more(made: dict[str, Any]) -> None:
    tracemalloc.start()
    try:
        ended = await end_of(passing(made), {"text": "x" * 200_000})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert ended.error == "States.DataLimitExceeded"
    assert peak < 100 * MEGABYTE


async def test_jsonata_stops_at_the_text_that_is_too_much_and_makes_no_more() -> None:
    output = [*["{% $string($states.input) %}"] * 40, "{% $error('evaluated all the same') %}"]
    ended = await end_of(passing({"Output": output}, QueryLanguage="JSONata"), {"text": "x" * 200_000})
    assert ended.error == "States.DataLimitExceeded"


async def test_a_path_may_choose_a_part_of_what_a_template_has_made_too_large() -> None:
    definition = passing({"Parameters": {f"{n}.$": "$.text" for n in range(40)}, "OutputPath": "$.7"})
    assert (await end_of(definition, {"text": "x" * 20_000})).output == "x" * 20_000
