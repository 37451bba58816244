"""The pages of the reference are true: their states load, and their expressions give the values beside them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from statechain.asl import load
from statechain.errors import StateError

PAGES = Path(__file__).parents[2] / "docs" / "reference"
BLOCK = re.compile(r"^```json\n(.*?)^```$", re.DOTALL | re.MULTILINE)
ROW = re.compile(r"^\| `(?P<expression>.+?)` \| `(?P<gives>.+?)` \|$", re.MULTILINE)
EXPRESSIONS = {"jsonpath.md": "path", "intrinsic-functions.md": "intrinsic", "jsonata.md": "jsonata"}
FIELDS = ("Next", "Default")


def blocks(page: str) -> list[Any]:
    return [json.loads(block) for block in BLOCK.findall((PAGES / page).read_text("utf-8"))]


def states() -> Iterator[object]:
    for page in ("definition.md", *(path.name for path in sorted(PAGES.glob("state-*.md")))):
        for number, block in enumerate(blocks(page)):
            yield pytest.param(block, id=f"{page}-{number}")


def targets(value: Any) -> Iterator[str]:
    """Yield where a state leads, without what leads within its branches."""
    yield from (value[field] for field in FIELDS if field in value)
    for member in (*value.get("Choices", ()), *value.get("Catch", ())):
        yield from targets(member)


@pytest.mark.parametrize("block", list(states()))
def test_a_state_loads(block: Any) -> None:
    if "States" not in block:
        others = {name: {"Type": "Succeed"} for name in targets(block)}
        block = {"StartAt": "It", "States": {"It": block, **others}}
    assert load(block).plan.states


def rows(page: str) -> Iterator[object]:
    for row in ROW.finditer((PAGES / page).read_text("utf-8")):
        yield pytest.param(page, row["expression"].replace("\\|", "|"), row["gives"], id=f"{page}-{row['expression']}")


@pytest.mark.parametrize(("page", "expression", "gives"), [row for page in EXPRESSIONS for row in rows(page)])
def test_an_expression_gives_what_the_page_says(
    request: pytest.FixtureRequest, page: str, expression: str, gives: str
) -> None:
    ask: Callable[..., Any] = request.getfixturevalue(EXPRESSIONS[page])
    if gives.startswith("States."):
        with pytest.raises(StateError) as caught:
            ask(expression, blocks(page)[0])
        assert caught.value.error == gives
    else:
        assert ask(expression, blocks(page)[0]) == json.loads(gives)


def test_every_state_type_has_its_page() -> None:
    pages = {path.stem.removeprefix("state-") for path in PAGES.glob("state-*.md")}
    assert pages == {"task", "pass", "choice", "wait", "succeed", "fail", "parallel", "map"}
