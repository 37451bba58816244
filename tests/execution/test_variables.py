"""Variables at work: what an Assign sees, which scope it sets, and how much variables may hold."""

from __future__ import annotations

from typing import Any

import pytest

from statechain import TaskError
from statechain.codec import size_of
from statechain.limits import KIB, Limits
from support.engine_harness import EngineHarness, machine, output, task

TOO_MUCH = "States.DataLimitExceeded"
SMALL = Limits(assign_bytes=1_000, variables_bytes=2_500)
SEE = {"Type": "Pass", "Parameters": {"x.$": "$x"}}


def giving(harness: EngineHarness, value: Any) -> None:
    async def give(_: Any) -> Any:
        if isinstance(value, Exception):
            raise value
        return value

    harness.tasks.add("Give", give)


def text(length: int) -> dict[str, Any]:
    """Return a state that assigns a variable of some length."""
    return {"QueryLanguage": "JSONata", "Type": "Pass", "Assign": {"x": f"{{% $pad('', {length}, 'x') %}}"}}


# What it sees


@pytest.mark.parametrize("kind", ["Task", "Parallel", "Map"])
async def test_assign_in_jsonpath_sees_the_result_as_it_came(quick: EngineHarness, kind: str) -> None:
    giving(quick, {"v": 7})
    give = machine(Give=task("Give"))
    path, select = ("$.v", "$.v") if kind == "Task" else ("$[0].v", "$[0].v")
    more = {"ResultSelector": {"k.$": select}, "Assign": {"x.$": path}, "Next": "See"}
    states: dict[str, Any] = {
        "Task": task("Give", **more),
        "Parallel": {"Type": "Parallel", "Branches": [give], **more},
        "Map": {"Type": "Map", "ItemProcessor": give, **more},
    }
    see = {"Type": "Pass", "Parameters": {"x.$": "$x", "k.$": "$.k"}}
    assert output(await quick.run(machine(Do=states[kind], See=see), [1])) == {"x": 7, "k": 7}


async def test_all_of_an_assign_sees_the_variables_as_they_were(quick: EngineHarness) -> None:
    swap = {"Type": "Pass", "Assign": {"x.$": "$y", "y.$": "$x"}, "Parameters": {"old.$": "$x"}, "Next": "See"}
    see = {"Type": "Pass", "Parameters": {"x.$": "$x", "y.$": "$y", "old.$": "$.old"}}
    first = {"Type": "Pass", "Assign": {"x": 1, "y": 2}, "Next": "Swap"}
    assert output(await quick.run(machine(First=first, Swap=swap, See=see))) == {"x": 2, "y": 1, "old": 1}


async def test_a_catcher_assigns_in_the_scope_of_its_state(quick: EngineHarness) -> None:
    giving(quick, TaskError("Broken"))
    branch = machine(In={"Type": "Pass", "Assign": {"x": "inner"}, "Next": "Give"}, Give=task("Give"))
    catch = [{"ErrorEquals": ["Broken"], "Assign": {"x.$": "$.Error"}, "Next": "See"}]
    do = {"Type": "Parallel", "Branches": [branch], "Catch": catch, "Next": "See"}
    assert output(await quick.run(machine(Do=do, See=SEE))) == {"x": "Broken"}


# How much they hold


@pytest.mark.parametrize("type_", ["STANDARD", "EXPRESS"])
@pytest.mark.parametrize("length", [256 * KIB - 8, 256 * KIB - 7])
async def test_one_assign_holds_256_kib(quick: EngineHarness, type_: str, length: int) -> None:
    ended = await quick.run(machine(Set=text(length)), type=type_)
    is_small = length + len('{"x":""}') <= 256 * KIB
    assert (ended.status, ended.error) == (("SUCCEEDED", None) if is_small else ("FAILED", TOO_MUCH))
    assert is_small or "state 'Set' assigns have more than 262144 bytes" in (ended.cause or "")


async def test_bytes_are_those_of_utf_8(quick: EngineHarness) -> None:
    await quick.close()
    await quick.open(limits=SMALL)
    for length, status in ((496, "SUCCEEDED"), (497, "FAILED")):
        assert (await quick.run(machine(Set={"Type": "Pass", "Assign": {"x": "é" * length}}))).status == status


