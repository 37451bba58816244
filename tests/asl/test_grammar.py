"""The tables of fields agree with one another."""

from __future__ import annotations

from statechain.asl.grammar import BOTH, BRANCH, JSONATA_ONLY, JSONPATH_ONLY, MACHINE, PROCESSOR


def test_each_table_knows_each_type() -> None:
    assert BOTH.keys() == JSONPATH_ONLY.keys() == JSONATA_ONLY.keys()


def test_no_field_is_in_two_tables() -> None:
    for type_, both in BOTH.items():
        assert not both & JSONPATH_ONLY[type_]
        assert not both & JSONATA_ONLY[type_]
        assert not JSONPATH_ONLY[type_] & JSONATA_ONLY[type_]


def test_a_field_by_a_path_has_one_by_value() -> None:
    for type_, fields in JSONPATH_ONLY.items():
        by_path = {name for name in fields if name.endswith("Path")} - {"InputPath", "OutputPath", "ResultPath"}
        assert {name.removesuffix("Path") for name in by_path - {"ItemsPath"}} <= BOTH[type_]


def test_what_is_below_has_less_than_the_whole() -> None:
    assert BRANCH < MACHINE
    assert {"ProcessorConfig"} == PROCESSOR - BRANCH
