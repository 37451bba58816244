"""The page on the console says what a reader, an operator and an administrator may do, as the code has it."""

from __future__ import annotations

import re
from pathlib import Path

from statechain.console import ADMINISTRATOR, OPERATOR, READER, VERBS

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "console.md"
HEAD = "| verb | reader | operator | administrator |"


def test_the_table_of_roles_is_that_of_the_code() -> None:
    _, _, table = PAGE.read_text(encoding="utf-8").partition(HEAD)
    granted: dict[str, list[str]] = {}
    for line in table.strip().partition("\n\n")[0].splitlines()[1:]:
        verbs, *roles = [cell.strip() for cell in line.strip("|").split("|")]
        granted |= dict.fromkeys(re.findall(r"`(\w+)`", verbs), roles)
    assert granted == {
        verb: ["yes" if verb in role else "" for role in (READER, OPERATOR, ADMINISTRATOR)] for verb in VERBS
    }
