"""Each page at the root, mounted, and behind a prefix: it is there, and its links lead on."""

from __future__ import annotations

import asyncio
import re
from html import unescape
from xml.etree import ElementTree as ET

import pytest

from statechain.console import ADMINISTRATOR, OPERATOR, READER, VERBS
from support.console.office import Office, as_user, client

LINK = re.compile(r'(href|src|action|hx-get)="([^"]+)"')
PLACES = [("", ""), ("/statechain", ""), ("/a/b", ""), ("", "/proxied"), ("/statechain", "/proxied")]


@pytest.mark.slow
@pytest.mark.parametrize(("prefix", "root_path"), PLACES)
async def test_every_page_is_reached_from_the_first_by_links_below_its_mount(
    office: Office, prefix: str, root_path: str
) -> None:
    base = root_path + prefix
    async with client(office.engine, as_user(*ADMINISTRATOR), prefix=prefix, root_path=root_path) as web:
        pending, seen, templates = [f"{base}/"], set(), set()
        while pending and len(seen) < 400:
            url = pending.pop(0)
            path = url.partition("#")[0].split("?")[0]
            if url in seen:
                continue
            seen.add(url)
            answer = await web.get(url.partition("#")[0])
            assert answer.status_code == 200, (url, answer.text[:300])
            if not answer.headers["content-type"].startswith("text/html"):
                continue
            templates.add(re.sub(r"[0-9a-f-]{36}", "ID", path[len(base) :]))
            for kind, found in LINK.findall(answer.text):
                link = unescape(found)
                assert link.startswith((f"{base}/", "#")), (url, link)
                if kind != "action" and not link.startswith("#"):
                    pending.append(link)
    assert templates >= {
        "/", "/executions", "/executions/ID", "/executions/ID/events", "/executions/ID/timeline",
        "/executions/ID/payload", "/executions/ID/chain", "/machines", "/machines/ID", "/batches", "/batches/ID",
        "/waiting", "/waiting/task", "/statistics",
    }  # fmt: skip


async def test_an_execution_and_its_machine_show_what_waits_for_a_limit(office: Office) -> None:
    machine = await office.engine.create_state_machine(
        "limited", {"StartAt": "A", "States": {"A": {"Type": "Pass", "End": True}}}, max_concurrency=0
    )
    handle = await machine.start_execution(1, key="red", priority=3)
    async with client(office.engine, as_user(*READER)) as web:
        text = (await web.get(f"/executions/{handle.id}")).text
        assert "It waits for max_concurrency (0 at once; 0 run, 1 wait)." in text
        assert "<dt>Key</dt><dd>red</dd>" in text
        assert "<dt>Priority</dt><dd>3</dd>" in text
        row = re.search(r"<tr><th[^>]*><a[^>]*>limited</a>.*?</tr>", (await web.get("/machines")).text)
        assert row
        wide = re.sub(r'<span class="only-narrow">[^<]*</span>', "", row[0])
        assert '<td>0 at once</td><td class="figure">0</td><td class="figure">1</td>' in wide
        picture = (await web.get(f"/executions/{handle.id}")).text
        assert ">running<" not in picture
    await handle.stop()


async def test_what_was_stopped_says_so_and_a_long_cause_keeps_its_lines(office: Office) -> None:
    trace = "\n".join(f"  at line {number}" for number in range(60))
    for cause, shown in (("by hand", "<p>by hand</p>"), (trace, f'aria-label="Cause">{trace}</pre>')):
        handle = await office.orders.start_execution({"id": 1, "total": 2000})
        await handle.stop(cause=cause)
        async with client(office.engine, as_user(*READER)) as web:
            text = (await web.get(f"/executions/{handle.id}")).text
            assert "<b>Stopped</b>" in text
            assert shown in text


async def test_machines_without_executions_are_folded_where_there_are_many(office: Office) -> None:
    definition = {"StartAt": "A", "States": {"A": {"Type": "Pass", "End": True}}}
    async with client(office.engine, as_user(*READER)) as web:
        for number in range(11):
            assert "without executions in this window" not in (await web.get("/")).text
            await office.engine.create_state_machine(f"idle-{number}", definition)
        text = (await web.get("/")).text
        assert "11 machines without executions in this window" in text
        assert text.count('id="machine-') == 2
        assert "idle-10" in text


