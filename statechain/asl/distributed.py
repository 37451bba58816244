"""What only a distributed Map has, value → model: its reader, batcher, writer and label."""

from __future__ import annotations

import re
from collections.abc import Iterable

from statechain.asl import model
from statechain.asl.grammar import BATCHER, LABEL, PARTS, READER_RESOURCES, TOLERANCES, WRITER_RESOURCES, Part
from statechain.asl.model import ABSENT, QueryLanguage
from statechain.asl.reader import Obj, Reader, hint, is_expression
from statechain.asl.text import pointer_to
from statechain.codec import JSONValue

__all__ = ["item_batcher", "item_reader", "label", "refuse_inline", "result_writer"]

INTEGRATION = re.compile(r"arn:.+:states:::(?P<action>.+)")


def refuse_inline(reader: Reader, value: Obj, pointer: str, language: QueryLanguage) -> None:
    """Note the fields of an inline Map that only a distributed one has.

    AWS takes a tolerated failure there where it is an expression, to no effect: so does this.
    """
    for key, field in PARTS["Map"].fields.items():
        if field.is_distributed and key in value and not (key in TOLERANCES and _is_expression(value[key], language)):
            message = f"{key} is for a distributed Map: set Mode to 'DISTRIBUTED' in its ProcessorConfig"
            reader.report("distributed-only", message, pointer_to(pointer, key))


def label(reader: Reader, value: Obj, pointer: str) -> str | None:
    """Read a Label."""
    found = reader.text(value, "Label", pointer)
    if found is not None and not LABEL.fullmatch(found):
        message = "a Label has 1 to 40 characters, without white space, brackets, wildcards and signs such as : / #"
        reader.report("wrong-value", message, pointer_to(pointer, "Label"))
    return found


def item_reader(reader: Reader, value: Obj, pointer: str, language: QueryLanguage) -> model.ItemReader | None:
    """Read an ItemReader."""
    found = reader.typed(value, "ItemReader", dict, pointer, "an object")
    if found is None:
        return None
    at = pointer_to(pointer, "ItemReader")
    reader.part(found, PARTS["ItemReader"], language, at)
    resource = reader.required_text(found, "Resource", at, "an ItemReader")
    _check_resource(reader, resource, READER_RESOURCES, at, "an ItemReader")
    config = _object(reader, found, "ReaderConfig", at, language)
    if isinstance(config, dict):
        _check_reader_config(reader, config, resource, pointer_to(at, "ReaderConfig"), language)
    return model.ItemReader(
        resource=resource,
        reader_config=config,
        parameters=_object(reader, found, "Parameters", at, language),
        arguments=_object(reader, found, "Arguments", at, language),
    )


def item_batcher(reader: Reader, value: Obj, pointer: str, language: QueryLanguage) -> model.ItemBatcher | None:
    """Read an ItemBatcher."""
    found = reader.typed(value, "ItemBatcher", dict, pointer, "an object")
    if found is None:
        return None
    at = pointer_to(pointer, "ItemBatcher")
    part = PARTS["ItemBatcher"]
    reader.part(found, part, language, at)
    if not found.keys() & {*BATCHER, *(f"{name}Path" for name in BATCHER)}:
        reader.report("missing-field", f"an ItemBatcher needs a bound: {' or '.join(BATCHER)}", at)
    items, size = BATCHER
    return model.ItemBatcher(
        batch_input=_object(reader, found, "BatchInput", at, language),
        max_items=reader.number(found, part.fields[items], at, language),
        max_items_path=reader.text(found, f"{items}Path", at),
        max_bytes=reader.number(found, part.fields[size], at, language),
        max_bytes_path=reader.text(found, f"{size}Path", at),
    )


def result_writer(reader: Reader, value: Obj, pointer: str, language: QueryLanguage) -> model.ResultWriter | None:
    """Read a ResultWriter."""
    found = reader.typed(value, "ResultWriter", dict, pointer, "an object")
    if found is None:
        return None
    at = pointer_to(pointer, "ResultWriter")
    reader.part(found, PARTS["ResultWriter"], language, at)
    arguments = "Parameters" if language == "JSONPath" else "Arguments"
    if not found.keys() & {"Resource", "WriterConfig", "Parameters", "Arguments"}:
        reader.report("missing-field", f"a ResultWriter needs WriterConfig, or Resource and {arguments}", at)
    elif ("Resource" in found) != (arguments in found):
        reader.report("missing-field", f"a ResultWriter has Resource and {arguments} together", at)
    resource = reader.text(found, "Resource", at)
    if resource is not None:
        _check_resource(reader, resource, WRITER_RESOURCES, at, "a ResultWriter")
    config = _object(reader, found, "WriterConfig", at, language)
    if isinstance(config, dict):
        config_at = pointer_to(at, "WriterConfig")
        reader.part(config, PARTS["WriterConfig"], language, config_at)
        _check_words(reader, config, PARTS["WriterConfig"], config_at, language)
    return model.ResultWriter(
        resource=resource,
        writer_config=config,
        parameters=_object(reader, found, "Parameters", at, language),
        arguments=_object(reader, found, "Arguments", at, language),
    )


