"""Regular expressions: what they match, what they refuse, and that none runs away."""

from __future__ import annotations

import time

import pytest

from statechain.asl.regex import RegexSyntaxError, compile_regex


def test_matches_with_the_methods_of_re() -> None:
    match = compile_regex(r"(\w+)-(\d+)").search("see ab-12")
    assert match is not None
    assert (match.group(1), match.group(2), match.span()) == ("ab", "12", (4, 9))
    assert compile_regex("ä+").findall("xääxä") == ["ää", "ä"]


def test_flags() -> None:
    assert compile_regex("AB", ignore_case=True).search("xab")
    assert not compile_regex("AB").search("xab")
    assert compile_regex("^b$", multiline=True).search("a\nb\nc")
    assert not compile_regex("^b$").search("a\nb\nc")
    assert compile_regex("a.b", dot_all=True).search("a\nb")
    assert not compile_regex("a.b").search("a\nb")


@pytest.mark.parametrize("pattern", ["(", "[a", "a(?=b)", "(?<!a)b", r"(a)\1", "a{2000}", "*", r"\8"])
def test_refuses_what_it_cannot_match_in_linear_time(pattern: str) -> None:
    with pytest.raises(RegexSyntaxError, match="the regular expression /"):
        compile_regex(pattern)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "(.*)*x", "a*a*a*a*a*a*a*b"])
def test_no_pattern_runs_away(pattern: str) -> None:
    began = time.process_time()
    assert not compile_regex(pattern).fullmatch("a" * 50_000 + "!")
    assert time.process_time() - began < 5