async def test_an_execution_shows_why_it_failed(office: Office) -> None:
    failed = office.seen["failed"]
    async with client(office.engine, as_user(*READER)) as web:
        text = (await web.get(f"/executions/{failed.id}")).text
        assert "Card.Declined" in text
        assert "the card of order 3 was declined" in text
        assert 'data-standing="failed"' in text
        picture = re.search(r"<svg [^>]*sc-picture.*?</svg>", text, re.DOTALL)
        assert picture
        ET.fromstring(picture[0])
        alone = (await web.get(f"/executions/{failed.id}?state=Charge")).text
        assert alone.count("<tr>") == 2
        assert "Visits of Charge" in alone


async def test_a_list_is_what_its_url_says(office: Office) -> None:
    async with client(office.engine, as_user(*READER)) as web:
        failed = (await web.get("/executions?status=FAILED")).text
        assert "order-3" in failed
        assert "order-7" in failed
        assert "order-4<" not in failed
        found = (await web.get("/executions?text=order-90")).text
        assert ">order-900<" in found
        assert "waits for an answer to Approve" in found
        assert found.count('id="x-') == 1
        by_id = (await web.get(f"/executions?text={office.seen['failed'].id}")).text
        assert by_id.count('id="x-') == 1
        wrong = await web.get("/executions?since=yesterday")
        assert wrong.status_code == 400
        assert "neither a time" in unescape(wrong.text)
        assert (await web.get("/executions?after=x")).status_code == 400


async def test_pages_of_a_list_follow_each_other(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    from statechain.console.pages import executions

    monkeypatch.setattr(executions, "PAGE", 4)
    names: list[str] = []
    async with client(office.engine, as_user(*READER)) as web:
        url: str | None = "/executions?order=oldest_first"
        while url:
            text = (await web.get(url)).text
            names += re.findall(r'<a href="/executions/[0-9a-f-]+">([^<]+)</a>', text)
            url = next(iter(map(unescape, re.findall(r'href="([^"]+)">Next page', text))), None)
    assert names == [each.name for each in reversed(await office.engine.list_executions())]


async def test_a_page_that_has_not_changed_is_answered_by_304(office: Office) -> None:
    async with client(office.engine, as_user(*READER)) as web:
        first = await web.get(f"/executions/{office.seen['failed'].id}")
        assert first.headers["cache-control"] == "private, no-cache"
        again = await web.get(first.url, headers={"If-None-Match": f'"other", {first.headers["etag"]}'})
        assert (again.status_code, again.content) == (304, b"")
        assert "default-src 'none'" in again.headers["content-security-policy"]


async def test_there_is_no_other_page(office: Office) -> None:
    async with client(office.engine, as_user(*ADMINISTRATOR)) as web:
        for url in ("/nothing", "/executions/nothing", "/machines/nothing", "/batches/nothing", "/static/nothing"):
            assert (await web.get(url)).status_code == 404, url
        gone = await web.get("/waiting/task?execution=nothing&id=x")
        assert gone.status_code == 404


async def test_an_address_without_a_page_says_so_in_words(office: Office) -> None:
    async with client(office.engine, as_user(*READER)) as web:
        assert "The console has no page at this address." in (await web.get("/nothing")).text
        said = (await web.get("/executions?since=long")).text
        assert "Started after: &#39;long&#39; is neither a time" in said


async def test_tasks_of_iterations_are_told_apart(office: Office) -> None:
    ask = {"Type": "Task", "Resource": "ask.waitForTaskToken", "Parameters": {"token.$": "$$.Task.Token"}, "End": True}
    each = {"Type": "Map", "ItemProcessor": {"StartAt": "Ask", "States": {"Ask": ask}}, "End": True}
    machine = await office.engine.create_state_machine("asks", {"StartAt": "Each/one", "States": {"Each/one": each}})
    handle = await machine.start_execution([1, 2], name="asks")
    while len(await office.engine.list_waiting_tasks(execution_id=handle.id)) < 2:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    try:
        async with client(office.engine, as_user(*OPERATOR)) as web:
            shown = (await web.get(f"/waiting?execution={handle.id}")).text
            for number in (0, 1):
                assert f'aria-label="Answer asks, Each/one[{number}]"' in shown
            task = re.search(r'href="(/waiting/task[^"]+)"', shown)
            assert task
            assert re.search(r"Each/one\[0\] . Ask", (await web.get(unescape(task[1]))).text)
            assert "Each" not in (await web.get("/waiting?state=Approve")).text
    finally:
        await handle.stop()


async def test_verbs_are_the_fixed_lists_of_three_roles() -> None:
    assert frozenset({"read"}) == READER
    assert frozenset({"read", "payload", "stop", "redrive", "answer", "stop_batch", "redrive_batch"}) == OPERATOR
    assert frozenset(VERBS) == ADMINISTRATOR
