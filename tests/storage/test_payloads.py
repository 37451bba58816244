"""Hostile values through the public API, on every storage: kept exactly, or refused before anything is written."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from statechain import (
    DefinitionError,
    Engine,
    Execution,
    ExecutionFailed,
    ExecutionFilter,
    ExecutionNotFound,
    ExecutionStatus,
    InvalidPayload,
    InvalidToken,
    StateMachine,
    StateMachineNotFound,
    TaskError,
    TaskRegistry,
)

PASS = {"StartAt": "Keep", "States": {"Keep": {"Type": "Pass", "End": True}}}
TASK = {"StartAt": "Make", "States": {"Make": {"Type": "Task", "Resource": "make", "End": True}}}


def cycle() -> list[Any]:
    endless: list[Any] = []
    endless.append(endless)
    return endless


def nested(depth: int) -> Any:
    value: Any = "bottom"
    for _ in range(depth):
        value = [value]
    return value


KEPT: dict[str, Any] = {
    "nul": "a\x00b\x00",
    "lone surrogates": ["\ud800", "\udfff x", {"\udead": 1}],
    "big integers": [10**400, -(2**63), 2**64, 0],
    "floats": [0.1, -0.0, 5e-324, 1.7976931348623157e308, 1e22, 123456789.123456789],
    "integers are no floats": [1, 1.0, True, False, 0, 0.0],
    "quotes": 'it\'s "quoted" \\ \\u0000 / %s $1 ? :x {0}',
    "sql": "'; DROP TABLE executions; --",
    "odd keys": {"": 1, " ": 2, "a.b": 3, "$": 4, "x.$": "kept", "__proto__": 5, "é": 6, "e\u0301": 7, "\x00": 8},
    "key order": {"b": 1, "a": 2, "c": {"z": 1, "y": 2}},
    "dollar texts": ["$.x", "$$.Execution", "{% $x %}", "States.UUID()"],
    "deep": nested(190),
    "empty": [[], {}, "", None, [None], {"": {}}],
    "control characters": "".join(map(chr, range(32))) + "\x7f\u2028\u2029\ufeff\ufdd0\uffff",
    "many": list(range(20_000)),
    "a long text": "🦀" * 60_000,
}

REFUSED: dict[str, Any] = {
    "NaN": math.nan,
    "an infinity": [1, {"deep": [math.inf]}],
    "a negative infinity": {"a": -math.inf},
    "an integer key": {1: "x"},
    "a null key": {"a": {None: 1}},
    "a boolean key": {True: 1},
    "a float key": {1.5: 1},
    "a tuple key": {(1, 2): 1},
    "a set": {1, 2},
    "bytes": b"x",
    "a datetime": datetime(2026, 3, 1, tzinfo=UTC),
    "a decimal": Decimal("1.5"),
    "an object": object(),
    "a complex number": 1j,
    "a cycle": cycle(),
    "a split character": ["\ud83e\udd80"],
    "a split character in a key": {"\ud83e\udd80": 1},
    "two keys that JSON takes for one": {"\ud83e\udd80": 1, "🦀": 2},
    "too deep": nested(201),
    "far too deep": nested(100_000),
    "too large": "x" * 262_145,
    "too large in bytes": "é" * 131_072,
    "a megabyte": ["x" * 1_000_000],
    "an integer without end": 10**5_000,
}


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same to the type and to the sign of zero."""
    return repr(one) == repr(other)


async def nothing_is_stored(engine: Engine) -> bool:
    return await engine.count_executions(ExecutionFilter()) == 0


# Inputs


@pytest.mark.parametrize("value", KEPT.values(), ids=KEPT.keys())
async def test_an_input_is_kept_exactly(engine: Engine, value: Any) -> None:
    machine = await engine.create_state_machine("keep", PASS)
    execution = await machine.execute(value)
    for seen in (execution, await engine.get_execution(execution.id), *await engine.list_executions()):
        assert same(seen.input, value)
        assert same(seen.output, value)


