"""A Map's items, its bounds, and what each iteration is given."""

from __future__ import annotations

from typing import Any

import pytest

from statechain.asl.outcome import FanOut, Tolerance
from statechain.errors import StateError

PROCESSOR = {"StartAt": "P", "States": {"P": {"Type": "Pass", "End": True}}}
DISTRIBUTED = {**PROCESSOR, "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}}


@pytest.fixture
def fan(enter: Any) -> Any:
    def ask(value: Any, *, language: str = "JSONPath", distributed: bool = False, **fields: Any) -> FanOut:
        processor = DISTRIBUTED if distributed else PROCESSOR
        effect = enter({"Type": "Map", "ItemProcessor": processor, **fields}, value, language=language, limit=2)
        assert isinstance(effect, FanOut)
        return effect

    return ask


def inputs(effect: FanOut) -> list[Any]:
    assert effect.branches is not None
    return [branch.input for branch in effect.branches]


def test_items_are_the_input_or_where_a_path_leads(fan: Any) -> None:
    assert inputs(fan([1, 2])) == [1, 2]
    assert inputs(fan({"l": [3]}, ItemsPath="$.l")) == [3]
    assert inputs(fan({"l": [{"x": 1}, {"x": 2}]}, ItemsPath="$.l[*].x")) == [1, 2]
    assert inputs(fan({"a": {"l": [4]}}, InputPath="$.a", ItemsPath="$.l")) == [4]
    assert inputs(fan([])) == []


def test_items_in_jsonata(fan: Any) -> None:
    assert inputs(fan({"l": [1, 2]}, language="JSONata", Items="{% $states.input.l %}")) == [1, 2]
    assert inputs(fan(None, language="JSONata", Items=[1, "{% 1 + 1 %}"])) == [1, 2]
    assert inputs(fan([7], language="JSONata")) == [7]


@pytest.mark.parametrize("value", [None, 1, "x", True, {"a": 1}])
def test_only_an_array_has_items(fan: Any, value: Any) -> None:
    with pytest.raises(StateError) as caught:
        fan(value)
    assert (caught.value.error, caught.value.cause) == ("States.Runtime", 'Reference path "$" must point to array.')
    with pytest.raises(StateError) as caught:
        fan(value, language="JSONata")
    assert (caught.value.error, caught.value.location) == ("States.QueryEvaluationError", "")
    assert (caught.value.cause or "").startswith("Map state input must be an array but was: ")


def test_what_an_expression_finds_instead_is_told(fan: Any) -> None:
    with pytest.raises(StateError) as caught:
        fan({"l": "ä"}, language="JSONata", Items="{% $states.input.l %}")
    assert caught.value.cause == (
        "The JSONata expression '$states.input.l' specified for the field 'Items' returned an unexpected result type. "
        "Expected 'array', but was 'string' for value: \"ä\""
    )


def test_an_object_that_the_definition_gives_as_items_is_told_without_an_expression(fan: Any) -> None:
    with pytest.raises(StateError) as caught:
        fan(None, language="JSONata", Items={"a": "{% 1 + 1 %}"})
    assert (caught.value.error, caught.value.location) == ("States.QueryEvaluationError", "Items")
    assert caught.value.cause == 'The Items field must be an array but was: {"a":2}'


def test_the_members_of_an_object_are_items_of_a_distributed_map(fan: Any) -> None:
    for fields in ({}, {"language": "JSONata"}):
        effect = fan({"a": 1, "b": 2}, distributed=True, **fields)
        assert effect.distributed
        assert inputs(effect) == [{"Key": "a", "Value": 1}, {"Key": "b", "Value": 2}]
        item = {"Index": 0, "Value": {"Key": "a", "Value": 1}, "Key": "a", "Source": "STATE_DATA"}
        assert effect.branches[0].item == item


def test_a_selector_sees_the_input_and_the_item(fan: Any) -> None:
    value = {"l": ["x", "y"], "n": 1}
    selector = {"n.$": "$.n", "i.$": "$$.Map.Item.Index", "v.$": "$$.Map.Item.Value", "s.$": "$$.State.Name"}
    assert inputs(fan(value, ItemsPath="$.l", ItemSelector=selector))[1] == {"n": 1, "i": 1, "v": "y", "s": "A"}
    assert inputs(fan(value, ItemsPath="$.l", Parameters={"v.$": "$$.Map.Item.Value"})) == [{"v": "x"}, {"v": "y"}]
    selector = {"n": "{% $states.input.n %}", "v": "{% $states.context.Map.Item.Value %}"}
    effect = fan(value, language="JSONata", Items="{% $states.input.l %}", ItemSelector=selector)
    assert inputs(effect) == [{"n": 1, "v": "x"}, {"n": 1, "v": "y"}]


def test_branches_are_a_sequence(fan: Any) -> None:
    branches = fan([1, 2, 3]).branches
    assert len(branches) == 3
    assert branches[-1].input == 3
    assert [branch.index for branch in branches[1:]] == [1, 2]


@pytest.mark.parametrize(
    ("fields", "width"),
    [
        ({}, 0),
        ({"MaxConcurrency": 3}, 3),
        ({"MaxConcurrencyPath": "$[0]"}, 5),
        ({"MaxConcurrencyPath": "$[1]"}, 6),
        ({"MaxConcurrencyPath": "$limit"}, 2),
    ],
)
def test_max_concurrency_is_a_number_or_a_path(fan: Any, fields: Any, width: int) -> None:
    assert fan([5, "6", 7.5, -1, "x", 8.0], **fields).max_concurrency == width


@pytest.mark.parametrize(
    ("path", "cause"),
    [
        ("$[2]", 'The MaxConcurrencyPath field refers to value "7.5" which is not a valid integer: $[2]'),
        ("$[4]", 'The MaxConcurrencyPath field refers to value "x" which is not a valid integer: $[4]'),
        ("$[3]", "MaxConcurrency cannot be negative."),
        ("$[9]", "Invalid path '$[9]' : No results for path: $[9]"),
    ],
)
def test_what_is_no_width(fan: Any, path: str, cause: str) -> None:
    with pytest.raises(StateError) as caught:
        fan([5, "6", 7.5, -1, "x"], MaxConcurrencyPath=path)
    assert (caught.value.error, caught.value.cause) == ("States.Runtime", cause)


def test_tolerated_failures_are_numbers_paths_or_expressions(fan: Any) -> None:
    assert fan([], distributed=True).tolerance() == Tolerance()
    assert fan([], distributed=True, ToleratedFailureCount=2, ToleratedFailurePercentage=1.5).tolerance() == Tolerance(
        2, 1.5
    )
    paths = {"ToleratedFailureCountPath": "$[0]", "ToleratedFailurePercentagePath": "$[1]"}
    assert fan([3, "2.5"], distributed=True, **paths).tolerance() == Tolerance(3, 2.5)
    fields = {"ToleratedFailureCount": "{% $limit %}", "ToleratedFailurePercentage": "{% 100 / 8 %}"}
    assert fan([], distributed=True, language="JSONata", **fields).tolerance() == Tolerance(2, 12.5)


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        ("No", 'The ToleratedFailurePercentagePath field refers to value "No" which is not a valid float: $[0]'),
        ({}, 'The ToleratedFailurePercentagePath field refers to value "{}" which is not a valid float: $[0]'),
        (True, 'The ToleratedFailurePercentagePath field refers to value "true" which is not a valid float: $[0]'),
        (-1, "ToleratedFailurePercentage must be between 0 and 100."),
        (100.1, "ToleratedFailurePercentage must be between 0 and 100."),
    ],
)  # fmt: skip
def test_what_is_no_percentage(fan: Any, value: Any, cause: str) -> None:
    with pytest.raises(StateError) as caught:
        fan([value], distributed=True, ToleratedFailurePercentagePath="$[0]").tolerance()
    assert (caught.value.error, caught.value.cause) == ("States.Runtime", cause)


