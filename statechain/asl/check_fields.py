"""What stands in a state's fields → diagnostics: whether every path and expression compiles, and may stand there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

from statechain.asl import model
from statechain.asl.expressions.intrinsics import compile_intrinsic, is_intrinsic
from statechain.asl.expressions.jsonata import compile_jsonata, states_fields_in
from statechain.asl.expressions.jsonpath import compile_path, compile_reference_path, names_one_place
from statechain.asl.expressions.payload import expression_in
from statechain.asl.text import pointer_to
from statechain.codec import JSONValue
from statechain.errors import Diagnostic
from statechain.limits import Limits

__all__ = ["check_fields"]

Obj: TypeAlias = Mapping[str, JSONValue]
Faults: TypeAlias = Iterator[Diagnostic]

PATHS: Final = ("InputPath", "OutputPath", "ItemsPath")
"""Fields that hold a path."""

SINGLE_PATHS: Final = (
    "SecondsPath",
    "TimestampPath",
    "TimeoutSecondsPath",
    "HeartbeatSecondsPath",
    "MaxConcurrencyPath",
    "ToleratedFailureCountPath",
    "ToleratedFailurePercentagePath",
)
"""Fields that hold a path that names one place."""

TEXT_PATHS: Final = ("ErrorPath", "CausePath")
"""Fields that hold a path or an intrinsic function."""

TEMPLATES: Final = ("Parameters", "ResultSelector", "ItemSelector", "Assign", "Credentials")
EXPRESSIONS: Final = (
    "Arguments",
    "Items",
    "ItemSelector",
    "ItemReader",
    "ItemBatcher",
    "ResultWriter",
    "MaxConcurrency",
    "ToleratedFailureCount",
    "ToleratedFailurePercentage",
    "TimeoutSeconds",
    "HeartbeatSeconds",
    "Seconds",
    "Timestamp",
    "Error",
    "Cause",
    "Credentials",
)
"""Fields of a JSONata state that see its input alone; Output and Assign see its result too, where it has one."""

ON_EXIT: Final = ("Output", "Assign")
BEFORE: Final = frozenset({"result", "errorOutput"})
WITH_RESULT: Final = frozenset({"errorOutput"})
IN_CATCH: Final = frozenset({"result"})


def check_fields(state: model.State, value: Obj, limits: Limits) -> Faults:
    """Yield every fault of what a state's fields hold; ``value`` is what the state was made from."""
    check = _check_jsonata_state if state.query_language == "JSONata" else _check_jsonpath_state
    yield from check(state, value, limits)


def _members(value: Obj, key: str, state: model.State) -> Iterator[tuple[Obj, str]]:
    """Yield the objects of an array field, each with its pointer."""
    members = value.get(key)
    for place, member in enumerate(members if isinstance(members, list) else ()):
        if isinstance(member, dict):
            yield member, f"{state.pointer}/{key}/{place}"


# JSONata


def _check_jsonata_state(state: model.State, value: Obj, limits: Limits) -> Faults:
    yield from _check_expressions(value, EXPRESSIONS, state.pointer, BEFORE, limits)
    has_result = isinstance(state, model.Task | model.Parallel | model.Map)
    yield from _check_expressions(value, ON_EXIT, state.pointer, WITH_RESULT if has_result else BEFORE, limits)
    for catcher, pointer in _members(value, "Catch", state):
        yield from _check_expressions(catcher, ON_EXIT, pointer, IN_CATCH, limits)
    for rule, pointer in _members(value, "Choices", state):
        yield from _check_expressions(rule, ("Condition", *ON_EXIT), pointer, BEFORE, limits)


def _check_expressions(
    value: Obj, fields: tuple[str, ...], pointer: str, absent: frozenset[str], limits: Limits
) -> Faults:
    """Check expressions in some fields, where some fields of ``$states`` are absent."""
    pending = [(value[key], pointer_to(pointer, key)) for key in fields if key in value]
    while pending:
        item, at = pending.pop()
        if isinstance(item, dict):
            pending.extend((each, pointer_to(at, key)) for key, each in item.items())
        elif isinstance(item, list):
            pending.extend((each, pointer_to(at, place)) for place, each in enumerate(item))
        elif (expression := expression_in(item)) is not None:
            yield from _check_expression(expression, at, absent, limits)


def _check_expression(expression: str, pointer: str, absent: frozenset[str], limits: Limits) -> Faults:
    try:
        compile_jsonata(expression, limits=limits)
        used = states_fields_in(expression) & absent
    except ValueError as fault:
        yield _bad("bad-expression", fault, pointer)
        return
    for name in sorted(used):
        yield Diagnostic("states-field", f"there is no $states.{name} here: {WHERE[name]}", pointer=pointer)


WHERE: Final = {
    "result": "only Output and Assign of a Task, Parallel or Map state have it",
    "errorOutput": "only Output and Assign of a Catcher have it",
}


