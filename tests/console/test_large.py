"""What is too large for one page is looked through part by part, and counted apart."""

from __future__ import annotations

import asyncio
import re
from html import unescape
from typing import Any

import httpx
import pytest

from statechain import Engine, ExecutionFilter, MemoryRepository, TaskError, TaskRegistry
from statechain.console import OPERATOR, READER, searching
from statechain.console.pages import batches, events
from support.console.office import Office, as_user, client

NEXT = re.compile(r'<a class="button" href="([^"]+)"[^>]*>(Next page|Look further)</a>')


def names(answer: httpx.Response) -> list[str]:
    return re.findall(r'<a href="/executions/[0-9a-f-]+">([^<]+)</a>', answer.text)


def further(answer: httpx.Response) -> str | None:
    return next((unescape(url) for url, _ in NEXT.findall(answer.text)), None)


@pytest.mark.parametrize("order", ["", "oldest_first"])
@pytest.mark.parametrize("narrowed", ["", "&machine={orders}", "&status=FAILED&status=SUCCEEDED&status=RUNNING"])
async def test_text_is_looked_for_part_by_part(
    office: Office, monkeypatch: pytest.MonkeyPatch, order: str, narrowed: str
) -> None:
    monkeypatch.setattr(searching, "BY_NAME", 2)
    monkeypatch.setattr(searching, "BY_ROW", 2)
    wanted = [each.name for each in await office.engine.list_executions(ExecutionFilter(text="order-"))]
    found: list[str] = []
    async with client(office.engine, as_user(*READER)) as web:
        url: str | None = f"/executions?text=order-&order={order}{narrowed.format(orders=office.orders.id)}"
        requests = 0
        while url:
            answer = await web.get(url)
            found += names(answer)
            url = further(answer)
            requests += 1
    assert found == (wanted[::-1] if order else wanted)
    assert requests >= len(found) / 3


async def test_a_search_that_has_found_nothing_goes_on_by_itself(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "BY_NAME", 2)
    async with client(office.engine, as_user(*READER)) as web:
        first = await web.get("/executions?text=order-0")
        assert names(first) == []
        assert 'hx-trigger="load"' in first.text
        assert "none matches so far" in first.text
        by_id = await web.get(f"/executions?text={office.seen['succeeded'].id}")
        assert names(by_id)[0] == "order-0"
        none = await web.get("/executions?text=order-0&status=ABORTED")
        assert names(none) == []


async def test_items_of_a_large_batch_are_counted_apart_and_looked_through_part_by_part(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "COUNTED", 2)
    monkeypatch.setattr(batches, "LOOKED_AT", 1)
    id_ = await office.batch()
    counts = (await office.engine.get_batch(id_)).item_counts
    async with client(office.engine, as_user(*OPERATOR)) as web:
        for path in ("/", "/batches"):
            assert f"{counts.total} items" in (await web.get(path)).text or path == "/batches"
            assert "counted on its page" in (await web.get(path)).text or path == "/"
        page = await web.get(f"/batches/{id_}")
        assert f'hx-get="/batches/{id_}/counts"' in page.text
        assert "Redrive what failed" in page.text
        counted = (await web.get(f"/batches/{id_}/counts")).text
        assert re.search(rf"<b>{counts.succeeded}</b><span[^>]*>succeeded<", counted)
        assert re.search(rf"<b>{counts.failed}</b><span[^>]*>failed<", counted)
        failed, url = [], f"/batches/{id_}"
        while url:
            answer = await web.get(url)
            failed += re.findall(r'<tr id="item-(\d+)">', answer.text)
            url = further(answer) or ""
    results = await office.engine.list_batch_results(id_, status={"FAILED"})  # type: ignore[arg-type]
    assert failed == [str(each.index) for each in results]


async def test_each_of_many_tasks_of_an_execution_is_listed_and_answered(office: Office) -> None:
    ask = {"Type": "Task", "Resource": "ask.waitForTaskToken", "Parameters": {"token.$": "$$.Task.Token"}, "End": True}
    item = {"StartAt": "Ask", "States": {"Ask": ask}}
    each = {"Type": "Map", "ItemProcessor": item, "MaxConcurrency": 0, "End": True}
    machine = await office.engine.create_state_machine("asks", {"StartAt": "Each", "States": {"Each": each}})
    handle = await machine.start_execution(list(range(105)))
    while len(await office.engine.list_waiting_tasks(execution_id=handle.id, limit=200)) < 40:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    async with client(office.engine, as_user(*OPERATOR)) as web:
        answered: set[str] = set()
        while (await office.engine.get_execution(handle.id)).status == "RUNNING":
            url: str | None = f"/waiting?execution={handle.id}"
            while url:
                page = await web.get(url)
                for task in map(unescape, re.findall(r'href="(/waiting/task[^"]+)"', page.text)):
                    form = dict(httpx.URL(task).params)
                    await web.post("/waiting/task", data={**form, "how": "succeed", "output": "1"})
                    answered.add(form["id"])
                url = further(page)
    assert len(answered) == 105


async def test_tasks_that_wait_are_narrowed_by_their_age(office: Office) -> None:
    async with client(office.engine, as_user(*OPERATOR)) as web:
        assert ">order-900<" in (await web.get("/waiting", params={"older": "0s"})).text
        assert "No task that matches waits" in (await web.get("/waiting", params={"older": "1h"})).text
        assert (await web.get("/waiting", params={"older": "long"})).status_code == 400
        assert (await web.get("/waiting", params={"after": "x"})).status_code == 400


async def test_failures_are_before_the_events_wherever_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "EVENTS", 5)
    tasks = TaskRegistry()

    @tasks.register("count")
    async def count(number: Any) -> Any:
        if number == 3:
            raise TaskError("Number.Three", "it is three")
        return number

    step = {"Type": "Task", "Resource": "count", "End": True}
    caught = {**step, "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Done"}]}
    item = {"StartAt": "Count", "States": {"Count": caught, "Done": {"Type": "Succeed"}}}
    each = {"Type": "Map", "ItemProcessor": item, "MaxConcurrency": 1, "End": True}
    async with Engine(MemoryRepository(), tasks=tasks) as engine:
        machine = await engine.create_state_machine("counts", {"StartAt": "Each", "States": {"Each": each}})
        ended = await (await machine.start_execution(list(range(6)))).wait()
        history = await engine.get_execution_history(ended.id)
        page = await engine.page_execution_history(ended.id, limit=5, failures=10)
        assert (page.events, page.total) == (history[:5], len(history))
        assert [event["type"] for event in page.failures] == ["TaskFailed"]
        assert page.failures[0] in history
        async with client(engine, as_user(*READER)) as web:
            url: str | None = f"/executions/{ended.id}/events"
            first = (await web.get(url)).text
            assert "Number.Three" in first
            assert "it is three" in first
            seen: list[str] = []
            while url:
                answer = await web.get(url)
                seen += re.findall(r'id="event-(\d+)"', answer.text)
                url = further(answer)
        assert seen == [str(event["id"]) for event in history]
