"""Each action: what it does, which verb it needs, that another site cannot send it, and that it is logged."""

# ruff: noqa: ASYNC110 -- what runs in the background has no event to await

from __future__ import annotations

import asyncio
import logging
import re
from html import unescape

import httpx
import pytest

from statechain import BatchExecutionOptions, Engine, ExecutionFilter
from statechain.console import ADMINISTRATOR, OPERATOR, READER
from statechain.console.pages import batches as batches_page
from support.console.office import Office, as_user, client

HIDDEN = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)">')


def hidden(answer: httpx.Response) -> dict[str, str]:
    """Return the hidden fields of the form that a page has."""
    return {name: unescape(value) for name, value in HIDDEN.findall(answer.text)}


async def test_an_execution_is_redriven_stopped_and_deleted(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    failed, waiting = office.seen["failed"], office.seen["waiting"]
    office.broken.add("charge")
    name = "ann\nforged line"
    async with client(office.engine, as_user(*ADMINISTRATOR, name=name)) as web:
        with caplog.at_level(logging.INFO, "statechain.console"):
            answer = await web.post(f"/executions/{failed.id}/redrive")
        assert answer.status_code == 303
        assert answer.headers["location"] == f"/executions/{failed.id}?done=redriven"
        assert "Redriven" in (await web.get(answer.headers["location"])).text
        assert f"redrive by {name!r}" in caplog.text
        assert "ann\n" not in caplog.text
        assert (await web.post(f"/executions/{waiting.id}/stop")).status_code == 303
        stopped = await office.engine.get_execution(waiting.id)
        assert stopped.status == "ABORTED"
        assert "stopped on the console" in str(stopped.cause)
        assert (await web.post(f"/executions/{waiting.id}/delete")).headers["location"] == "/executions?done=deleted"
        assert (await web.get(f"/executions/{waiting.id}")).status_code == 404


async def test_all_that_match_are_acted_on_after_a_counted_confirmation(office: Office) -> None:
    office.broken.clear()
    failed = ExecutionFilter(status="FAILED", state_machine_id=office.invoices.id)
    count = await office.engine.count_executions(failed)
    assert count > 1
    async with client(office.engine, as_user(*OPERATOR)) as web:
        form = {"action": "redrive", "scope": "all", "machine": office.invoices.id, "status": "FAILED"}
        asked = await web.post("/executions/selected", data=form)
        assert f"Redrive {count} executions?" in asked.text
        assert await office.engine.count_executions(failed) == count
        done = await web.post("/executions/selected", data=hidden(asked))
        assert f"{count} executions redriven" in done.text
    while await office.engine.count_executions(ExecutionFilter(status="RUNNING", state_machine_id=office.invoices.id)):
        await asyncio.sleep(0.001)
    assert await office.engine.count_executions(failed) == 0


async def test_portions_follow_each_other(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    from statechain.console.actions import selections

    monkeypatch.setattr(selections, "PORTION", 2)
    ended = ExecutionFilter(state_machine_id=office.invoices.id)
    left = await office.engine.count_executions(ended)
    async with client(office.engine, as_user(*ADMINISTRATOR)) as web:
        form = {"action": "delete", "scope": "all", "machine": office.invoices.id}
        answer = await web.post("/executions/selected", data=form)
        while "<button" in answer.text and left:
            answer = await web.post("/executions/selected", data=hidden(answer))
            left = max(0, left - 2)
            assert await office.engine.count_executions(ended) == left


async def test_only_what_was_ticked_is_acted_on(office: Office) -> None:
    ids = [each.id for each in await office.engine.list_executions(ExecutionFilter(status="SUCCEEDED"))][:2]
    total = await office.engine.count_executions()
    async with client(office.engine, as_user(*ADMINISTRATOR)) as web:
        asked = await web.post("/executions/selected", data={"action": "delete", "scope": "ids", "id": ids})
        assert "Delete 2 executions?" in asked.text
        fields = {**hidden(asked), "id": ids}
        assert "2 executions deleted" in (await web.post("/executions/selected", data=fields)).text
    assert await office.engine.count_executions() == total - 2


async def test_a_task_is_answered_by_a_form_and_never_shows_its_token(office: Office) -> None:
    waiting = office.seen["waiting"]
    (task,) = await office.engine.list_waiting_tasks()
    form = {"execution": waiting.id, "id": task.id}
    async with client(office.engine, as_user(*OPERATOR)) as web:
        shown = await web.get("/waiting/task", params=form)
        assert "Approve" in shown.text
        wrong = await web.post("/waiting/task", data={**form, "how": "succeed", "output": "{"})
        assert wrong.status_code == 400
        assert "not JSON" in wrong.text
        done = await web.post("/waiting/task", data={**form, "how": "succeed", "output": '{"by": "bea"}'})
        assert done.headers["location"].endswith("?done=answered")
        over = await web.get("/waiting/task", params=form)
        assert over.status_code == 409
        for page in (shown, wrong):
            assert "token_hash" not in page.text
            assert len(re.findall(r"[A-Za-z0-9_-]{43}", page.text)) == 0


async def test_a_task_is_failed_by_a_form(office: Office) -> None:
    (task,) = await office.engine.list_waiting_tasks()
    form = {
        "execution": task.execution_id,
        "id": task.id,
        "how": "fail",
        "error": "Order.Refused",
        "cause": "too large",
    }
    async with client(office.engine, as_user(*OPERATOR)) as web:
        assert (await web.post("/waiting/task", data=form)).status_code == 303
    while (ended := await office.engine.get_execution(task.execution_id)).end_time is None:
        await asyncio.sleep(0.001)
    assert (ended.error, ended.cause) == ("Order.Refused", "too large")


async def test_an_execution_is_started_with_a_checked_input(office: Office) -> None:
    url = f"/machines/{office.orders.id}/start"
    async with client(office.engine, as_user(*ADMINISTRATOR)) as web:
        assert "line 1, column 2" in unescape((await web.post(url, data={"input": "{"})).text)
        started = await web.post(url, data={"input": '{"id": 77, "total": 3}', "name": "order-77"})
        assert started.status_code == 303
        taken = await web.post(url, data={"input": '{"id": 78, "total": 3}', "name": "order-77"})
        assert taken.status_code == 409
        hostile = await web.post(url, data={"input": '{"id": "</textarea><script>", "total": 3}', "confirmed": "1"})
        id_ = hostile.headers["location"].split("?")[0].rpartition("/")[2]
        past = await web.get(f"/machines/{office.orders.id}", params={"like": id_})
        assert "&lt;/textarea&gt;&lt;script&gt;" in past.text
        assert "<script>" not in past.text.replace("<script defer", "")
        assert past.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("given", "doubt"),
    [
        ('{"id": 77}', "It has no 'total', which all of the last 5 inputs had."),
        ('{"id": 77, "total": "3"}', "'total' is a string; all of the last 5 inputs had a number."),
        ("[77]", "It is an array; all of the last 5 inputs had an object."),
    ],
)
async def test_an_input_that_raises_doubts_is_started_when_it_is_confirmed(
    office: Office, given: str, doubt: str
) -> None:
    url = f"/machines/{office.orders.id}/start"
    before = await office.engine.count_executions()
    async with client(office.engine, as_user(*ADMINISTRATOR)) as web:
        asked = await web.post(url, data={"input": given, "name": "doubtful"})
        assert asked.status_code == 400
        assert doubt in unescape(asked.text)
        assert given in unescape(asked.text)
        assert 'value="doubtful"' in asked.text
        assert asked.headers["cache-control"] == "no-store"
        assert await office.engine.count_executions() == before
        started = await web.post(url, data={"input": given, "name": "doubtful", "confirmed": "1"})
        assert started.status_code == 303
    assert await office.engine.count_executions() == before + 1


async def test_the_first_states_are_tried_with_an_input(office: Office) -> None:
    chosen = {"Variable": "$.total", "NumericGreaterThan": 3, "Next": "Fulfil"}
    states = {
        "Note": {"Type": "Pass", "Next": "IsLarge"},
        "IsLarge": {"Type": "Choice", "Choices": [chosen], "Default": "Fulfil"},
        "Fulfil": {"Type": "Task", "Resource": "pack", "Parameters": {"id.$": "$.id"}, "End": True},
    }
    machine = await office.engine.create_state_machine("packing", {"StartAt": "Note", "States": states})
    url = f"/machines/{machine.id}/start"
    async with client(office.engine, as_user("read", "start")) as web:
        for given, doubt in (
            ("{}", "In state 'IsLarge' it fails with States.Runtime"),
            ('{"total": 4}', "In state 'Fulfil' it fails with States.Runtime"),
        ):
            assert doubt in unescape((await web.post(url, data={"input": given})).text)
        assert (await web.post(url, data={"input": '{"total": 4, "id": 5}'})).status_code == 303


async def test_past_inputs_are_compared_for_those_only_who_may_see_payloads(office: Office) -> None:
    async with client(office.engine, as_user("read", "start")) as web:
        page = await web.get(f"/machines/{office.orders.id}", params={"like": office.seen["succeeded"].id})
        assert "s3cret-payload" not in page.text
        asked = await web.post(f"/machines/{office.orders.id}/start", data={"input": '{"id": 77}'})
        assert asked.status_code == 303


async def test_what_failed_of_a_batch_is_redriven(office: Office) -> None:
    office.broken.clear()
    id_ = await office.batch()
    assert (await office.engine.get_batch(id_)).item_counts.failed
    async with client(office.engine, as_user(*OPERATOR)) as web:
        assert (await web.post(f"/batches/{id_}/redrive")).headers["location"] == f"/batches/{id_}?done=batch_redriven"
    while (counts := (await office.engine.get_batch(id_)).item_counts).running:
        await asyncio.sleep(0.001)
    assert counts.failed == 0
    assert counts.succeeded == counts.total


@pytest.mark.parametrize("mode", [{}, {"distributed": "1"}])
async def test_a_batch_is_counted_then_started_and_runs_in_the_background(office: Office, mode: dict[str, str]) -> None:
    office.broken.clear()
    form = {"target": office.invoices.id, "machine": office.orders.id, "status": "FAILED", "prefix": "again", **mode}
    async with client(office.engine, as_user(*ADMINISTRATOR)) as web:
        counted = await web.post("/batches/new", data={**form, "step": "count"})
        assert "2 executions would be started" in counted.text
        assert "choose" in (await web.get("/batches/new")).text
        assert (await web.post("/batches/new", data={**form, "tolerated": "-3", "step": "start"})).status_code == 400
        started = await web.post("/batches/new", data={**form, "step": "start"})
        assert started.status_code == 303
        id_ = await office.batch()
        while (await office.engine.get_batch(id_)).status == "RUNNING":
            await asyncio.sleep(0.001)
        assert (await office.engine.get_batch(id_)).item_counts.total == 2
        assert not mode or "Shards" in (await web.get(f"/batches/{id_}")).text
        assert (await web.post(f"/batches/{id_}/resume")).status_code == 303
        assert (await web.post(f"/batches/{id_}/stop")).status_code == 303
    assert batches_page.FEW <= 200


async def test_a_distributed_batch_that_was_stopped_is_resumed(office: Office) -> None:
    sources = ExecutionFilter(state_machine_id=office.orders.id, status="SUCCEEDED")
    async with Engine(office.engine.repository, role="client") as elsewhere:  # it stores the batch, and runs nothing
        options = BatchExecutionOptions(mode="DISTRIBUTED", name_prefix="stopped")
        stored = await elsewhere.start_batch(office.invoices.id, sources, options=options)
        await elsewhere.stop_batch(stored.id)
    office.broken.clear()
    async with client(office.engine, as_user(*ADMINISTRATOR)) as web:
        page = (await web.get(f"/batches/{stored.id}")).text
        assert "ABORTED" in page
        resumed = await web.post(f"/batches/{stored.id}/resume")
        assert resumed.headers["location"] == f"/batches/{stored.id}?done=batch_resumed"
        while (batch := await office.engine.get_batch(stored.id)).status != "SUCCEEDED":
            await asyncio.sleep(0.001)
        assert batch.item_counts.succeeded == batch.item_counts.total
        assert "done" in (await web.get(f"/batches/{stored.id}")).text


ACTIONS = {
    "/executions/{failed}/stop": ("stop", {}),
    "/executions/{failed}/redrive": ("redrive", {}),
    "/executions/{failed}/delete": ("delete", {}),
    "/executions/selected": ("delete", {"action": "delete", "scope": "all"}),
    "/machines/{machine}/start": ("start", {"input": "{}"}),
    "/batches/new": ("start_batch", {"step": "start"}),
    "/batches/{batch}/resume": ("start_batch", {}),
    "/batches/{batch}/stop": ("stop_batch", {}),
    "/batches/{batch}/redrive": ("redrive_batch", {}),
    "/waiting/task": ("answer", {"how": "fail"}),
}


@pytest.mark.parametrize("path", ACTIONS)
async def test_an_action_needs_its_verb_its_method_and_its_own_site(office: Office, path: str) -> None:
    verb, form = ACTIONS[path]
    url = path.format(failed=office.seen["failed"].id, machine=office.orders.id, batch=await office.batch())
    before = await office.engine.list_executions()
    async with client(office.engine, as_user(*(ADMINISTRATOR - {verb}))) as web:
        refused = await web.post(url, data=form)
        assert refused.status_code == 403
        assert verb in refused.text
    async with client(office.engine, as_user(*READER)) as web:
        assert (await web.post(url, data=form)).status_code == 403
    async with client(office.engine, as_user(*ADMINISTRATOR)) as web:
        for headers in (
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Sec-Fetch-Site": "none"},
        ):
            assert (await web.post(url, data=form, headers=headers)).status_code == 403
        del web.headers["Sec-Fetch-Site"]
        for origin in ("https://evil.example", "null", "http://localhost.evil.example"):
            assert (await web.post(url, data=form, headers={"Origin": origin})).status_code == 403
        assert (await web.post(url, data=form)).status_code == 403
        gone = await web.get(url)
        assert gone.status_code in {200, 404, 405, 409}
    assert await office.engine.list_executions() == before


async def test_an_older_browser_is_known_by_its_origin(office: Office) -> None:
    async with client(office.engine, as_user(*OPERATOR)) as web:
        del web.headers["Sec-Fetch-Site"]
        url = f"/executions/{office.seen['waiting'].id}/stop"
        assert (await web.post(url, headers={"Origin": "http://localhost"})).status_code == 303


async def test_a_stop_is_asked_for_and_takes_a_cause(office: Office) -> None:
    waiting = office.seen["waiting"]
    async with client(office.engine, as_user(*OPERATOR)) as web:
        url = f"/executions/{waiting.id}/stop"
        assert f'href="{url}"' in (await web.get(f"/executions/{waiting.id}")).text
        asked = (await web.get(url)).text
        assert "Stop order-900?" in asked
        assert 'name="cause"' in asked
        assert (await office.engine.get_execution(waiting.id)).status == "RUNNING"
        form = {"action": "stop", "scope": "ids", "id": waiting.id}
        several = await web.post("/executions/selected", data=form)
        assert "<li>order-900</li>" in several.text
        done = await web.post("/executions/selected", data={**hidden(several), "cause": "a mistake"})
        assert "1 execution stopped" in done.text
        assert (await office.engine.get_execution(waiting.id)).cause == "a mistake"
        assert "There is nothing to stop." in (await web.get(url)).text
        batch = f"/batches/{await office.batch()}/stop"
        assert "There is nothing to stop." in (await web.get(batch)).text
        assert (await web.get("/batches/nothing/stop")).status_code == 404
        none = await web.post("/executions/selected", data=form)
        assert "There is nothing to stop" in none.text
    async with client(office.engine, as_user(*READER)) as web:
        for each in (url, batch):
            assert (await web.get(each)).status_code == 403
