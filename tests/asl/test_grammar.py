"""The table of fields agrees with itself, with the model and with the reference."""

from __future__ import annotations

import re
import runpy
from itertools import pairwise
from pathlib import Path

import attrs
import pytest

from statechain.asl import model
from statechain.asl.grammar import PARTS, STATE_TYPES, Holds

MODELS = {
    **{name: getattr(model, name) for name in STATE_TYPES},
    **{name: getattr(model, name) for name in ("Retrier", "Catcher", "ItemReader", "ResultWriter")},
}
NOT_KEPT = {"Type", "Comment", "QueryLanguage", "End", "Iterator"}
"""Fields that the model does not have, or has under another name."""


def test_each_state_type_is_a_part() -> None:
    assert set(STATE_TYPES) < PARTS.keys()
    assert all(PARTS[name].what == f"a {name} state" for name in STATE_TYPES)


def test_a_part_has_a_field_once() -> None:
    for name, part in PARTS.items():
        assert len(part.fields) == len(part.members), name


def test_every_part_that_a_field_holds_is_there() -> None:
    for part in PARTS.values():
        for field in part.members:
            assert bool(field.part) is (field.holds in (Holds.PART, Holds.PARTS))
            assert not field.part or field.part in PARTS


def test_fields_that_exclude_each_other_are_fields_of_the_part() -> None:
    for part in PARTS.values():
        assert {name for names in (*part.alternatives, *part.needed) for name in names} <= part.fields.keys()


def test_a_field_by_a_path_has_one_by_value() -> None:
    for part in PARTS.values():
        for name, field in part.fields.items():
            if field.holds in (Holds.ONE_PLACE, Holds.PATH_OR_FUNCTION):
                assert name.removesuffix("Path") in part.fields
                assert any({name, name.removesuffix("Path")} <= {*names} for names in part.alternatives + part.needed)


@pytest.mark.parametrize("name", MODELS)
def test_the_model_keeps_every_field(name: str) -> None:
    kept = {field.name for field in attrs.fields(MODELS[name])}
    assert {snake(field) for field in PARTS[name].fields.keys() - NOT_KEPT} <= kept


def snake(name: str) -> str:
    """Return a field's name as an attribute's."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def test_what_is_below_has_less_than_the_whole() -> None:
    names = [PARTS[name].fields.keys() for name in ("Branch", "Machine")]
    assert all(less < more for less, more in pairwise(names))
    assert PARTS["Processor"].fields.keys() - PARTS["Branch"].fields.keys() == {"ProcessorConfig"}


def test_the_reference_has_every_field() -> None:
    docs = Path(__file__).parents[2] / "docs"
    page = runpy.run_path(str(docs / "fields.py"))["page"]()
    assert (docs / "reference" / "fields.md").read_text("utf-8") == page, "write it anew: python docs/fields.py"
