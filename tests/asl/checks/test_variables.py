"""Variables: their names and scopes."""

from __future__ import annotations

from typing import Any

import pytest


def of(assign: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"StartAt": "A", "States": {"A": {"Type": "Pass", "Assign": assign, "End": True, **fields}}}


@pytest.mark.parametrize("name", ["a", "A_1", "größe", "名", "x" * 80])
def test_a_legal_variable_name_is_accepted_in_both_languages(faults: Any, name: str) -> None:
    assert faults(of({name: 1})) == {}
    assert faults(of({f"{name}.$": "$.a"})) == {}
    assert faults({**of({name: "{% 1 %}"}), "QueryLanguage": "JSONata"}) == {}


@pytest.mark.parametrize("name", ["", "1a", "a b", "a-b", "a.b", "$a", "x" * 81, "states"])
def test_what_is_no_name(faults: Any, name: str) -> None:
    assert set(faults(of({name: 1})).values()) == {"variable-name"}
    assert set(faults({**of({name: 1}), "QueryLanguage": "JSONata"}).values()) == {"variable-name"}


def test_a_value_may_have_any_keys(faults: Any) -> None:
    assert faults(of({"a": {"any key": {"states": 1}}})) == {}


def test_an_inner_scope_does_not_hide_an_outer_one(faults: Any) -> None:
    inner = {"StartAt": "P", "States": {"P": {"Type": "Pass", "Assign": {"x": 1}, "End": True}}}
    for below in ({"Type": "Map", "ItemProcessor": inner}, {"Type": "Parallel", "Branches": [inner]}):
        states = {"A": {**below, "Next": "B"}, "B": {"Type": "Pass", "Assign": {"x.$": "$.a"}, "End": True}}
        assert set(faults({"StartAt": "A", "States": states}).values()) == {"duplicate-variable"}
        states["B"]["Assign"] = {"y": 1}
        assert faults({"StartAt": "A", "States": states}) == {}


def test_a_catcher_may_assign_what_a_branch_assigned(faults: Any) -> None:
    def ask(*, elsewhere: bool = False, outermost: str = "y") -> set[str]:
        inner: Any = {"StartAt": "P", "States": {"P": {"Type": "Pass", "Assign": {"x": 1}, "End": True}}}
        branch = {"StartAt": "M", "States": {"M": {"Type": "Map", "ItemProcessor": inner, "End": True}}}
        catch = [{"ErrorEquals": ["States.ALL"], "Next": "B", "Assign": {"x.$": "$.Error"}}]
        states = {
            "A": {"Type": "Parallel", "Branches": [branch], "Catch": catch, "Next": "B"},
            "B": {"Type": "Pass", "Assign": {"x" if elsewhere else "y": 1}, "End": True},
        }
        whole = {"StartAt": "A", "States": states}
        outer = {"Type": "Parallel", "Branches": [whole], "Assign": {outermost: 1}, "End": True}
        assert set(faults({"StartAt": "O", "States": {"O": {**outer, "Assign": {"z": 1}}}}).values()) == set(
            faults(whole).values()
        )
        return set(faults({"StartAt": "O", "States": {"O": outer}}).values())

    assert ask(outermost="z") == set()
    assert ask(elsewhere=True, outermost="z") == {"duplicate-variable"}
    assert ask(outermost="x") == {"duplicate-variable"}


def test_a_catcher_of_another_state_counts(faults: Any) -> None:
    inner = {"StartAt": "P", "States": {"P": {"Type": "Pass", "Assign": {"x": 1}, "End": True}}}
    catch = [{"ErrorEquals": ["States.ALL"], "Next": "B", "Assign": {"x.$": "$.Error"}}]
    states = {
        "A": {"Type": "Task", "Resource": "r", "Catch": catch, "Next": "B"},
        "B": {"Type": "Parallel", "Branches": [inner], "End": True},
    }
    assert set(faults({"StartAt": "A", "States": states}).values()) == {"duplicate-variable"}


def test_the_items_of_a_distributed_map_hide_nothing(faults: Any) -> None:
    config = {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}
    last = {"StartAt": "Q", "States": {"Q": {"Type": "Pass", "Assign": {"x": 1}, "End": True}}}
    assigning = {"Type": "Pass", "Assign": {"x": 1}, "Next": "R"}
    running = {"Type": "Parallel", "Branches": [last], "End": True}
    inner = {"ProcessorConfig": config, "StartAt": "P", "States": {"P": assigning, "R": running}}
    states = {"A": {"Type": "Map", "ItemProcessor": inner, "Assign": {"x": 1}, "End": True}}
    found = faults({"StartAt": "A", "States": states})
    assert found == {"/States/A/ItemProcessor/States/R/Branches/0/States/Q/Assign/x": "duplicate-variable"}


def test_branches_have_scopes_of_their_own(faults: Any) -> None:
    branches = [
        {"StartAt": name, "States": {name: {"Type": "Pass", "Assign": {"x": 1}, "End": True}}} for name in ("P", "Q")
    ]
    state = {"Type": "Parallel", "Branches": branches, "End": True}
    assert faults({"StartAt": "A", "States": {"A": state}}) == {}


def test_rules_and_catchers_assign_too(faults: Any) -> None:
    rule = {"Variable": "$.a", "IsNull": True, "Next": "B", "Assign": {"states": 1}}
    task = {
        "Type": "Task",
        "Resource": "r",
        "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "C", "Assign": {"1": 1}}],
        "Next": "C",
    }
    states = {"A": {"Type": "Choice", "Choices": [rule], "Default": "B"}, "B": task, "C": {"Type": "Succeed"}}
    assert faults({"StartAt": "A", "States": states}) == {
        "/States/A/Choices/0/Assign/states": "variable-name",
        "/States/B/Catch/0/Assign/1": "variable-name",
    }
