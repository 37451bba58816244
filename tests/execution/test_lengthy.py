"""The event loop goes on while a long expression is evaluated and a large definition is read: that is in a thread."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from statechain import DefinitionError, Engine, ExecutionStatus, TaskError
from statechain.asl import definition as definition_module
from statechain.asl.effort import STEPS_ON_LOOP, need_time
from statechain.asl.expressions.jsonata.engine import Engine as JSONata
from statechain.codec import encode
from statechain.engine import machines
from statechain.errors import InvalidPayload
from support.engine_harness import EngineHarness, machine, task

pytestmark = pytest.mark.slow  # evaluations that take long

LONG = "$sum($map([1..3000], function($i) { $i + 1 }))"
TOTAL = sum(range(2, 3002))
ROWS: list[Any] = [{"id": place} for place in range(STEPS_ON_LOOP)]


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Return the kinds of threads in which the steps beyond the first ones were taken."""
    used: list[str] = []
    go_on = JSONata._go_on

    def noted(self: JSONata) -> None:
        go_on(self)
        used.append("loop" if threading.current_thread() is threading.main_thread() else "thread")

    monkeypatch.setattr(JSONata, "_go_on", noted)
    yield used
    assert "loop" not in used


def jsonata(**states: dict[str, Any]) -> dict[str, Any]:
    return {"QueryLanguage": "JSONata", **machine(**states)}


@pytest.mark.parametrize("type_", ["STANDARD", "EXPRESS"])
async def test_a_long_expression_is_evaluated_in_a_thread_wherever_it_is(
    quick: EngineHarness, type_: Any, threads: list[str]
) -> None:
    async def work(value: Any) -> Any:
        if value == "fail":
            raise KeyError(value)
        return value

    quick.tasks.add("work", work)
    long = f"{{% {LONG} %}}"
    definitions = {
        "Pass": jsonata(S={"Type": "Pass", "Output": long}),
        "Assign": jsonata(
            S={"Type": "Pass", "Assign": {"x": long}, "Next": "T"}, T={"Type": "Pass", "Output": "{% $x %}"}
        ),
        "Choice": jsonata(
            S={"Type": "Choice", "Choices": [{"Condition": f"{{% {LONG} > 5 %}}", "Next": "T", "Output": long}]},
            T={"Type": "Succeed"},
        ),
        "Arguments": jsonata(S=task("work", Arguments=long)),
        "Output": jsonata(S=task("work", Output=long)),
        "Catch": jsonata(
            S=task("work", Arguments="fail", Catch=[{"ErrorEquals": ["KeyError"], "Output": long, "Next": "T"}]),
            T={"Type": "Succeed"},
        ),
        "Map": jsonata(
            S={
                "Type": "Map",
                "Items": [1, 2],
                "ItemSelector": long,
                "ItemProcessor": machine(I={"Type": "Pass"}),
                "Output": "{% $states.result[0] %}",
            }
        ),
    }
    for name, definition in definitions.items():
        threads.clear()
        ended = await quick.run(definition, type=type_)
        assert (ended.status, ended.output) == (ExecutionStatus.SUCCEEDED, TOTAL), (name, ended.error, ended.cause)
        assert threads, name


@pytest.mark.parametrize("type_", ["STANDARD", "EXPRESS"])
async def test_a_long_expression_sees_what_a_short_one_would(
    quick: EngineHarness, type_: Any, threads: list[str]
) -> None:
    async def work(value: Any) -> Any:
        if value == "fail":
            raise TaskError("Broken")
        return [value]

    quick.tasks.add("work", work)

    def late(*seen: str) -> str:
        """Return an expression that takes long, and shows something."""
        return f"{{% [{LONG}, [{', '.join(seen)}]][1] %}}"

    catch = [{"ErrorEquals": ["Broken"], "Output": late("$states.errorOutput.Error", "$states.input"), "Next": "T"}]
    last = {"Type": "Succeed"}
    name = "$states.context.State.Name"
    definitions: dict[str, tuple[dict[str, Any], Any]] = {
        "Pass": (jsonata(S={"Type": "Pass", "Output": late(name, "$states.input")}), ["S", 7]),
        "Arguments": (jsonata(S=task("work", Arguments=late(name, "$states.input"))), [["S", 7]]),
        "Output": (jsonata(S=task("work", Output=late(name, "$states.input", "$states.result[0]"))), ["S", 7, 7]),
        "Catch": (jsonata(S=task("work", Arguments="fail", Catch=catch), T=last), ["Broken", 7]),
    }
    for place, (definition, expected) in definitions.items():
        threads.clear()
        ended = await quick.run(definition, 7, type=type_)
        assert (place, ended.output, ended.cause) == (place, expected, None)
        assert threads, place


@pytest.mark.parametrize("place", ["Arguments", "Output"])
async def test_a_long_expression_of_a_task_that_fails_is_explained(
    quick: EngineHarness, place: str, threads: list[str]
) -> None:
    async def work(value: Any) -> Any:
        return value

    quick.tasks.add("work", work)
    endless = "{% ($f := function($n) {$f($n + 1)}; $f(0)) %}"
    ended = await quick.run(jsonata(S=task("work", **{place: endless})))
    assert ended.error == "States.QueryEvaluationError"
    assert "while executing the state 'S' (entered at the event id #2)" in str(ended.cause)
    assert threads


