"""What only a distributed Map has: where it is allowed, and what it may hold."""

from __future__ import annotations

from typing import Any

import pytest

from statechain.asl import load
from statechain.errors import DefinitionError

PASS = {"Type": "Pass", "End": True}
BODY = {"StartAt": "P", "States": {"P": PASS}}
READER = {"Resource": "arn:aws:states:::s3:getObject", "Parameters": {"Bucket": "b", "Key": "k"}}
LISTER = {"Resource": "arn:aws:states:::s3:listObjectsV2", "Parameters": {"Bucket": "b"}}
WRITER = {"Resource": "arn:aws:states:::s3:putObject", "Parameters": {"Bucket": "b"}}


def of(*, mode: str = "DISTRIBUTED", language: str = "JSONPath", kind: str = "STANDARD", **fields: Any) -> Any:
    config = {"Mode": mode, "ExecutionType": kind} if mode == "DISTRIBUTED" else {"Mode": mode}
    state = {"Type": "Map", "ItemProcessor": {"ProcessorConfig": config, **BODY}, "End": True, **fields}
    return {"QueryLanguage": language, "StartAt": "M", "States": {"M": state}}


def found(faults: Any, definition: Any) -> dict[str, str]:
    return {pointer.removeprefix("/States/M/"): code for pointer, code in faults(definition).items()}


