"""The README and the pages of the docs, and the code in them."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["LINK", "PAGES", "README", "ROOT", "blocks"]

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(?P<language>[\w-]*)[^\n]*\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]+\]\((?P<target>[^)\s]+)\)")


def blocks(page: Path, language: str) -> list[str]:
    """Return the code blocks of a page in a language."""
    return [found["code"] for found in FENCE.finditer(page.read_text()) if found["language"] == language]
