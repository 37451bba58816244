"""Where states lead, whether they end, names, and which errors are answered."""

from __future__ import annotations

from typing import Any

import pytest

from statechain.asl import load
from statechain.asl.reader import Hints, hint
from statechain.errors import DefinitionError
from support.calls import counted_calls

PASS = {"Type": "Pass", "End": True}
IS_NULL = {"Variable": "$.a", "IsNull": True}
TASK = {"Type": "Task", "Resource": "r", "End": True}


def of(start: str = "A", **states: Any) -> dict[str, Any]:
    return {"StartAt": start, "States": states}


def to(name: str) -> dict[str, Any]:
    return {"Type": "Pass", "Next": name}


@pytest.mark.parametrize(
    ("definition", "expected"),
    [
        (of(A=PASS), {}),
        (of("X", A=PASS), {"/StartAt": "missing-target", "/States/A": "unreachable"}),
        (of(A=to("X")), {"/States/A/Next": "missing-target", "/States": "no-end"}),
        (of(A=to("B"), B=to("A")), {"/States": "no-end"}),
        (of(A=to("B"), B=to("A"), C=to("A")), {"/States": "no-end"}),
        (of(A=to("B"), B=to("A"), C=PASS), {"/States/C": "unreachable"}),
        (of(A=PASS, B=to("C"), C=to("B")), {"/States/B": "unreachable", "/States/C": "unreachable"}),
        (of(**{"A": PASS, "b/c~": PASS}), {"/States/b~1c~0": "unreachable"}),
        (
            of(A={"Type": "Choice", "Choices": [{**IS_NULL, "Next": "X"}], "Default": "Y"}, B=PASS),
            {
                "/States/A/Choices/0/Next": "missing-target",
                "/States/A/Default": "missing-target",
                "/States/B": "unreachable",
            },
        ),
        (
            of(A={**TASK, "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "X"}]}),
            {"/States/A/Catch/0/Next": "missing-target"},
        ),
        (of(A={"Type": "Succeed"}), {}),
        (of(A={"Type": "Fail"}), {}),
    ],
)
def test_states_lead_somewhere_and_end(faults: Any, definition: Any, expected: dict[str, str]) -> None:
    assert faults(definition) == expected


def test_inside_a_state_too_but_there_a_loop_needs_no_end(faults: Any) -> None:
    def inner(machine: Any) -> dict[str, str]:
        found: dict[str, str] = faults(of(M={"Type": "Map", "ItemProcessor": machine, "End": True}, start="M"))
        return {pointer.removeprefix("/States/M/ItemProcessor"): code for pointer, code in found.items()}

    assert inner(of(A=to("B"), B=to("A"))) == {}
    assert inner(of("X", A=PASS)) == {"/StartAt": "missing-target", "/States/A": "unreachable"}
    assert inner(of(A=PASS, B=PASS)) == {"/States/B": "unreachable"}


def test_names_are_given_once_in_the_whole_definition(faults: Any) -> None:
    branch = of("P", P=PASS)
    assert faults(of(A={"Type": "Parallel", "Branches": [branch, branch], "End": True})) == {
        "/States/A/Branches/0/States/P": "duplicate-name",
        "/States/A/Branches/1/States/P": "duplicate-name",
    }


@pytest.mark.parametrize("field", ["Retry", "Catch"])
def test_all_errors_stand_alone_and_last(faults: Any, field: str) -> None:
    def ask(*names: list[str]) -> dict[str, str]:
        answers = [{"ErrorEquals": each, **({"Next": "B"} if field == "Catch" else {})} for each in names]
        found: dict[str, str] = faults(of(A={**TASK, field: answers}, B=PASS))
        return {pointer: code for pointer, code in found.items() if code != "unreachable"}

    assert ask(["E", "F"], ["States.ALL"]) == {}
    assert ask(["States.ALL", "E"]) == {f"/States/A/{field}/0/ErrorEquals": "states-all"}
    assert ask(["States.ALL"], ["E"]) == {f"/States/A/{field}/0/ErrorEquals": "states-all"}


def test_a_heartbeat_is_shorter_than_the_timeout(faults: Any) -> None:
    assert faults(of(A={**TASK, "TimeoutSeconds": 10, "HeartbeatSeconds": 9})) == {}
    assert faults(of(A={**TASK, "TimeoutSeconds": 10, "HeartbeatSeconds": 10})) == {
        "/States/A/HeartbeatSeconds": "out-of-range"
    }


def test_twice_the_states_cost_twice_the_calls(faults: Any) -> None:
    def calls_for(count: int) -> int:
        states: dict[str, Any] = {f"S{n}": to(f"S{n + 1}") for n in range(count)}
        with counted_calls() as calls:
            assert faults(of("S0", **states, **{f"S{count}": PASS})) == {}
        return calls()

    assert calls_for(3_000) <= 2.1 * calls_for(1_500)


@pytest.mark.slow
def test_ten_times_the_missing_targets_cost_twice_the_calls_at_most(faults: Any) -> None:
    def calls_for(count: int) -> int:
        states: dict[str, Any] = {f"State{n}": to(f"Sttae{n}") for n in range(count)}
        with counted_calls() as calls:
            found = faults(of("State0", **states, Last=PASS))
        assert sum(code == "missing-target" for code in found.values()) == count
        return calls()

    assert calls_for(2_000) <= 2 * calls_for(200)


def test_hints_are_given_until_the_comparisons_are_used_up() -> None:
    hints, names = Hints(most_comparisons=5), ["Price", "Charge"]
    assert hints.near("Prcie", names, "") == "; did you mean 'Price'?"
    assert hints.near("Chrage", names, "") == "; did you mean 'Charge'?"
    assert not hints.near("Pirce", names, "")
    assert hints.near("Prcie", names, "") == "; did you mean 'Price'?"


def test_a_name_that_is_too_long_has_no_near_one() -> None:
    assert not hint("x" * 100_000, ["x" * 100_001])


def test_a_misspelt_next_suggests_the_near_state(faults: Any) -> None:
    with pytest.raises(DefinitionError, match="did you mean 'Price'"):
        load(of("Prcie", Price=PASS))