@pytest.mark.parametrize("value", REFUSED.values(), ids=REFUSED.keys())
async def test_an_input_is_refused_before_anything_is_written(engine: Engine, value: Any) -> None:
    machine = await engine.create_state_machine("keep", PASS)
    with pytest.raises(InvalidPayload) as caught:
        await machine.execute(value)
    assert len(str(caught.value)) < 300
    assert await nothing_is_stored(engine)


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"orders": [1, {"total": math.nan}]}, "/orders/1/total"),
        ({"a/b": {"c~d": [math.inf]}}, "/a~1b/c~0d/0"),
        ({"secret": {"password": object()}}, "/secret/password"),
        ({"secret": {42: "hunter2"}}, "/secret"),
    ],
)
async def test_a_refusal_names_the_place_and_never_the_value(engine: Engine, value: Any, place: str) -> None:
    machine = await engine.create_state_machine("keep", PASS)
    with pytest.raises(InvalidPayload) as caught:
        await machine.execute(value)
    assert place in str(caught.value)
    assert "hunter2" not in str(caught.value)


async def test_tuples_are_arrays(engine: Engine) -> None:
    value: Any = {"point": (1, (2, 3))}
    machine = await engine.create_state_machine("keep", PASS)
    assert (await machine.execute(value)).output == {"point": [1, [2, 3]]}


async def test_what_was_given_may_change_afterwards(engine: Engine) -> None:
    machine = await engine.create_state_machine("keep", PASS)
    value: dict[str, Any] = {"lines": [1]}
    handle = await machine.start_execution(value)
    value["lines"].append(2)
    execution = await handle.wait()
    assert execution.output == {"lines": [1]}
    output: Any = execution.output
    output["lines"].append(3)
    assert execution.output == {"lines": [1]}


async def test_the_limit_is_that_of_the_text_in_utf_8(engine: Engine) -> None:
    machine = await engine.create_state_machine("keep", PASS)
    for text in ("x" * 262_142, "é" * 131_071, "🦀" * 65_535):
        assert (await machine.execute(text)).output == text


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ([1, 2], (1, 2), True),
        (1, 1.0, False),
        (1, True, False),
        ("é", "e\u0301", False),
        (0.0, -0.0, False),
    ],
)
async def test_one_name_is_one_input(engine: Engine, one: Any, other: Any, *, is_same: bool) -> None:
    machine = await engine.create_state_machine("keep", PASS)
    first = await machine.execute(one, name="order")
    if is_same:
        assert (await machine.execute(other, name="order")).id == first.id
    else:
        with pytest.raises(Exception, match="another input"):
            await machine.execute(other, name="order")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(value=json_values)
async def test_any_json_value_is_kept_exactly(engine: Engine, value: Any) -> None:
    machine = await engine.create_state_machine("keep", PASS)
    execution = await machine.execute(value)
    stored = await engine.get_execution(execution.id)
    assert same(stored.input, value)
    assert same(stored.output, value)


# What handlers return and raise


async def made_by(make_engine: Callable[..., Engine], handler: Callable[[Any], Any]) -> tuple[Execution, Execution]:
    """Run a handler in an execution; return the execution as it ended, and as another engine reads it."""
    tasks = TaskRegistry()
    tasks.add("make", handler)
    async with make_engine(tasks=tasks) as engine:
        machine = await engine.create_state_machine("make", TASK)
        handle = await machine.start_execution(None)
        ended = await handle.wait()
        history = await engine.get_execution_history(ended.id)
        assert history[-1]["type"] == f"Execution{ended.status.title().replace('_', '')}"
        return ended, await engine.get_execution(ended.id)


@pytest.mark.parametrize("value", KEPT.values(), ids=KEPT.keys())
async def test_an_output_is_kept_exactly(engine_factory: Callable[..., Engine], value: Any) -> None:
    for seen in await made_by(engine_factory, lambda _: value):
        assert seen.status is ExecutionStatus.SUCCEEDED
        assert same(seen.output, value)