@pytest.mark.parametrize(
    "fields",
    [
        {"ItemReader": READER},
        {"ItemBatcher": {"MaxItemsPerBatch": 2}},
        {"ResultWriter": WRITER},
        {"Label": "L"},
        {"ToleratedFailureCount": 1},
        {"ToleratedFailureCountPath": "$.n"},
        {"ToleratedFailurePercentage": 1},
        {"ToleratedFailurePercentagePath": "$.n"},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_an_inline_map_has_none_of_it(faults: Any, fields: dict[str, Any]) -> None:
    assert found(faults, of(mode="INLINE", **fields)) == {next(iter(fields)): "distributed-only"}
    assert found(faults, of(**fields)) == {}


def test_an_inline_map_in_jsonata_may_have_an_expression_for_a_tolerated_failure(faults: Any) -> None:
    for key in ("ToleratedFailureCount", "ToleratedFailurePercentage"):
        assert found(faults, of(mode="INLINE", language="JSONata", **{key: "{% 1 %}"})) == {}
        assert found(faults, of(mode="INLINE", language="JSONata", **{key: 1})) == {key: "distributed-only"}


def test_only_a_distributed_map_has_an_execution_type_and_it_needs_one(faults: Any) -> None:
    def ask(**config: Any) -> dict[str, str]:
        processor = {"ProcessorConfig": config, **BODY}
        return found(faults, of(ItemProcessor=processor))

    at = "ItemProcessor/ProcessorConfig"
    assert ask(Mode="INLINE", ExecutionType="EXPRESS") == {f"{at}/ExecutionType": "distributed-only"}
    assert ask(ExecutionType="STANDARD") == {f"{at}/ExecutionType": "distributed-only"}
    assert ask(Mode="DISTRIBUTED") == {at: "missing-field"}
    assert ask(Mode="DISTRIBUTED", ExecutionType="FAST") == {f"{at}/ExecutionType": "wrong-value"}
    assert ask(Mode="DISTRIBUTED", ExecutionType=None) == {f"{at}/ExecutionType": "wrong-value"}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"InputType": "CSV", "CSVHeaderLocation": "FIRST_ROW", "CSVDelimiter": "TAB", "MaxItems": 5}, {}),
        ({"InputType": "CSV", "CSVHeaderLocation": "GIVEN", "CSVHeaders": ["a", "b"]}, {}),
        ({"InputType": "JSON", "ItemsPointer": "/a/b", "MaxItemsPath": "$.most"}, {}),
        ({"InputType": "PARQUET"}, {}),
        ({"InputType": "MANIFEST"}, {}),
        ({"ManifestType": "S3_INVENTORY"}, {}),
        ({"InputType": "JSONL", "ManifestType": "ATHENA_DATA"}, {}),
        ({"InputType": "XML"}, {"InputType": "wrong-value"}),
        ({"InputType": 5}, {"InputType": "wrong-value"}),
        ({"InputType": ["CSV"]}, {"InputType": "wrong-value"}),
        ({"InputTyp": "CSV"}, {"InputTyp": "unknown-field"}),
        ({"Transformation": "FLATTEN"}, {"Transformation": "wrong-value"}),
        ({"InputType": "CSV", "CSVDelimiter": ";"}, {"CSVDelimiter": "wrong-value"}),
        ({"InputType": "CSV", "CSVHeaderLocation": "LAST_ROW"}, {"CSVHeaderLocation": "wrong-value"}),
        ({"InputType": "CSV", "CSVHeaderLocation": "GIVEN"}, {"": "missing-field"}),
        ({"InputType": "CSV", "CSVHeaderLocation": "GIVEN", "CSVHeaders": "a,b"}, {"CSVHeaders": "wrong-type"}),
        ({"InputType": "CSV", "CSVHeaderLocation": "GIVEN", "CSVHeaders": [1]}, {"CSVHeaders": "wrong-type"}),
        ({"InputType": "CSV", "CSVHeaderLocation": "GIVEN", "CSVHeaders": []}, {"CSVHeaders": "wrong-type"}),
        ({"MaxItems": 1, "MaxItemsPath": "$.n"}, {"": "exclusive-fields"}),
        ({"MaxItems": -1}, {"MaxItems": "out-of-range"}),
        ({"MaxItems": 100_000_001}, {"MaxItems": "out-of-range"}),
        ({"MaxItems": 1.5}, {"MaxItems": "wrong-type"}),
        ({"MaxItemsPath": "n"}, {"MaxItemsPath": "bad-path"}),
        ({"MaxItemsPath": "$.n[*]"}, {"MaxItemsPath": "bad-path"}),
        ({"MaxItemsPath": 5}, {"MaxItemsPath": "wrong-type"}),
        ({"ItemsPointer": "a"}, {"ItemsPointer": "wrong-value"}),
        ({"ItemsPointer": 1}, {"ItemsPointer": "wrong-type"}),
        ({"InputType": "JSON", "ManifestType": "S3_INVENTORY"}, {"InputType": "exclusive-fields"}),
        ({"Transformation": "LOAD_AND_FLATTEN", "InputType": "JSON"}, {"Transformation": "wrong-value"}),
    ],
)
def test_a_reader_config_has_only_fields_that_fit_its_input_type(
    faults: Any, config: dict[str, Any], expected: dict[str, str]
) -> None:
    at = "ItemReader/ReaderConfig"
    pointers = {f"{at}/{key}" if key else at: code for key, code in expected.items()}
    assert found(faults, of(ItemReader={**READER, "ReaderConfig": config})) == pointers