def _object(reader: Reader, value: Obj, key: str, pointer: str, language: QueryLanguage) -> model.Optional:
    """Return a field that holds an object, or in JSONata an expression that gives one."""
    found = value.get(key, ABSENT)
    if found is ABSENT or _is_expression(found, language):
        return found
    # In the place of what is wrong: its error is noted, and reading goes on to find the others.
    return reader.typed(value, key, dict, pointer, "an object") or {}


def _is_expression(value: JSONValue | model.Absent, language: QueryLanguage) -> bool:
    return language == "JSONata" and isinstance(value, str) and is_expression(value)


def _check_resource(reader: Reader, resource: str, actions: Iterable[str], pointer: str, what: str) -> None:
    """Note an integration that a distributed Map does not have."""
    match = INTEGRATION.fullmatch(resource)
    if resource and (match is None or match["action"] not in actions):
        known = " or ".join(f"arn:aws:states:::{action}" for action in actions)
        reader.report("wrong-value", f"the Resource of {what} is {known}", pointer_to(pointer, "Resource"))


def _check_words(reader: Reader, config: Obj, part: Part, pointer: str, language: QueryLanguage) -> None:
    """Note fields that take one of some words and hold something else."""
    for key, field in part.fields.items():
        found, known = config.get(key), field.words
        if key in config and known and found not in known and not _is_expression(found, language):
            near = hint(found, known) if isinstance(found, str) else ""
            reader.report("wrong-value", f"{key} is one of {', '.join(known)}{near}", pointer_to(pointer, key))


def _check_reader_config(reader: Reader, config: Obj, resource: str, pointer: str, language: QueryLanguage) -> None:
    part = PARTS["ReaderConfig"]
    reader.part(config, part, language, pointer)
    _check_words(reader, config, part, pointer, language)
    reader.number(config, part.fields["MaxItems"], pointer, language)
    reader.text(config, "MaxItemsPath", pointer)
    _check_items_pointer(reader, config, pointer, language)
    _check_headers(reader, config, pointer, language)
    _check_input_type(reader, config, resource, pointer)


def _check_items_pointer(reader: Reader, config: Obj, pointer: str, language: QueryLanguage) -> None:
    found = reader.text(config, "ItemsPointer", pointer)
    if found and not found.startswith("/") and not _is_expression(found, language):
        message = "ItemsPointer is a JSON pointer, such as /orders/items"
        reader.report("wrong-value", message, pointer_to(pointer, "ItemsPointer"))


def _check_headers(reader: Reader, config: Obj, pointer: str, language: QueryLanguage) -> None:
    """Note headers that are to be given and are not, or are no strings."""
    headers = config.get("CSVHeaders")
    if "CSVHeaders" not in config:
        if config.get("CSVHeaderLocation") == "GIVEN":
            message = "a ReaderConfig needs CSVHeaders where CSVHeaderLocation is 'GIVEN'"
            reader.report("missing-field", message, pointer)
        return
    strings = isinstance(headers, list) and all(isinstance(header, str) for header in headers)
    if not (strings and headers) and not _is_expression(headers, language):
        reader.report("wrong-type", "CSVHeaders must be an array of strings", pointer_to(pointer, "CSVHeaders"))


def _check_input_type(reader: Reader, config: Obj, resource: str, pointer: str) -> None:
    """Note settings that contradict each other: what an inventory holds is known, what objects hold is not."""
    if config.get("ManifestType") == "S3_INVENTORY" and config.get("InputType") not in (None, "MANIFEST"):
        message = "an inventory's files are CSV: InputType is not given with ManifestType 'S3_INVENTORY'"
        reader.report("exclusive-fields", message, pointer_to(pointer, "InputType"))
    if config.get("Transformation") == "LOAD_AND_FLATTEN":
        at = pointer_to(pointer, "Transformation")
        if not resource.endswith("listObjectsV2"):
            reader.report("wrong-value", "LOAD_AND_FLATTEN loads the objects that s3:listObjectsV2 lists", at)
        if "InputType" not in config:
            reader.report("missing-field", "LOAD_AND_FLATTEN needs the InputType of the objects", pointer)
        elif config["InputType"] == "MANIFEST":
            message = "LOAD_AND_FLATTEN loads objects that hold items: their InputType is CSV, JSON, JSONL or PARQUET"
            reader.report("wrong-value", message, pointer_to(pointer, "InputType"))