@pytest.mark.parametrize("value", REFUSED.values(), ids=REFUSED.keys())
async def test_an_output_that_is_no_json_fails_the_task(engine_factory: Callable[..., Engine], value: Any) -> None:
    for seen in await made_by(engine_factory, lambda _: value):
        assert seen.status is ExecutionStatus.FAILED
        assert str(seen.error).startswith("States.")
        assert seen.cause
        assert seen.output is None


@pytest.mark.parametrize(
    "text",
    ["", "\x00", "a\x00b", "\ud800 lone", 'it\'s "q"', "🦀 Größe", "line\nbreak\r\n", "'; DROP TABLE x; --", "\ufdd0"],
    ids=ascii,
)
async def test_any_cause_is_kept_exactly(engine_factory: Callable[..., Engine], text: str) -> None:
    def fail(_: Any) -> None:
        raise TaskError("Card.Declined" + text, cause=text)

    for seen in await made_by(engine_factory, fail):
        assert (seen.status, seen.error, seen.cause) == (ExecutionStatus.FAILED, "Card.Declined" + text, text)


async def test_a_cause_without_end_is_cut_off(engine_factory: Callable[..., Engine]) -> None:
    def fail(_: Any) -> None:
        raise TaskError("Card.Declined", cause="🦀" * 1_000_000)

    for seen in await made_by(engine_factory, fail):
        assert seen.status is ExecutionStatus.FAILED
        assert 0 < len(str(seen.cause)) <= 32 * 1024


# Definitions, as text


NO_JSON = ["NaN", "Infinity", "-Infinity", "1e400", "-1e400", '{"a":1,"a":2}', "[1,]", "'x'", "01", '"\t"', "\ufeff1"]


@pytest.mark.parametrize("result", NO_JSON, ids=ascii)
async def test_a_text_that_is_no_strict_json_is_refused(engine: Engine, result: str) -> None:
    text = '{"StartAt":"S","States":{"S":{"Type":"Pass","Result":' + result + ',"End":true}}}'
    with pytest.raises(DefinitionError):
        await engine.create_state_machine("strict", text)
    assert await engine.list_state_machines() == []


async def test_a_definition_as_text_keeps_what_is_hard_to_keep(engine: Engine) -> None:
    text = r'{"StartAt":"S","States":{"S":{"Type":"Pass","Result":["\u0000","\ud800",1E2,0.10,-0],"End":true}}}'
    machine = await engine.create_state_machine("keep", text)
    assert same((await machine.execute()).output, ["\x00", "\ud800", 100.0, 0.1, 0])
    again = await engine.get_state_machine("keep")
    assert same(again.definition, machine.definition)


@pytest.mark.parametrize("name", ["a\x00b", "\ud800", 'it\'s "quoted" \\ % _', "🦀", "a/b~c[0]"], ids=ascii)
async def test_a_state_of_any_name_runs_or_is_refused(engine: Engine, name: str) -> None:
    definition = {"StartAt": name, "States": {name: {"Type": "Pass", "End": True}}}
    try:
        machine = await engine.create_state_machine("names", definition)
    except DefinitionError:
        assert await engine.list_state_machines() == []
        return
    execution = await machine.execute([1])
    assert execution.output == [1]
    assert (await engine.get_execution(execution.id)).current_state == name
    history = await engine.get_execution_history(execution.id)
    entered = [event["stateEnteredEventDetails"] for event in history if "stateEnteredEventDetails" in event]
    assert [details["name"] for details in entered] == [name]


# Names and ids

LITERAL = ["100%", "a_b", "back\\slash", "it's", 'say "x"', "Größe", "🦀", "x" * 80, "'; DROP TABLE x; --", "[a-z]*"]