SCALARS: dict[str, dict[str, Any]] = {
    "characters that are escaped": {"x": "\0" * 50},
    "characters of two bytes": {"x": "ü" * 50},
    "an empty text": {"x": ""},
    "a float of many digits": {"x": -2.2250738585072014e-308},
    "integers of many digits": {"x": 2**63 - 1, "y": -(2**63) + 1},
    "integers of more digits": {"x": 2**63, "y": 10**300},
    "constants": {"x": None, "y": True, "z": False},
    "a long name": {"x" * 80: 1},
    "many names": {f"x{number}": number for number in range(100)},
}


@pytest.mark.parametrize("assigned", SCALARS.values(), ids=SCALARS)
async def test_one_assign_holds_as_many_bytes_as_the_limit_and_no_more(
    quick: EngineHarness, assigned: dict[str, Any]
) -> None:
    definition = machine(Set={"Type": "Pass", "Assign": assigned})
    size = size_of(assigned)
    for limit, status in ((size, "SUCCEEDED"), (size - 1, "FAILED")):
        await quick.reopen(limits=Limits(assign_bytes=limit))
        ended = await quick.run(definition)
        assert (ended.status, ended.error) == (status, TOO_MUCH if status == "FAILED" else None)


async def test_all_variables_hold_as_many_bytes_as_the_limit_and_no_more(quick: EngineHarness) -> None:
    definition = filling("a", "b")
    size = 2 * size_of({"a": "x" * 800})
    for limit, status in ((size, "SUCCEEDED"), (size - 1, "FAILED")):
        await quick.reopen(limits=Limits(assign_bytes=1_000, variables_bytes=limit))
        assert (await quick.run(definition)).status == status


async def test_an_assign_that_is_too_large_is_caught(quick: EngineHarness) -> None:
    await quick.close()
    await quick.open(limits=SMALL)
    giving(quick, "x" * 1_000)
    catch = [{"ErrorEquals": [TOO_MUCH], "Assign": {"x.$": "$.Error"}, "Next": "See"}]
    work = task("Give", Assign={"big.$": "$"}, Catch=catch, Next="See")
    assert output(await quick.run(machine(Work=work, See=SEE))) == {"x": TOO_MUCH}


def filling(*names: str, **more: Any) -> dict[str, Any]:
    """Return a machine that assigns 800 characters to one variable after the other."""
    places = [f"{name}{number}" for number, name in enumerate(names)]
    ways = [*({"Next": place} for place in places[1:]), {"End": True}]
    states = {
        place: {"Type": "Pass", "Assign": {name: "x" * 800}, **way}
        for place, name, way in zip(places, names, ways, strict=True)
    }
    return {"StartAt": places[0], "States": states, **more}


@pytest.mark.parametrize("type_", ["STANDARD", "EXPRESS"])
async def test_an_execution_has_a_bound_for_all_its_variables(quick: EngineHarness, type_: str) -> None:
    await quick.close()
    await quick.open(limits=SMALL)
    ended = await quick.run(filling("a", "b", "c", "d"), type=type_)
    assert (ended.status, ended.error) == ("FAILED", TOO_MUCH)
    assert "variables of the execution would have more than 2500 bytes" in (ended.cause or "")
    assert (await quick.run(filling("a", "b", "c"), type=type_)).status == "SUCCEEDED"


async def test_a_variable_that_is_replaced_counts_once(quick: EngineHarness) -> None:
    await quick.close()
    await quick.open(limits=SMALL)
    assert (await quick.run(filling("a", "b", "a", "b", "c", "a", "b", "c"))).status == "SUCCEEDED"
    assert (await quick.run(filling("a", "b", "a", "b", "c", "a", "b", "d"))).status == "FAILED"