async def test_a_long_expression_that_fails_is_the_states_error(quick: EngineHarness, threads: list[str]) -> None:
    ended = await quick.run(jsonata(S={"Type": "Pass", "Output": "{% ($f := function($n) {$f($n + 1)}; $f(0)) %}"}))
    assert ended.error == "States.QueryEvaluationError"
    assert "(entered at the event id #2)" in str(ended.cause)
    assert threads


async def test_what_a_long_expression_draws_is_drawn_once(quick: EngineHarness) -> None:
    ended = await quick.run(
        jsonata(
            S={"Type": "Pass", "Assign": {"x": "{% $random() %}"}, "Next": "T"},
            T={"Type": "Pass", "Output": {"a": "{% $uuid() %}", "b": f"{{% [{LONG}, $uuid()] %}}"}},
        )
    )
    output: Any = ended.output
    assert output["a"] != output["b"][1]


async def test_a_path_that_passes_many_nodes_is_evaluated_in_a_thread(quick: EngineHarness) -> None:
    ended = await quick.run(machine(S={"Type": "Pass", "InputPath": "$[?(@.id > 5)]"}), ROWS[:4000])
    assert ended.output == ROWS[6:4000]


@pytest.fixture
def read_in(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the kinds of threads in which definitions were read."""
    used: list[str] = []
    for module, name in ((definition_module, "parse"), (machines, "same_json")):
        function = getattr(module, name)

        def noted(*arguments: Any, function: Any = function, **options: Any) -> Any:
            used.append("loop" if threading.current_thread() is threading.main_thread() else "thread")
            return function(*arguments, **options)

        monkeypatch.setattr(module, name, noted)
    return used


def large(**last: Any) -> dict[str, Any]:
    states: dict[str, Any] = {f"S{n}": {"Type": "Pass", "Next": f"S{n + 1}"} for n in range(600)}
    return machine(**states, S600={"Type": "Pass", **last})


@pytest.mark.parametrize("as_text", [True, False])
async def test_a_large_definition_is_read_in_a_thread(
    quick: EngineHarness, read_in: list[str], *, as_text: bool
) -> None:
    definition = large()
    created = await quick.engine.create_state_machine("large", json.dumps(definition) if as_text else definition)
    assert (await created.execute()).status is ExecutionStatus.SUCCEEDED
    small = machine(S={"Type": "Pass"})
    await quick.engine.create_state_machine("small", json.dumps(small) if as_text else small)
    assert read_in == ["thread", "loop"]
    with pytest.raises(DefinitionError):
        await quick.engine.create_state_machine("large", {**definition, "StartAt": "Nowhere"})


LENGTHY: dict[str, dict[str, Any]] = {
    "a long text": {"Result": "x" * 20_000},
    "a list of many": {"Result": [0] * 600},
    "many within few": {"Result": [[0] * 90 for _ in range(9)]},
    "a tuple of many": {"Result": (0,) * 600},
}


@pytest.mark.parametrize("state", LENGTHY.values(), ids=LENGTHY)
async def test_a_definition_with_a_large_part_is_read_in_a_thread(
    quick: EngineHarness, read_in: list[str], state: dict[str, Any]
) -> None:
    await quick.engine.create_state_machine("large", machine(S={"Type": "Pass", **state}))
    assert set(read_in) == {"thread"}


async def test_a_definition_in_a_file_is_read_in_a_thread(
    quick: EngineHarness, read_in: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "small.json"
    file.write_text(json.dumps(machine(S={"Type": "Pass"})))
    await quick.engine.create_state_machine("small", file)
    assert read_in == ["thread"]


async def test_another_revision_of_a_large_definition_is_compared_and_drawn_in_a_thread(
    quick: EngineHarness, read_in: list[str]
) -> None:
    await quick.engine.create_state_machine("large", large())
    changed = await quick.engine.create_state_machine("large", large(Comment="another"))
    assert changed.revision == 2
    ended = await changed.execute()
    assert "S600" in await quick.engine.draw_execution(ended.id, "dot")
    assert set(read_in) == {"thread"}


async def test_a_large_stored_definition_is_read_again(harness: EngineHarness) -> None:
    await harness.engine.create_state_machine("large", large())
    await harness.reopen()
    found = await harness.engine.get_state_machine("large")
    assert (await found.execute(5)).output == 5


def test_depth_counts_what_is_innermost() -> None:
    value: Any = [[]]
    assert encode(value, max_depth=1) == "[[]]"
    for deeper in ([[1]], [[], {"a": [1]}], ({"a": ({"b": 1},)},)):
        with pytest.raises(InvalidPayload, match="deeper than 1"):
            encode(deeper, max_depth=1)


async def test_the_history_shows_what_a_long_expression_made(quick: EngineHarness) -> None:
    async def work(value: Any) -> Any:
        return value

    quick.tasks.add("work", work)
    drawn = f"{{% {{'sum': {LONG}, 'drawn': $random()}} %}}"
    definition = jsonata(S=task("work", Arguments=drawn))
    started = await quick.start(definition, {})
    ended = await started.wait()
    scheduled = next(event for event in await quick.history(started) if event["type"].endswith("Scheduled"))
    (details,) = (value for key, value in scheduled.items() if key.endswith("Details"))
    assert json.loads(details.get("input") or details["parameters"]) == ended.output


def test_an_expression_may_take_long_in_a_thread_whose_engine_was_left() -> None:
    async def open_and_leave() -> None:
        async with Engine():
            pass

    asyncio.run(open_and_leave())
    need_time()  # raises TakesLong where an engine's event loop would be held