def test_listed_objects_are_loaded_by_their_type(faults: Any) -> None:
    def ask(**config: Any) -> dict[str, str]:
        return found(faults, of(ItemReader={**LISTER, "ReaderConfig": config}))

    assert ask() == {}
    assert ask(Transformation="LOAD_AND_FLATTEN", InputType="JSON") == {}
    assert ask(Transformation="LOAD_AND_FLATTEN") == {"ItemReader/ReaderConfig": "missing-field"}
    manifests = ask(Transformation="LOAD_AND_FLATTEN", InputType="MANIFEST")
    assert manifests == {"ItemReader/ReaderConfig/InputType": "wrong-value"}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"ItemReader": {"Resource": "arn:aws-cn:states:::s3:getObject"}}, {}),
        ({"ItemReader": {"Resource": "arn:${AWS::Partition}:states:::s3:listObjectsV2"}}, {}),
        ({"ItemReader": {"Resource": "arn:aws:states:::dynamodb:scan"}}, {"ItemReader/Resource": "wrong-value"}),
        ({"ItemReader": {"Resource": "s3:getObject"}}, {"ItemReader/Resource": "wrong-value"}),
        ({"ItemReader": {**READER, "ReaderConfig": []}}, {"ItemReader/ReaderConfig": "wrong-type"}),
        ({"ItemReader": {**READER, "Parameters": "b"}}, {"ItemReader/Parameters": "wrong-type"}),
        ({"ResultWriter": WRITER}, {}),
        ({"ResultWriter": {"WriterConfig": {"Transformation": "COMPACT", "OutputType": "JSONL"}}}, {}),
        ({"ResultWriter": {}}, {"ResultWriter": "missing-field"}),
        ({"ResultWriter": {"Resource": WRITER["Resource"]}}, {"ResultWriter": "missing-field"}),
        ({"ResultWriter": {"Parameters": {"Bucket": "b"}}}, {"ResultWriter": "missing-field"}),
        ({"ResultWriter": {**WRITER, "Resource": READER["Resource"]}}, {"ResultWriter/Resource": "wrong-value"}),
        (
            {"ResultWriter": {"WriterConfig": {"Transform": "FLATTEN"}}},
            {"ResultWriter/WriterConfig/Transform": "unknown-field"},
        ),
        (
            {"ResultWriter": {"WriterConfig": {"Transformation": "FLAT", "OutputType": "CSV"}}},
            {
                "ResultWriter/WriterConfig/Transformation": "wrong-value",
                "ResultWriter/WriterConfig/OutputType": "wrong-value",
            },
        ),
        ({"ItemBatcher": {"MaxItemsPerBatch": 1, "MaxInputBytesPerBatch": 262_144}}, {}),
        ({"ItemBatcher": {"MaxItemsPerBatchPath": "$.n"}}, {}),
        ({"ItemBatcher": {}}, {"ItemBatcher": "missing-field"}),
        ({"ItemBatcher": {"BatchInput": {"a": 1}}}, {"ItemBatcher": "missing-field"}),
        ({"ItemBatcher": {"MaxItemsPerBatch": 1, "BatchInput": 5}}, {"ItemBatcher/BatchInput": "wrong-type"}),
        ({"ItemBatcher": {"MaxInputBytesPerBatch": 262_145}}, {"ItemBatcher/MaxInputBytesPerBatch": "out-of-range"}),
        ({"ItemBatcher": {"MaxItemsPerBatch": 1, "MaxItemsPerBatchPath": "$.n"}}, {"ItemBatcher": "exclusive-fields"}),
        (
            {"ItemBatcher": {"MaxItemPerBatch": 1, "MaxItemsPerBatch": 1}},
            {"ItemBatcher/MaxItemPerBatch": "unknown-field"},
        ),
    ],
)
def test_reader_writer_and_batcher(faults: Any, fields: dict[str, Any], expected: dict[str, str]) -> None:
    assert found(faults, of(**fields)) == expected


def test_in_jsonata_a_setting_may_be_an_expression(faults: Any) -> None:
    reader = {
        "Resource": READER["Resource"],
        "ReaderConfig": {"InputType": "{% 'CSV' %}", "CSVDelimiter": "{% $states.input.d %}", "MaxItems": "{% 1 %}"},
        "Arguments": "{% {'Bucket': 'b', 'Key': 'k'} %}",
    }
    writer = {"WriterConfig": {"Transformation": "{% 'FLATTEN' %}"}}
    batcher = {"MaxItemsPerBatch": "{% 2 %}", "BatchInput": "{% {} %}"}
    fields = {"ItemReader": reader, "ResultWriter": writer, "ItemBatcher": batcher}
    assert found(faults, of(language="JSONata", **fields)) == {}
    reader["ReaderConfig"] = {"MaxItemsPath": "$.n"}
    expected = {"ItemReader/ReaderConfig/MaxItemsPath": "mixed-query-languages"}
    assert found(faults, of(language="JSONata", **fields)) == expected