async def test_the_variables_of_branches_count_while_they_run(quick: EngineHarness) -> None:
    await quick.close()
    await quick.open(limits=SMALL)
    wait = {"Type": "Wait", "Seconds": 10, "End": True}

    def branch(name: str) -> dict[str, Any]:
        made = filling(f"{name}1", f"{name}2")
        made["States"][f"{name}21"] |= {"Next": f"{name}W"}
        del made["States"][f"{name}21"]["End"]
        made["States"][f"{name}W"] = wait
        return made

    both = machine(Do={"Type": "Parallel", "Branches": [branch("a"), branch("b")]})
    assert (await quick.run(both)).error == TOO_MUCH
    one = {"Type": "Parallel", "Branches": [branch("a")], "Next": "Then"}
    other = {"Type": "Parallel", "Branches": [branch("b")], "End": True}
    assert (await quick.run(machine(Do=one, Then=other))).status == "SUCCEEDED"


async def test_the_bound_holds_after_a_crash(harness: EngineHarness) -> None:
    await harness.reopen(limits=SMALL)
    hold = {"Type": "Wait", "Seconds": 3600, "Next": "c0"}
    for names, status in ((("a", "b", "b"), "SUCCEEDED"), (("a", "b", "c"), "FAILED")):
        first = filling(*names)
        last = first["States"][list(first["States"])[-1]]
        del last["End"]
        last["Next"] = "Hold"
        first["States"] |= {"Hold": hold, "c0": {"Type": "Pass", "Assign": {"e": "x" * 800}, "End": True}}
        handle = await harness.start(first)
        await harness.written(handle, len(names) + 1)
        await harness.reopen(limits=SMALL)
        assert (await harness.ended(handle.id)).status == status


# What no variable can be


@pytest.mark.parametrize("language", ["JSONPath", "JSONata"])
@pytest.mark.parametrize("kind", ["STANDARD", "EXPRESS"])
async def test_a_variable_nests_as_deep_as_a_payload(quick: EngineHarness, language: str, kind: str) -> None:
    taken = {"JSONPath": {"x.$": "$"}, "JSONata": {"x": "{% $states.input %}"}}[language]
    deeper = {"JSONPath": {"x": {"in.$": "$"}}, "JSONata": {"x": {"in": "{% $states.input %}"}}}[language]
    deep: Any = 1
    for _ in range(200):
        deep = [deep]
    assign = {"QueryLanguage": language, "Type": "Pass", "Next": "See"}
    fits = await quick.run(machine(Set={**assign, "Assign": taken}, See={"Type": "Succeed"}), deep, type=kind)
    assert (fits.status, fits.output) == ("SUCCEEDED", deep)
    too_deep = machine(Set={**assign, "Assign": deeper}, See={"Type": "Succeed"})
    created = await quick.engine.create_state_machine("deeper", too_deep, type=kind)
    ended = await (await created.start_execution(deep)).wait()
    assert ended.error == TOO_MUCH
    assert "nested deeper than 201 levels" in (ended.cause or "")


async def test_a_deep_variable_is_there_after_a_crash(quick: EngineHarness) -> None:
    deep: Any = 1
    for _ in range(200):
        deep = [deep]
    definition = machine(
        Set={"Type": "Pass", "Assign": {"x.$": "$"}, "Next": "Rest"},
        Rest={"Type": "Wait", "Seconds": 1, "Next": "See"},
        See={"Type": "Pass", "InputPath": "$x"},
    )
    started = await quick.start(definition, deep)
    await quick.written(started, 2)
    await quick.reopen()
    ended = await quick.ended(started.id)
    assert ended.output == deep
    events = await quick.history(ended)
    details = [each for event in events for each in event.values() if isinstance(each, dict)]
    (assigned,) = [each for each in details if "assignedVariables" in each]
    assert assigned["assignedVariables"] == {"x": ended.output_text}


@pytest.mark.parametrize("kind", ["STANDARD", "EXPRESS"])
async def test_a_variable_with_half_a_character_beside_the_other_half_is_no_json(
    quick: EngineHarness, kind: str
) -> None:
    assign = {"Type": "Pass", "Assign": {"x.$": "States.Format('{}\ude00', $)"}}
    ended = await quick.run(machine(Set=assign), "\ud83d", type=kind)
    assert ended.error == "States.Runtime"
    assert "a text holds a character split into two surrogates" in (ended.cause or "")
    assert "unexpected" not in (ended.cause or "")
