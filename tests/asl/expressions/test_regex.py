"""Regular expressions: what they match, what they refuse, and that none runs away; with google-re2 and without."""

from __future__ import annotations

import importlib
import itertools
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from statechain.asl.expressions.regex import FastRegex, Match, Regex, RegexSyntaxError, compile_regex, speed
from statechain.asl.expressions.regex.parser import parse
from support.calls import counted_lines

re2: Any = importlib.import_module("re2") if speed.has_re2() else None


@pytest.fixture(params=["own", "re2"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Have expressions matched here, and by google-re2 where it is installed."""
    if request.param == "own":
        monkeypatch.setattr(speed, "has_re2", lambda: False)
    elif re2 is None:
        pytest.skip("google-re2 is not installed")
    compile_regex.cache_clear()
    yield request.param
    compile_regex.cache_clear()


def found(regex: Any, text: str) -> list[tuple[tuple[int, int], tuple[str | None, ...]]]:
    """Return all matches; google-re2 yields an empty one at the end twice."""
    return list(dict.fromkeys((match.span(), match.groups()) for match in regex.finditer(text)))


def test_matches_with_the_methods_of_re() -> None:
    match = compile_regex(r"(\w+)-(\d+)").search("see ab-12")
    assert match is not None
    assert (match.group(1), match.group(2), match.span()) == ("ab", "12", (4, 9))
    assert compile_regex("ä+").findall("xääxä") == ["ää", "ä"]


def test_a_match_knows_its_groups() -> None:
    match = compile_regex(r"(?P<key>\w+)=(\d+)?(x)?").search("; a=1")
    assert match is not None
    assert match.group(0, "key", 3) == ("a=1", "a", None)
    assert match.groups() == ("a", "1", None)
    assert match.groups("") == ("a", "1", "")
    assert match.groupdict() == {"key": "a"}
    assert (match.start("key"), match.end(2), match.span(3)) == (2, 5, (-1, -1))
    with pytest.raises(IndexError):
        match.group(4)
    with pytest.raises(IndexError):
        match.group("other")


def test_splits_and_substitutes() -> None:
    comma = compile_regex(r",\s*")
    assert comma.split("a, b,c") == ["a", "b", "c"]
    assert comma.split("a, b,c", 1) == ["a", "b,c"]
    assert comma.sub(lambda match: f"<{match.start()}>", "a, b,c") == "a<1>b<4>c"
    assert comma.sub(lambda _: ";", "a, b,c", 1) == "a;b,c"
    assert compile_regex("(a)(b)?").findall("aab") == [("a", ""), ("a", "b")]


def test_flags_ignore_case_match_at_lines_or_let_dots_match_newlines() -> None:
    assert compile_regex("AB", ignore_case=True).search("xab")
    assert not compile_regex("AB").search("xab")
    assert compile_regex("^b$", multiline=True).search("a\nb\nc")
    assert not compile_regex("^b$").search("a\nb\nc")
    assert compile_regex("a.b", dot_all=True).search("a\nb")
    assert not compile_regex("a.b").search("a\nb")


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("a|ab", "ab", ["a"]),
        ("(?:a|ab)c", "abc", ["abc"]),
        ("a*?b", "aab", ["aab"]),
        ("(?U)a+", "aa", ["a", "a"]),
        ("a{2,3}", "aaaaa", ["aaa", "aa"]),
        ("x*", "axb", ["", "x", "", ""]),
        (r"\bis\b", "this is his", ["is"]),
        (r"\B.", "ab c", ["b"]),
        ("(?i)straße|K", "STRAßE k \u212a", ["STRAßE", "k", "\u212a"]),
        ("(?i)[^k]", "k\u212ax", ["x"]),
        (r"\p{Lu}\pL+", "eins Zwei ÉCLAIR", ["Zwei", "ÉCLAIR"]),
        (r"[[:alpha:]\d_-]+", "a-1 é", ["a-1"]),
        (r"[]a]+|[^]a]+", "]ab", ["]a", "b"]),
        (r"\Qa.b\E+", "a.bb axb", ["a.bb"]),
        (r"\x41\x{1F600}\012?", "A😀", ["A😀"]),
        ("a{,2}", "a{,2}", ["a{,2}"]),
        ("(?m)^.$", "a\nb\n", ["a", "b"]),
        ("é|\ud800", "é\ud800", ["é", "\ud800"]),
    ],
)
def test_the_syntax_of_jsonata_patterns_is_matched(pattern: str, text: str, matches: list[str]) -> None:
    assert [match.group() for match in compile_regex(pattern).finditer(text)] == matches


@pytest.mark.parametrize("pattern", ["(", "[a", "a(?=b)", "(?<!a)b", r"(a)\1", "a{2000}", "*", r"\8"])
def test_refuses_what_it_cannot_match_in_linear_time(pattern: str) -> None:
    with pytest.raises(RegexSyntaxError, match="the regular expression /"):
        compile_regex(pattern)


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("ab(?=c)", "look-around, which needs backtracking at character 2"),
        ("(?<!a)b", "look-around, which needs backtracking at character 0"),
        (r"(a)\1", "a back-reference, which needs backtracking at character 3"),
        (r"(?P<n>a)\k<n>", "a back-reference, which needs backtracking at character 8"),
        ("(ab", r"an unmatched \( at character 0"),
        ("ab)", r"an unmatched \) at character 2"),
        ("x[ab", r"an unmatched \[ at character 1"),
        ("[b-a]", "a range that ends before it begins at character 1"),
        ("a**", "a repetition of nothing, or of a repetition at character 2"),
        ("a{2,1}", "a repetition of more than its most at character 1"),
        ("a{1001}", "a repetition of more than 1000 at character 1"),
        ("(a{100}){11}", "repetitions of more than 1000 in all"),
        ("ab\\", "a trailing backslash at character 2"),
        (r"\Z", r"the escape \\Z at character 0"),
        (r"\p{Greek}", "a class that is no general category of Unicode at character 0"),
        ("[[:letter:]]", "an unknown class in brackets and colons at character 1"),
        (r"\x{110000}", "a character beyond Unicode at character 0"),
        ("(?x)a", "an unknown kind of group at character 0"),
        ("(?P<n>a)(?P<n>b)", "a second group named n at character 8"),
        (r"(?:\pL{100}){10}", "it comes to more than 10000 instructions"),
        ("(" * 300, "brackets that nest too deep at character 100"),
    ],
)
def test_a_refusal_says_what_and_where(pattern: str, said: str) -> None:
    with pytest.raises(RegexSyntaxError, match=said):
        compile_regex(pattern)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "(.*)*x", "a*a*a*a*a*a*a*b"])
def test_no_pattern_runs_away(pattern: str) -> None:
    regex = compile_regex(pattern)
    with counted_lines() as lines:
        assert not regex.fullmatch("a" * 50_000 + "!")
    assert lines() <= 5 * 50_000


@pytest.mark.parametrize("pattern", ["(a|b)*a(a|b){8}c", "[ab]*?a[ab]{12}$", "(?:a?){20}a{20}", "[ab]*?a[ab]{300}c"])
def test_an_automaton_of_many_states_is_kept_in_bounds(pattern: str) -> None:
    text = "".join(itertools.islice(itertools.cycle("abbabaaab"), 5_000))
    regex = Regex(pattern, parse(pattern, ignore_case=False, multiline=False, dot_all=False))
    assert bool(regex.search(text)) is bool(compile_regex(pattern).search(text))
    states = regex._forward._states.values()
    assert sum(len(state.steps) + len(state.threads) // 8 for state in states) <= 21_000


def test_a_search_is_charged_for_by_what_it_reads() -> None:
    charged: list[int] = []
    regex = compile_regex("[a-c]+x")
    assert list(regex.finditer("abc " * 1_000, charged.append)) == []
    assert sum(charged) == 4_000 * regex.size // 16
    charged.clear()
    assert regex.fullmatch("abcx" * 1_000, charged.append) is None
    assert sum(charged) == 4_000 * regex.size // 16


def test_what_is_charged_may_end_a_search() -> None:
    def refuse(_steps: int) -> None:
        raise OverflowError

    with pytest.raises(OverflowError):
        next(compile_regex("a+").finditer("a" * 1_000, refuse))


# Against google-re2

ATOMS = [
    *"abckKéÉßs\u017f-_1.^$\n",
    *(r"\d", r"\W", r"\s", r"\b", r"\A", r"\z", r"\pL", r"\P{Lu}", r"\.", r"\x41", r"\x{e9}", r"\Qa.\E", r"\n"),
    *("[ab]", "[^a]", "[a-c]", "[^k]", "[é-ü]", "[]a]", "[a-]", r"[^\w]", r"[\d-]", "[[:alpha:]]", "[[:^digit:]b]"),
    *("()", "(?:)", "{", "a{", "(?i)", "(?-s)"),
]
REPEATS = ["*", "+", "?", "*?", "+?", "??", "{2}", "{1,2}", "{0,2}?", "{2,}", "{0}", "{,2}", "{1,}?"]
BRACKETS = ["({})", "(?:{})", "(?i:{})", "(?m:{})", "(?s:{})", "(?-i:{})", "(?U:{})", "(?im-s:{})"]


def patterns() -> st.SearchStrategy[str]:
    """Return patterns of every kind, some of which cannot be read."""
    return st.recursive(
        st.sampled_from(ATOMS),
        lambda parts: st.one_of(
            st.lists(parts, min_size=2, max_size=4).map("".join),
            st.lists(parts, min_size=2, max_size=3).map("|".join),
            st.tuples(parts, st.sampled_from(REPEATS)).map("".join),
            st.tuples(st.sampled_from(BRACKETS), parts).map(lambda pair: pair[0].format(pair[1])),
        ),
        max_leaves=8,
    )


ALPHABET = "aabbckKéÉß-_1\n\ts\u017fX§\u212a😀"


def texts_of(chance: random.Random, count: int) -> list[str]:
    """Return texts over characters that differ by case, kind and length in UTF-8."""
    return ["".join(chance.choices(ALPHABET, k=chance.randrange(15))) for _ in range(count)]


def theirs(pattern: str, *, ignore_case: bool, multiline: bool, dot_all: bool) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = not ignore_case
    options.dot_nl = dot_all
    try:
        return re2.compile(f"(?m){pattern}" if multiline else pattern, options=options)
    except re2.error:
        return None


def ours(pattern: str, **flags: bool) -> Regex | None:
    try:
        return compile_regex(pattern, **flags)
    except RegexSyntaxError:
        return None


def bounds(match: Match | None) -> object:
    return match and (match.span(), match.groups())


@pytest.mark.slow
@pytest.mark.skipif(re2 is None, reason="google-re2 is not installed")
def test_it_matches_as_google_re2_does(pytestconfig: pytest.Config) -> None:
    examples, texts = (5_000, 200) if pytestconfig.getoption("--full", default=False) else (150, 20)

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        patterns(),
        st.fixed_dictionaries(dict.fromkeys(["ignore_case", "multiline", "dot_all"], st.booleans())),
        st.randoms(use_true_random=True),
    )
    def check(pattern: str, flags: dict[str, bool], chance: random.Random) -> None:
        expected, regex = theirs(pattern, **flags), ours(pattern, **flags)
        assert (regex is None) is (expected is None), pattern
        if regex is None:
            return
        for text in texts_of(chance, texts):
            assert found(regex, text) == found(expected, text)
            assert bounds(regex.fullmatch(text)) == bounds(expected.fullmatch(text))
            assert bounds(regex.match(text)) == bounds(expected.match(text))

    check()


def test_google_re2_is_used_where_it_is_installed(engine: str) -> None:
    assert isinstance(compile_regex("a"), FastRegex) is (engine == "re2")
    assert not isinstance(compile_regex(r"a\B"), FastRegex)  # it would match between the bytes of a character
