"""Hostile names and payloads on every page, and hostile URLs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from statechain import Engine, MemoryRepository, TaskError, TaskRegistry
from statechain.console import ADMINISTRATOR
from support.console.html_page import Page
from support.console.office import as_user, client

PIECES = st.sampled_from(
    ["<script>alert(1)</script>", '" onload="x', "'", "&amp;", "{{7*7}}", "{% x %}", "]]>", "<!--",
     "</title>", "</textarea>", "javascript:", "\\", "%00", "../", "🦀"]
)  # fmt: skip
WORDS = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp", "Zs"]), min_size=1, max_size=30)
TEXTS = st.one_of(PIECES, WORDS)
NAMES = TEXTS.filter(lambda text: text.isprintable() and len(text) <= 70)


@pytest.mark.slow
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=NAMES, state=NAMES, error=NAMES, cause=TEXTS, value=TEXTS)
async def test_hostile_names_and_payloads_are_texts_on_every_page(
    name: str, state: str, error: str, cause: str, value: str
) -> None:
    tasks = TaskRegistry()

    @tasks.register("fail")
    async def fail(_value: Any) -> None:
        raise TaskError(error, cause)

    definition = {"StartAt": state, "States": {state: {"Type": "Task", "Resource": "fail", "End": True}}}
    async with Engine(MemoryRepository(), tasks=tasks) as engine:
        machine = await engine.create_state_machine(name, definition)
        handle = await machine.start_execution({value: [value]}, name=name)
        ended = await handle.wait()
        async with client(engine, as_user(*ADMINISTRATOR, name=name)) as web:
            one = f"/executions/{ended.id}"
            for path in ("/", "/executions", one, f"{one}/events", f"{one}/timeline", f"{one}/payload", f"{one}/chain",
                         "/machines", f"/machines/{machine.id}", "/batches/new", "/statistics"):  # fmt: skip
                answer = await web.get(path)
                assert answer.status_code == 200, path
                page = Page.read(answer.text)
                assert page.tags <= TAGS, page.tags - TAGS
                assert "49" not in page.texts
            for path in ("/executions", "/machines", "/waiting", "/batches/new", f"{one}/payload"):
                hostile = {"text": value, "state": value, "since": value, "find": value, "machine": value, "of": value}
                answer = await web.get(path, params=hostile)
                assert answer.status_code in {200, 400, 404}
                assert Page.read(answer.text).tags <= TAGS
            assert name in " ".join(Page.read((await web.get(one)).text).texts)


NAMES_OF_TAGS = (
    "html head meta title link script body a header svg path circle nav span main h1 h2 h3 p br ul li b section div "
    "table thead tbody tr th td time small details summary code button form label input select option fieldset legend "
    "figure figcaption dl dt dd ol pre textarea progress rect g text defs marker polygon line polyline style"
)
TAGS = frozenset(NAMES_OF_TAGS.split())
"""The elements that the console's templates have."""
