"""Typed reads: an input or output is read as a class, or the read says which places do not match."""

from __future__ import annotations

import dataclasses
import enum
from collections import deque
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime
from typing import Any, Literal

import attrs
import msgspec
import pydantic
import pytest

from statechain import BatchExecutionResult, Engine, Execution, ExecutionFailed, ExecutionStatus, InvalidPayload

ECHO = {"StartAt": "Echo", "States": {"Echo": {"Type": "Pass", "End": True}}}
FAIL = {"StartAt": "Fail", "States": {"Fail": {"Type": "Fail", "Error": "Declined"}}}


@attrs.frozen
class Line:
    sku: str
    count: int


@dataclasses.dataclass(frozen=True)
class Invoice:
    number: str
    due: date
    lines: list[Line]


class Struct(msgspec.Struct):
    sku: str


class Model(pydantic.BaseModel):
    sku: str


INVOICE = '{"number":"INV-7","due":"2025-01-31","lines":[{"sku":"lamp","count":2}]}'


def ended(output_text: str | None, status: ExecutionStatus = ExecutionStatus.SUCCEEDED) -> Execution:
    return Execution(
        id="e",
        name="order-3",
        state_machine_id="m",
        state_machine_revision=1,
        status=status,
        input_text='{"sku":"lamp","count":2}',
        output_text=output_text,
        start_time=datetime(2025, 6, 1, tzinfo=UTC),
    )


def test_an_output_and_an_input_are_read_as_classes() -> None:
    execution = ended(INVOICE)
    assert execution.output_as(Invoice) == Invoice("INV-7", date(2025, 1, 31), [Line("lamp", 2)])
    assert execution.input_as(Line) == Line("lamp", 2)


@pytest.mark.parametrize(
    ("text", "type_", "value"),
    [
        ('[{"sku":"a","count":1}]', list[Line], [Line("a", 1)]),
        ('{"sku":"a","more":1}', Struct, Struct("a")),
        ('{"sku":"a"}', Model, Model(sku="a")),
        ("null", Line | None, None),
        (None, Line | None, None),
        ("5", int, 5),
        ("null", None, None),
        (None, type(None), None),
        ('{"a":[1]}', dict[str, list[int]], {"a": [1]}),
        ('{"a":[1,"x"]}', Any, {"a": [1, "x"]}),
    ],
)
def test_classes_of_each_library_and_json_itself_can_be_read(text: str | None, type_: Any, value: object) -> None:
    assert ended(text).output_as(type_) == value


@pytest.mark.parametrize(
    ("text", "type_", "message"),
    [
        ('{"sku":1}', Line, "the output of execution 'order-3' is not a valid Line: .*got a number @ .*sku"),
        ('{"sku":1}', Model, "is not a valid Model: .* @ .*sku"),
        ('"5"', int, "is not a valid int: expected an integer, got a string"),
        ('{"a":[1,"x"]}', dict[str, list[int]], r"not a valid dict\[str, list\[int\]\]: .*got a string"),
        (None, Line, "is not a valid Line"),
        ('{"sku":"a"}', None, "is not a valid NoneType: expected null, got an object"),
        ("5", type(None), "is not a valid NoneType: expected null, got a number"),
    ],
)
def test_what_does_not_match_is_refused_with_its_places(text: str | None, type_: Any, message: str) -> None:
    with pytest.raises(InvalidPayload, match=message):
        ended(text).output_as(type_)


@pytest.mark.parametrize(
    "type_",
    [
        *(set, frozenset, tuple, list, deque, AbstractSet),
        *(set[str], frozenset[str], tuple[str, ...], list[str], deque[str], Sequence[str], AbstractSet[str]),
    ],
)
@pytest.mark.parametrize("text", ['"abc"', '{"a":"b"}'])
def test_only_an_array_is_read_as_a_collection(text: str, type_: Any) -> None:
    with pytest.raises(InvalidPayload, match="expected an array, got "):
        ended(text).output_as(type_)
    assert list(ended('["a"]').output_as(type_)) == ["a"]


def test_a_message_shows_no_value_of_the_payload() -> None:
    with pytest.raises(InvalidPayload) as raised:
        ended('{"sku":"secret","count":"secret"}').output_as(Line)
    assert "secret" not in str(raised.value)


class Colour(enum.Enum):
    RED = "red"


@attrs.frozen
class Card:
    number: int
    colour: Colour = Colour.RED


@pytest.mark.parametrize(
    ("type_", "text", "expected"),
    [
        (Literal["card", "cash"], '"hidden"', "expected one of 'card', 'cash', got a string"),
        (int | bool, '"hidden"', "expected one of int, bool, got a string"),
        (int | str | None, '{"hidden":1}', "expected one of int, str, null, got an object"),
        (Card | Line, '{"hidden":1}', "expected one of Card, Line, got an object"),
        (Colour, '"hidden"', "expected one of 'red', got a string"),
        (Card, '{"number":1,"colour":"hidden"}', r"expected one of 'red', got a string @ [$].colour"),
        (bytes, '"hidden \\u00e9"', "expected bytes in base85, got a string"),
        (list[bytes], '[{"hidden":1}]', r"expected bytes in base85, got an object @ [$]\[0\]"),
        (dict[str, date], '{"at":"hidden"}', "expected an ISO 8601 date, got a string"),
    ],
    ids=str,
)
def test_a_choice_that_is_none_is_said_without_the_value(type_: Any, text: str, expected: str) -> None:
    with pytest.raises(InvalidPayload, match=expected) as refused:
        ended(text).output_as(type_)
    assert "hidden" not in str(refused.value)


def test_a_type_that_json_cannot_give_is_a_type_error() -> None:
    class Opaque:
        def __init__(self, connection: object) -> None: ...

    with pytest.raises(TypeError, match="the output of execution 'order-3' cannot be converted to Opaque"):
        ended("{}").output_as(Opaque)
    for wrong in (Opaque, list[Opaque], "Line", 3):
        with pytest.raises(TypeError, match=r"cattrs has no JSON form of the type (Opaque|Line|3)$"):
            ended("{}").output_as(wrong)


def test_an_item_of_a_batch_is_read_or_raises_its_error() -> None:
    execution = ended('{"sku":"a","count":1}')
    result = BatchExecutionResult(source_execution_id="s", index=0, execution=execution, error=None)
    assert result.output_as(Line) == Line("a", 1)
    with pytest.raises(LookupError, match="gone"):
        attrs.evolve(result, error=LookupError("gone")).output_as(Line)


async def test_a_handle_gives_its_result_as_a_class() -> None:
    async with Engine() as engine:
        echo = await engine.create_state_machine("echo", ECHO)
        handle = await echo.start_execution({"sku": "lamp", "count": 2})
        assert await handle.result(Line) == Line("lamp", 2)
        assert await handle.result() == {"sku": "lamp", "count": 2}
        with pytest.raises(InvalidPayload, match="is not a valid Invoice"):
            await handle.result(Invoice)
        failing = await engine.create_state_machine("fail", FAIL)
        with pytest.raises(ExecutionFailed, match="Declined"):
            await (await failing.start_execution()).result(Line)
