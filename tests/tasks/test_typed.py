"""Handlers that take and return attrs classes, dataclasses, Structs and models; what does not fit names its places."""

from __future__ import annotations

import dataclasses
import enum
import functools
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, NewType, Optional, TypedDict, TypeVar
from uuid import UUID

import attrs
import msgspec
import pydantic
import pytest

from statechain import Engine, Execution, TaskContext, TaskRegistry
from statechain.codec import JSONValue

if TYPE_CHECKING:
    from collections.abc import Hashable as Unreachable

T = TypeVar("T")
CALL = {"StartAt": "Call", "States": {"Call": {"Type": "Task", "Resource": "call", "End": True}}}


@attrs.frozen
class Line:
    sku: str
    count: int = attrs.field(validator=attrs.validators.gt(0))


class Colour(enum.Enum):
    RED = "red"


@attrs.define
class Order:
    id: int
    lines: list[Line]
    note: str | None = None
    colour: Colour = Colour.RED


@attrs.define
class Page(Generic[T]):
    items: list[T]


@dataclasses.dataclass
class Invoice:
    total: float
    due: datetime
    lines: tuple[Line, ...] = ()


class Struct(msgspec.Struct, rename="camel"):
    order_id: int
    tags: list[str] = []


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)

    order_id: int = pydantic.Field(alias="orderId")
    due: datetime | None = None


class Shape(TypedDict):
    id: int


Run = Callable[..., Awaitable[Execution]]


@pytest.fixture
def run() -> Run:
    """Run an execution whose one Task calls a handler; return it as it ended."""

    async def run(handler: Callable[..., Any], value: Any) -> Execution:
        tasks = TaskRegistry()
        tasks.add("call", handler)
        async with Engine(tasks=tasks) as engine:
            machine = await engine.create_state_machine("call", CALL)
            return await (await machine.start_execution(value)).wait()

    return run


ORDER = {"id": 7, "lines": [{"sku": "lamp", "count": 2}], "kept": "no"}


async def test_an_attrs_class_is_taken_and_a_dataclass_returned(run: Run) -> None:
    async def price(order: Order, context: TaskContext) -> Invoice:
        assert order == Order(7, [Line("lamp", 2)])
        assert context.attempt == 1
        return Invoice(19.0, datetime(2025, 1, 31, tzinfo=UTC), tuple(order.lines))

    ended = await run(price, ORDER)
    assert ended.output == {
        "total": 19.0,
        "due": "2025-01-31T00:00:00+00:00",
        "lines": [{"sku": "lamp", "count": 2}],
    }


async def test_a_handler_of_an_express_machine_is_typed_too() -> None:
    tasks = TaskRegistry()

    @tasks.register
    async def call(line: Line) -> Line:
        return attrs.evolve(line, count=line.count + 1)

    async with Engine(tasks=tasks) as engine:
        machine = await engine.create_state_machine("call", CALL, type="EXPRESS")
        assert (await machine.execute({"sku": "lamp", "count": 1})).output == {"sku": "lamp", "count": 2}
        ended = await (await machine.start_execution({"sku": "lamp", "count": 0})).wait()
    assert ended.error == "States.TaskFailed"


async def test_a_plain_function_a_partial_a_method_and_a_callable_are_typed_too(run: Run) -> None:
    def plain(order: Order) -> list[Line]:
        return order.lines

    class Priced:
        def __call__(self, order: Order) -> int:
            return order.id

        async def method(self, order: Order) -> int:
            return order.id + 1

        def awaited(self, order: Order) -> Awaitable[Line]:
            async def first() -> Line:
                return order.lines[0]

            return first()

    def partial(factor: int, order: Order) -> int:
        return order.id * factor

    for handler, output in (
        (plain, [{"sku": "lamp", "count": 2}]),
        (Priced(), 7),
        (Priced().method, 8),
        (Priced().awaited, {"sku": "lamp", "count": 2}),
        (functools.partial(partial, 3), 21),
    ):
        assert (await run(handler, ORDER)).output == output


@pytest.mark.parametrize(
    ("value", "causes"),
    [
        ({}, ["a required field is missing @ $.id", "a required field is missing @ $.lines"]),
        ({"id": "7", "lines": []}, ["expected an integer, got a string @ $.id"]),
        ({"id": True, "lines": []}, ["expected an integer, got a boolean @ $.id"]),
        ({"id": 7.5, "lines": []}, ["expected an integer, got a number @ $.id"]),
        ({"id": 7, "lines": "no list"}, ["expected an array, got a string @ $.lines"]),
        ({"id": 7, "lines": {}}, ["expected an array, got an object @ $.lines"]),
        ({"id": 7, "lines": [3]}, ["expected an object, got a number @ $.lines[0]"]),
        ({"id": 7, "lines": [{"sku": None, "count": 1}]}, ["expected a string, got null @ $.lines[0].sku"]),
        ({"id": 7, "lines": [{"sku": "lamp", "count": 0}]}, ["'count' must be > 0", "@ $.lines[0]"]),
        ({"id": 7, "lines": [], "note": 5}, ["expected a string, got a number @ $.note"]),
        ({"id": 7, "lines": [], "colour": "blue"}, ["@ $.colour"]),
        ([], ["expected an object, got an array @ $"]),
        (None, ["expected an object, got null @ $"]),
    ],
)
async def test_an_input_that_does_not_fit_fails_and_names_its_places(run: Run, value: Any, causes: list[str]) -> None:
    called = []

    async def price(order: Order) -> None:
        called.append(order)

    ended = await run(price, value)
    assert ended.error == "States.TaskFailed"
    assert ended.cause is not None
    assert ended.cause.startswith("the input of the handler 'call' is not a valid Order: ")
    for cause in causes:
        assert cause in ended.cause
    assert called == []