async def test_names_are_kept_and_found_literally(engine: Engine) -> None:
    machine = await engine.create_state_machine("keep", PASS)
    for name in LITERAL:
        assert (await machine.execute(name=name)).name == name
    for name in LITERAL:
        found = await engine.list_executions(ExecutionFilter(name=name))
        assert [each.name for each in found] == [each for each in reversed(LITERAL) if name in each]


@pytest.mark.parametrize("name", ["", "x" * 81, "a\x00b", "line\nbreak", "\ud800", "\u202egnp", 7, b"x"], ids=ascii)
async def test_a_name_that_storage_cannot_keep_stores_nothing(engine: Engine, name: Any) -> None:
    machine = await engine.create_state_machine("keep", PASS)
    with pytest.raises(ValueError, match="name"):
        await machine.execute(name=name)
    with pytest.raises(ValueError, match="name"):
        await engine.create_state_machine(name, PASS)
    assert await nothing_is_stored(engine)


@pytest.mark.parametrize("key", ["", "\x00", "a\x00", "\ud800", "' OR 1=1 --", "%", "x" * 5_000], ids=ascii)
async def test_an_id_that_nothing_bears_is_not_found(engine: Engine, key: str) -> None:
    machine = await engine.create_state_machine("keep", PASS)
    await machine.execute()
    with pytest.raises(StateMachineNotFound):
        await engine.get_state_machine(key)
    for call in (engine.get_execution, engine.get_execution_history, engine.stop_execution, engine.redrive_execution):
        with pytest.raises(ExecutionNotFound):
            await call(key)
    with pytest.raises(ExecutionNotFound):
        await machine.execute(source=key)
    for answer in (engine.send_task_success(key, 1), engine.send_task_failure(key, "E", "c")):
        with pytest.raises(InvalidToken):
            await answer


async def stopped(machine: StateMachine, engine: Engine, error: str, cause: str) -> Execution:
    handle = await machine.start_execution()
    await handle.stop(error=error, cause=cause)
    return await engine.get_execution(handle.id)


@pytest.mark.parametrize("text", ["\x00", "\ud800", "it's", "🦀"], ids=ascii)
async def test_a_stop_may_give_any_reason(engine: Engine, text: str) -> None:
    definition = {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 600, "End": True}}}
    machine = await engine.create_state_machine("waits", definition)
    execution = await stopped(machine, engine, text, text)
    assert (execution.status, execution.error, execution.cause) == (ExecutionStatus.ABORTED, text, text)


async def test_a_chain_carries_a_value_exactly(engine: Engine) -> None:
    machine, target = await engine.create_state_machine("keep", PASS), await engine.create_state_machine("then", PASS)
    value: Any = {"kept": [KEPT[key] for key in ("nul", "lone surrogates", "big integers", "floats", "odd keys")]}
    source = await machine.execute(value)
    chained = await target.execute(source=source)
    assert same(chained.output, value)
    (result,) = await target.execute_batch(ExecutionFilter(state_machine_id=machine.id), "Keep")
    assert result.execution is not None
    assert same(result.execution.output, value)


async def test_a_transformer_that_returns_no_json_writes_nothing(engine: Engine) -> None:
    machine = await engine.create_state_machine("keep", PASS)
    source = await machine.execute()
    with pytest.raises(InvalidPayload):
        await machine.execute(source=source, input_transformer=lambda _: math.nan)
    assert await engine.count_executions(ExecutionFilter()) == 1


async def test_failures_keep_their_execution(engine: Engine) -> None:
    definition = {"StartAt": "F", "States": {"F": {"Type": "Fail", "Error": "E\x00", "Cause": "\ud800"}}}
    machine = await engine.create_state_machine("fails", definition)
    with pytest.raises(ExecutionFailed) as caught:
        await machine.execute()
    assert (caught.value.error, caught.value.cause) == ("E\x00", "\ud800")
    assert await engine.get_execution(caught.value.execution.id) == caught.value.execution