def test_a_map_with_a_reader_makes_its_branches_when_they_are_read(fan: Any) -> None:
    reader = {
        "Resource": "arn:aws:states:::s3:getObject",
        "ReaderConfig": {"MaxItemsPath": "$.m"},
        "Parameters": {"Key.$": "$.k"},
    }
    selector = {"v.$": "$$.Map.Item.Value"}
    effect = fan({"k": "f.json", "m": 5}, distributed=True, ItemReader=reader, ItemSelector=selector)
    assert effect.branches is None
    reader = effect.reader()
    assert (reader.arguments, reader.config) == ({"Key": "f.json"}, {"MaxItems": 5})
    branches = effect.branches_of([(None, 1, "S3://b/k"), ("k", 2, "S3://b/k")])
    assert [branch.input for branch in branches] == [{"v": 1}, {"v": 2}]
    assert branches[1].item == {"Index": 1, "Value": 2, "Key": "k", "Source": "S3://b/k"}


def test_items_of_a_distributed_map_know_that_they_come_from_the_state(fan: Any) -> None:
    selector = {"source.$": "$$.Map.Item.Source"}
    assert inputs(fan([1], distributed=True, ItemSelector=selector)) == [{"source": "STATE_DATA"}]
    assert inputs(fan({"a": 1}, distributed=True, ItemSelector=selector)) == [{"source": "STATE_DATA"}]
    assert fan([1]).branches[0].item == {"Index": 0, "Value": 1}


def test_items_go_in_batches(fan: Any) -> None:
    batcher = {"MaxItemsPerBatch": 2, "BatchInput": {"n.$": "$.n"}}
    effect = fan({"l": [1, 2, 3], "n": 9}, distributed=True, ItemsPath="$.l", ItemBatcher=batcher)
    assert inputs(effect) == [{"BatchInput": {"n": 9}, "Items": [1, 2]}, {"BatchInput": {"n": 9}, "Items": [3]}]