async def test_a_mismatch_with_many_places_shows_some(run: Run) -> None:
    async def price(orders: list[Line]) -> None: ...

    ended = await run(price, [{}] * 20)
    assert ended.cause is not None
    assert ended.cause.count("@ $[") == 8
    assert ended.cause.endswith("; and 32 more")


async def test_a_result_that_does_not_fit_fails(run: Run) -> None:
    answers: list[Any] = [None, {"total": "much"}, Invoice("much", datetime.now(UTC))]  # type: ignore[arg-type]

    async def price(index: int) -> Invoice:
        return answers[index]  # type: ignore[no-any-return]

    for index in range(len(answers)):
        ended = await run(price, index)
        assert ended.error == "States.TaskFailed"
        assert (ended.cause or "").startswith("the result of the handler 'call' is not a valid Invoice: ")


async def test_a_result_may_be_the_json_of_what_is_annotated(run: Run) -> None:
    async def pick(_value: object) -> Line:
        return {"sku": "lamp", "count": 1}  # type: ignore[return-value]

    assert (await run(pick, None)).output == {"sku": "lamp", "count": 1}


async def test_optionals_lists_and_mappings_of_models(run: Run) -> None:
    async def maybe(order: Order | None) -> Optional[Line]:  # noqa: UP045
        return None if order is None else order.lines[0]

    async def many(orders: Sequence[Order]) -> Mapping[str, Line]:
        return {str(order.id): order.lines[0] for order in orders}

    async def noted(order: Annotated[Order, "checked"]) -> Any:
        return order.id

    assert (await run(maybe, None)).output is None
    assert (await run(maybe, ORDER)).output == {"sku": "lamp", "count": 2}
    assert (await run(many, [ORDER])).output == {"7": {"sku": "lamp", "count": 2}}
    assert (await run(noted, ORDER)).output == 7
    assert "@ $[1]" in ((await run(many, [ORDER, 5])).cause or "")


async def test_a_generic_class(run: Run) -> None:
    async def first(page: Page[Line]) -> Line:
        return page.items[0]

    assert (await run(first, {"items": [{"sku": "lamp", "count": 1}]})).output == {"sku": "lamp", "count": 1}
    assert "@ $.items[0].sku" in ((await run(first, {"items": [{"sku": 1, "count": 1}]})).cause or "")


async def test_fields_of_many_kinds(run: Run) -> None:
    @attrs.define
    class Everything:
        id: UUID
        price: Decimal
        at: datetime
        kind: Literal["a", "b"]
        either: int | str
        shape: Shape
        anything: JSONValue
        thing: object
        counts: dict[str, int]
        unique: set[int]
        pair: tuple[int, str]
        ratio: float

    async def echo(value: Everything) -> Everything:
        assert isinstance(value.id, UUID)
        assert isinstance(value.price, Decimal)
        assert isinstance(value.at, datetime)
        assert value.unique == {1}
        assert value.pair == (1, "x")
        return value

    value = {
        "id": "12345678-1234-5678-1234-567812345678",
        "price": "9.50",
        "at": "2025-01-31T00:00:00+00:00",
        "kind": "a",
        "either": "x",
        "shape": {"id": 1},
        "anything": [1, {"deep": None}],
        "thing": {"raw": [1]},
        "counts": {"lamp": 1},
        "unique": [1],
        "pair": [1, "x"],
        "ratio": 2,
    }
    ended = await run(echo, value)
    assert (ended.cause, ended.output) == (None, value)
    for name in ("id", "price", "at", "kind", "either", "shape", "counts", "unique", "pair", "ratio"):
        ended = await run(echo, {**value, name: [[]]})
        assert ended.error == "States.TaskFailed", name
        assert f"@ $.{name}" in (ended.cause or ""), ended.cause


async def test_classes_that_are_local_and_know_each_other(run: Run) -> None:
    @attrs.define
    class Tree:
        name: str
        children: list[Tree]

    @dataclasses.dataclass
    class Forest:
        trees: list[Tree]

    async def count(forest: Forest) -> int:
        def size(tree: Tree) -> int:
            return 1 + sum(size(child) for child in tree.children)

        return sum(size(tree) for tree in forest.trees)

    leaf = {"name": "leaf", "children": []}
    assert (await run(count, {"trees": [{"name": "oak", "children": [leaf, leaf]}, leaf]})).output == 4
    ended = await run(count, {"trees": [{"name": "oak", "children": [{"name": "leaf"}]}]})
    assert "a required field is missing @ $.trees[0].children[0].children" in (ended.cause or "")