def test_a_misspelt_reader_field_suggests_the_near_name() -> None:
    for reader, message in (({"InputTyp": "CSV"}, "'InputType'"), ({"InputType": "PARQET"}, "'PARQUET'")):
        with pytest.raises(DefinitionError, match=f"did you mean {message}"):
            load(of(ItemReader={**READER, "ReaderConfig": reader}))


@pytest.mark.parametrize("label", ["", "x" * 41, "a b", "a:b", "a/b", "a*", "a?", "[a]", "a#b", "a\tb", "a\x7f", "a,b"])
def test_what_is_no_label(faults: Any, label: str) -> None:
    assert found(faults, of(Label=label)) == {"Label": "wrong-value"}


@pytest.mark.parametrize("label", ["x" * 40, "orders-2024_v1.2", "größe", "a=b+c@d!"])
def test_a_label_may_have_any_other_characters(faults: Any, label: str) -> None:
    assert found(faults, of(Label=label)) == {}


def test_a_label_identifies_one_map_in_the_whole_definition(faults: Any) -> None:
    one = of(Label="L")["States"]["M"]
    inner = {**one, "ItemProcessor": {**one["ItemProcessor"], "StartAt": "Q", "States": {"Q": PASS}}}
    outer = {"Type": "Parallel", "Branches": [{"StartAt": "N", "States": {"N": inner}}], "End": True}
    definition = {"StartAt": "M", "States": {"M": {**one, "End": False, "Next": "O"}, "O": outer}}
    del definition["States"]["M"]["End"]
    assert faults(definition) == {
        "/States/M/Label": "duplicate-label",
        "/States/O/Branches/0/States/N/Label": "duplicate-label",
    }


# What an EXPRESS machine cannot do


def task(resource: str) -> dict[str, Any]:
    return {"Type": "Task", "Resource": resource, "End": True}


def express(definition: Any) -> dict[str, str]:
    try:
        load(definition, type="EXPRESS")
    except DefinitionError as error:
        return {each.pointer: each.code for each in error.diagnostics}
    return {}


@pytest.mark.parametrize(
    "resource",
    [
        "arn:aws:states:::states:startExecution.sync",
        "arn:aws:states:::states:startExecution.sync:2",
        "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
        "arn:aws:states:::lambda:invoke.waitForTaskToken",
        "Ask.waitForTaskToken",
        "arn:aws:states:eu-west-1:123456789012:activity:paint",
        "arn:aws-cn:states:cn-north-1:123456789012:activity:paint",
    ],
)
def test_an_express_machine_waits_for_nothing_outside(faults: Any, resource: str) -> None:
    branch = {"StartAt": "T", "States": {"T": task(resource)}}
    definition = {"StartAt": "P", "States": {"P": {"Type": "Parallel", "Branches": [branch], "End": True}}}
    assert express(definition) == {"/States/P/Branches/0/States/T/Resource": "not-in-express"}
    assert faults(definition) == {}


def test_an_express_machine_has_no_distributed_map(faults: Any) -> None:
    assert express(of()) == {"/States/M": "not-in-express"}
    assert express(of(mode="INLINE")) == {}
    assert faults(of()) == {}


@pytest.mark.parametrize("resource", ["f", "arn:aws:states:::states:startExecution", "arn:aws:states:::lambda:invoke"])
def test_an_express_machine_calls_and_starts(resource: str) -> None:
    assert express({"StartAt": "T", "States": {"T": task(resource)}}) == {}


def test_items_that_are_express_executions_wait_for_nothing_outside_either(faults: Any) -> None:
    for kind, expected in (("STANDARD", {}), ("EXPRESS", "not-in-express")):
        definition = of(kind=kind)
        definition["States"]["M"]["ItemProcessor"]["States"] = {"P": task("Ask.waitForTaskToken")}
        at = "/States/M/ItemProcessor/States/P/Resource"
        assert faults(definition) == ({at: expected} if expected else {})
