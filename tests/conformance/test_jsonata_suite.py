"""The public JSONata suite: each expression has the value, or the error's code, that jsonata.js gives it.

The suite's expressions have an input document, which a state has not: they are evaluated below the public API.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonata import jexception, utils

from statechain.asl.expressions.jsonata.budget import Exhausted
from statechain.asl.expressions.jsonata.engine import parse
from statechain.asl.expressions.jsonata.functions.table import new_engine
from statechain.asl.expressions.jsonata.values import to_json, to_library
from statechain.asl.expressions.regex import compile_regex, speed
from statechain.limits import DEFAULT_LIMITS, Limits
from support.recorded.external_cases import JSONATA, find_cases, require_cases
from support.visit import Visit

Case = dict[str, Any]

FOLDER = find_cases(JSONATA)
CASES: list[Case] = []
DATASETS: dict[str, Any] = {}
if FOLDER is not None:
    CASES = [json.loads(line) for line in (FOLDER / "cases.jsonl").read_text(encoding="utf-8").splitlines()]
    DATASETS = json.loads((FOLDER / "datasets.json").read_text(encoding="utf-8"))
GAPS: dict[str, str] = tomllib.loads(Path(__file__).with_name("jsonata_gaps.toml").read_text())["does_not_apply"]
LIMITS = Limits(jsonata_steps=1_000_000)
"""More steps than a state has: the suite measures other things than speed."""


REGEX_GROUPS = {"regex", "function-contains", "function-replace", "function-split", "function-tomillis", "matchers"}


def name_of(case: Case | None) -> str:
    return "none" if case is None else f"{case['group']}/{case['case']}"


def document(case: Case) -> Any:
    """Return the input of a case; an array is one document, not a sequence of its items."""
    value = to_library(case["data"] if "data" in case else DATASETS.get(case.get("dataset") or ""))
    if "data" not in case and not case.get("dataset"):
        return None
    if not isinstance(value, list):
        return value
    sequence = utils.Utils.create_sequence(value)
    sequence.outer_wrapper = True
    return sequence


def evaluate(case: Case) -> Case:
    """Return what an expression comes to, in the form in which a case says what is right."""
    root = document(case)
    bindings = {name: to_library(value) for name, value in (case.get("bindings") or {}).items()}
    limits = DEFAULT_LIMITS if name_of(case) in GAPS else LIMITS
    try:
        result = new_engine().run(parse(case["expr"]), {**bindings, "$": root}, Visit({}), limits, root)
    except jexception.JException as error:
        return {"code": error.error}
    except Exhausted as error:
        return {"code": str(error)}
    return {"undefinedResult": True} if result is None else {"result": to_json(result)}


def expected(case: Case) -> Case:
    if "error" in case:
        return {"code": case["error"]["code"]}
    return {key: case[key] for key in ("code", "undefinedResult", "result") if key in case}


def comparable(value: Case, *, unordered: bool) -> str:
    """Return a key that two results share exactly where they are equal: true is not 1, but 1.0 is."""
    result = value.get("result")
    if unordered and isinstance(result, list):
        value = {"result": sorted(result, key=lambda item: json.dumps(item, sort_keys=True))}
    return json.dumps(_with_whole_numbers(value), sort_keys=True)


def _with_whole_numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_whole_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_whole_numbers(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def test_the_suite_is_at_hand() -> None:
    require_cases(JSONATA)
    assert CASES


def test_every_gap_is_a_case_and_has_a_reason() -> None:
    require_cases(JSONATA)
    assert set(GAPS) <= set(map(name_of, CASES))
    assert all(GAPS.values())


@pytest.mark.parametrize("jsonata_case", CASES or [None], ids=name_of)
def test_evaluates_as_jsonata_does(jsonata_case: Case | None, record_property: Callable[[str, object], None]) -> None:
    require_cases(JSONATA)
    assert jsonata_case is not None
    record_property("conformance", ["conformance with the public JSONata suite", "all", jsonata_case["group"]])
    reason = GAPS.get(name_of(jsonata_case))
    unordered = bool(jsonata_case.get("unordered"))
    found = comparable(evaluate(jsonata_case), unordered=unordered)
    right = comparable(expected(jsonata_case), unordered=unordered)
    if reason is not None:
        assert found != right, f"listed as a case that does not apply ({reason}), but it holds: take it off the list"
        pytest.skip(reason)
    assert found == right


@pytest.mark.parametrize(
    "jsonata_case", [case for case in CASES if case["group"] in REGEX_GROUPS] or [None], ids=name_of
)
def test_evaluates_alike_without_google_re2(jsonata_case: Case | None, monkeypatch: pytest.MonkeyPatch) -> None:
    require_cases(JSONATA)
    assert jsonata_case is not None
    monkeypatch.setattr(speed, "has_re2", lambda: False)
    compile_regex.cache_clear()
    assert comparable(evaluate(jsonata_case), unordered=False) == comparable(expected(jsonata_case), unordered=False)
    compile_regex.cache_clear()