async def test_what_json_writes_as_a_text(run: Run) -> None:
    async def when(value: datetime) -> datetime:
        return value.replace(year=value.year + 1)

    async def paint(value: Colour | None) -> dict[str, Colour]:
        return {} if value is None else {value.name: value}

    async def identify(value: list[UUID]) -> list[Decimal]:
        return [Decimal(str(each.int)) for each in value]

    assert (await run(when, "2025-01-31T00:00:00+00:00")).output == "2026-01-31T00:00:00+00:00"
    assert (await run(when, "soon")).error == "States.TaskFailed"
    assert (await run(when, 5)).error == "States.TaskFailed"
    assert (await run(paint, "red")).output == {"RED": "red"}
    assert (await run(paint, "blue")).error == "States.TaskFailed"
    assert (await run(identify, ["00000000-0000-0000-0000-000000000009"])).output == ["9"]


async def test_msgspec_structs_are_taken_and_returned(run: Run) -> None:
    async def tag(value: Struct) -> list[Struct]:
        return [value, Struct(value.order_id + 1, ["new"])]

    assert (await run(tag, {"orderId": 1})).output == [
        {"orderId": 1, "tags": []},
        {"orderId": 2, "tags": ["new"]},
    ]
    ended = await run(tag, {"orderId": "1"})
    assert ended.error == "States.TaskFailed"
    assert ended.cause == (
        "the input of the handler 'call' is not a valid Struct: Expected `int`, got `str` - at `$.orderId`"
    )

    async def wrong(_value: object) -> Struct:
        return Struct("no")  # type: ignore[arg-type]

    assert "the result of the handler 'call' is not a valid Struct" in ((await run(wrong, None)).cause or "")


async def test_pydantic_models_are_taken_and_returned(run: Run) -> None:
    async def remind(value: Model) -> Model:
        return value.model_copy(update={"due": datetime(2025, 1, 31, tzinfo=UTC)})

    due = "2025-01-31T00:00:00Z"
    assert (await run(remind, {"orderId": 1, "due": due})).output == {"orderId": 1, "due": due}
    ended = await run(remind, {"orderId": "1"})
    assert ended.error == "States.TaskFailed"
    assert ended.cause == (
        "the input of the handler 'call' is not a valid Model: Input should be a valid integer @ $.orderId"
    )

    async def wrong(_value: object) -> list[Model]:
        return [{"orderId": "1"}]  # type: ignore[list-item]

    assert "@ $[0].orderId" in ((await run(wrong, None)).cause or "")


async def test_what_is_json_by_itself_passes_as_it_is(run: Run) -> None:
    Name = NewType("Name", str)

    async def shape(value: Shape) -> Shape:
        return value

    async def anything(value: JSONValue) -> dict[str, list[JSONValue]]:
        return {"value": [value]}

    async def name(value: Name) -> Name:
        return value

    async def bare(value, context):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        return value

    for handler in (shape, name, bare):
        assert (await run(handler, "not what is annotated")).output == "not what is annotated"
    assert (await run(anything, 1)).output == {"value": [1]}


def test_an_annotation_that_cannot_be_resolved_is_refused_at_registration() -> None:
    async def price(order: Unreachable) -> None: ...

    with pytest.raises(TypeError, match=r"the input of the handler 'price' is annotated with Unreachable, which cann"):
        TaskRegistry().register(price)


def test_a_context_that_cannot_be_resolved_is_nobodys_business() -> None:
    async def price(order: Order, context: Unreachable) -> None: ...

    TaskRegistry().register(price)


def test_a_field_that_nobody_can_convert_is_refused_at_registration() -> None:
    class Engine:
        pass

    @attrs.define
    class Car:
        engine: Engine

    async def drive(car: Car | None) -> None: ...

    with pytest.raises(TypeError, match=r"the input of the handler 'drive' cannot be converted to .*Car.*Engine"):
        TaskRegistry().register(drive)


def in_a_fresh_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def test_plain_handlers_load_no_library_that_converts() -> None:
    code = """
import sys
from statechain import TaskRegistry
TaskRegistry().add("plain", lambda value: value)
print(*({"cattrs", "msgspec", "pydantic"} & set(sys.modules)))
"""
    assert in_a_fresh_process(code).split() == []


def test_without_cattrs_the_extra_is_named() -> None:
    code = """
import sys
sys.modules["cattrs"] = None
import dataclasses
from statechain import TaskRegistry
@dataclasses.dataclass
class Order:
    id: int
def price(order: Order): ...
try:
    TaskRegistry().register(price)
except ModuleNotFoundError as fault:
    print(fault)
"""
    assert "pip install 'statechain[typed]'" in in_a_fresh_process(code)