# JSONPath


def _check_jsonpath_state(state: model.State, value: Obj, limits: Limits) -> Faults:
    yield from _check_paths(value, state.pointer, limits)
    for key in TEMPLATES:
        yield from _check_template(value.get(key), pointer_to(state.pointer, key), limits)
    yield from _check_reference(value.get("ResultPath"), pointer_to(state.pointer, "ResultPath"))
    for catcher, pointer in _members(value, "Catch", state):
        yield from _check_reference(catcher.get("ResultPath"), f"{pointer}/ResultPath")
        yield from _check_template(catcher.get("Assign"), f"{pointer}/Assign", limits)
    for rule, pointer in _members(value, "Choices", state):
        yield from _check_rule({**rule}, pointer, limits)
    for key, template in (("ItemReader", "Parameters"), ("ResultWriter", "Parameters"), ("ItemBatcher", "BatchInput")):
        inner = value.get(key)
        if isinstance(inner, dict):
            pointer = pointer_to(state.pointer, key)
            yield from _check_template(inner.get(template), pointer_to(pointer, template), limits)
            for name in ("MaxItemsPerBatchPath", "MaxInputBytesPerBatchPath"):
                yield from _check_path(inner.get(name), pointer_to(pointer, name), limits, single=True)
            config = inner.get("ReaderConfig")
            if isinstance(config, dict):
                at = f"{pointer}/ReaderConfig/MaxItemsPath"
                yield from _check_path(config.get("MaxItemsPath"), at, limits, single=True)


def _check_paths(value: Obj, pointer: str, limits: Limits) -> Faults:
    for key in PATHS:
        yield from _check_path(value.get(key), pointer_to(pointer, key), limits)
    for key in SINGLE_PATHS:
        yield from _check_path(value.get(key), pointer_to(pointer, key), limits, single=True)
    for key in TEXT_PATHS:
        yield from _check_text(value.get(key), pointer_to(pointer, key), limits)


def _check_rule(rule: JSONValue, pointer: str, limits: Limits) -> Faults:
    pending = [(rule, pointer)]
    while pending:
        each, at = pending.pop()
        if not isinstance(each, dict):
            continue
        for key, item in each.items():
            here = pointer_to(at, key)
            if key in {"And", "Or"} and isinstance(item, list):
                pending.extend((inner, pointer_to(here, index)) for index, inner in enumerate(item))
            elif key == "Not":
                pending.append((item, here))
            elif key == "Assign":
                yield from _check_template(item, here, limits)
            elif key == "Variable" or key.endswith("Path"):
                yield from _check_path(item, here, limits)


def _check_template(template: JSONValue, pointer: str, limits: Limits) -> Faults:
    pending = [(template, pointer)]
    while pending:
        item, at = pending.pop()
        if isinstance(item, list):
            pending.extend((each, pointer_to(at, index)) for index, each in enumerate(item))
        elif isinstance(item, dict):
            for key, each in item.items():
                here = pointer_to(at, key)
                if key.endswith(".$"):
                    yield from _check_dynamic(key, each, item, here, limits)
                else:
                    pending.append((each, here))


def _check_dynamic(key: str, value: JSONValue, siblings: Obj, pointer: str, limits: Limits) -> Faults:
    if isinstance(value, str):
        yield from _check_text(value, pointer, limits)
    else:
        message = "the value of a key that ends in .$ is a path or an intrinsic function, as a string"
        yield Diagnostic("wrong-type", message, pointer=pointer)
    if key[:-2] in siblings:
        yield Diagnostic("exclusive-fields", f"{key[:-2]!r} is given twice, with and without .$", pointer=pointer)


def _check_text(text: JSONValue, pointer: str, limits: Limits) -> Faults:
    if not isinstance(text, str) or not is_intrinsic(text):
        yield from _check_path(text, pointer, limits)
        return
    try:
        compile_intrinsic(text, limits=limits)
    except ValueError as fault:
        yield _bad("bad-function", fault, pointer)


def _check_path(path: JSONValue, pointer: str, limits: Limits, *, single: bool = False) -> Faults:
    if not isinstance(path, str):
        return
    try:
        compile_path(path, limits=limits)
    except ValueError as fault:
        yield _bad("bad-path", fault, pointer)
        return
    if single and not names_one_place(path):
        yield Diagnostic("bad-path", f"{path!r} may find several values, and this field wants one", pointer=pointer)


def _check_reference(path: JSONValue, pointer: str) -> Faults:
    if isinstance(path, str):
        try:
            compile_reference_path(path)
        except ValueError as fault:
            yield _bad("bad-path", fault, pointer)


def _bad(code: str, fault: ValueError, pointer: str) -> Diagnostic:
    column = getattr(fault, "column", 0)
    return Diagnostic(code, f"{fault} (at character {column + 1} of it)", pointer=pointer)
