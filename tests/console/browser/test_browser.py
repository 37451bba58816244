"""The console in Chromium: what an operator does at night, on wide and narrow screens, light and dark."""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import httpx
import pytest

from statechain import BatchExecutionOptions, Engine, ExecutionFilter

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Service

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

PATHS = ("", "executions", "executions?status=FAILED", "machines", "batches", "batches/new", "waiting", "statistics")


@pytest.mark.parametrize("service", [100_000], indirect=True)
def test_a_failed_execution_is_found_among_100_000_and_a_batch_is_redriven_and_watched(
    service: Service, page: Any, messages: list[str]
) -> None:
    page.goto(f"{service.url}/executions")
    page.get_by_label("Name or id").fill("parcel-5432")
    page.get_by_label("failed").check()
    page.get_by_role("button", name="Filter").click()
    rows = page.locator("table.list tbody tr")
    assert rows.count() == 1
    page.get_by_role("link", name="parcel-54321").click()
    assert "Parcel.Lost" in page.locator(".problem").inner_text()
    assert "left at sea" in page.locator(".problem").inner_text()

    page.get_by_role("link", name="Batches").click()
    page.get_by_role("link", name="invoices", exact=True).click()
    assert "Printer.Jam" in page.locator("main").inner_text()
    httpx.post(f"{service.url.removesuffix('/statechain')}/mend").raise_for_status()
    page.evaluate("window.isTheSamePage = true")
    page.get_by_role("button", name="Redrive what failed").click()
    page.get_by_text("What failed of the batch runs again.").wait_for()
    page.evaluate("window.isTheSamePage = true")
    page.get_by_text("Every item that has ended succeeded.").wait_for()
    assert page.evaluate("window.isTheSamePage") is True
    assert messages == []


def test_a_list_renews_itself_and_stands_while_something_is_ticked(
    service: Service, page: Any, messages: list[str]
) -> None:
    page.clock.install()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{service.url}/executions?text=order-9")
    page.evaluate("window.isTheSamePage = true")
    link = page.get_by_role("link", name="order-900").get_attribute("href")
    httpx.post(f"{service.url.removesuffix('/statechain')}{link}/stop", headers={"Sec-Fetch-Site": "same-origin"})
    page.locator("table.list .status", has_text="ABORTED").wait_for()
    assert page.evaluate("window.isTheSamePage") is True
    page.get_by_label("Tick order-900").check()
    asked.clear()
    page.clock.run_for(60_000)  # longer than the pause between two renewals, in the page's own time
    assert page.get_by_label("Tick order-900").is_checked()
    assert asked == []
    page.get_by_label("Tick order-900").uncheck()
    with page.expect_request("**/executions?text=order-9"):
        page.clock.run_for(60_000)
    assert messages == []


def test_a_state_of_the_picture_filters_and_a_payload_is_copied(
    service: Service, page: Any, messages: list[str]
) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{service.url}/executions?text=order-3")
    page.get_by_role("link", name="order-3").click()
    page.locator('g[data-state="Charge"] a').click()
    page.get_by_role("heading", name="Visits of Charge").wait_for()
    page.get_by_role("link", name="Payloads").click()
    page.get_by_label("Find in it").fill("total")
    page.get_by_role("button", name="Find").click()
    page.get_by_text("1 line has it.").wait_for()
    page.bring_to_front()  # only a page in front may write to the clipboard
    page.locator(".block .copy").click()
    page.get_by_role("button", name="Copied").wait_for()
    assert '"total": 43' in page.evaluate("navigator.clipboard.readText()")
    assert messages == []


SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


@pytest.fixture(scope="module")
def problems(shared_service: Service, chromium: Any) -> Callable[[int], dict[str, list[str]]]:
    """What is wrong with the pages at a width, in each colour scheme: each page is opened once for both."""
    return cache(lambda width: problems_at(width, shared_service, chromium))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", [1280, 390])
def test_every_page_fits_and_can_be_read_and_reached_by_keyboard(
    problems: Callable[[int], dict[str, list[str]]], scheme: str, width: int
) -> None:
    assert problems(width)[scheme] == []


def problems_at(width: int, service: Service, chromium: Any) -> dict[str, list[str]]:
    """Open every page, and look at it in each colour scheme."""
    context = chromium.new_context(viewport={"width": width, "height": 900}, bypass_csp=True)
    page = context.new_page()
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    found: dict[str, list[str]] = {scheme: [] for scheme in SCHEMES}
    for path in (*PATHS, *paths_of_one(page, service)):
        page.goto(f"{service.url}/{path}")
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") != "Skip to the page":
            messages.append(f"{path}: the first Tab leads elsewhere")
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            if not page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"):
                found[scheme].append(f"{path}: it is too wide")
            found[scheme] += [f"{path}: {problem}" for problem in serious_problems(page)]
    context.close()
    return {scheme: [*messages, *each] for scheme, each in found.items()}


def paths_of_one(page: Any, service: Service) -> list[str]:
    """Return the paths of an execution, of one that waits, of a machine and of a batch, and of their forms."""
    page.goto(f"{service.url}/executions?text=order-3")
    one = str(page.get_by_role("link", name="order-3").get_attribute("href")).removeprefix("/statechain/")
    page.goto(f"{service.url}/machines")
    machine = str(page.get_by_role("link", name="orders", exact=True).get_attribute("href"))
    page.goto(f"{service.url}/waiting")
    task = str(page.get_by_role("link", name="Answer order-900").get_attribute("href"))
    waiting = str(page.get_by_role("link", name="order-900", exact=True).get_attribute("href"))
    page.goto(f"{service.url}/batches")
    batch = str(page.get_by_role("link", name="invoices", exact=True).get_attribute("href"))
    of_one = [f"{one}{part}" for part in ("", "/timeline", "/events", "/payload", "/chain")]
    forms = (
        task,
        waiting,
        f"{waiting}/stop",
        f"{batch}/stop",
        f"{machine}?revision=1&against=1",
        f"{machine}?like={one.rpartition('/')[2]}",
        f"{batch}/counts",
        f"{batch}?items=all",
    )
    return [*of_one, *(each.removeprefix("/statechain/") for each in (machine, batch, *forms))]


async def leave_long_names(url: str) -> tuple[list[str], str]:
    """Store a machine, its states, executions and a batch that have the longest names; return pages of them."""
    widest, error = "W" * 80, "E" * 200
    definition = {
        "StartAt": widest,
        "States": {
            widest: {"Type": "Pass", "Next": f"{widest[1:]}2"},
            f"{widest[1:]}2": {"Type": "Fail", "Error": error, "Cause": "C" * 3000},
        },
    }
    async with Engine(url) as engine:
        machine = await engine.create_state_machine(widest, definition)
        ended = await (await machine.start_execution({widest * 5: widest * 20}, name=widest)).wait()
        batched = await engine.create_state_machine(f"{widest[1:]}2", definition)
        options = BatchExecutionOptions(name_prefix=widest)
        await batched.execute_batch(ExecutionFilter(state_machine_id=machine), widest, options=options)
        (batch,) = await engine.list_batches()
    one = f"executions/{ended.id}"
    return [
        "",
        "executions",
        f"executions?text={widest}&machine={machine.id}&state={widest}",
        "machines",
        f"machines/{machine.id}",
        "batches",
        f"batches/{batch.id}",
        "statistics",
        *(f"{one}{part}" for part in ("", "/timeline", "/events", "/payload", "/chain", f"?state={widest}")),
        f"{one}/payload?of=input",
    ], widest


@pytest.mark.parametrize("width", [1280, 390])
def test_pages_with_the_longest_names_are_no_wider_than_the_screen(
    console: Callable[[str], Service], chromium: Any, tmp_path: Path, width: int
) -> None:
    url = f"sqlite:///{tmp_path / 'long.db'}"
    with ThreadPoolExecutor() as pool:  # Playwright has an event loop in this thread
        paths, widest = pool.submit(lambda: asyncio.run(leave_long_names(url))).result()
    served = console(url)
    context = chromium.new_context(viewport={"width": width, "height": 900})
    page = context.new_page()
    for path in paths:
        page.goto(f"{served.url}/{path}")
        assert widest[:30] in page.text_content("main") or path in {"", "statistics"}, path
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), path
    context.close()


def test_a_task_is_answered_and_an_execution_stopped_by_keyboard_alone(
    service: Service, page: Any, messages: list[str]
) -> None:
    page.goto(f"{service.url}/waiting")
    press_on(page, "Answer order-900")
    page.get_by_role("heading", name="It failed").wait_for()
    page.get_by_label("Error name").focus()
    page.keyboard.type("Order.Refused")
    press_on(page, "Fail the task")
    page.get_by_text("Answered: the task has failed.").wait_for()
    press_on(page, "Redrive")
    page.get_by_text("Redriven: it runs again.").wait_for()
    press_on(page, "Stop…")
    page.get_by_role("heading", name="Stop order-900?").wait_for()
    press_on(page, "Stop it")
    page.get_by_text("Stopped.", exact=True).wait_for()
    press_on(page, "Delete…")
    page.get_by_role("heading", name="Delete 1 execution?").wait_for()
    press_on(page, "Delete 1")
    page.get_by_role("heading", name="1 execution deleted").wait_for()
    assert messages == []


def press_on(page: Any, name: str) -> None:
    """Press Tab until what has this name has the focus, then Enter; a poll of the page may have to bring it first."""
    either = page.get_by_role("button", name=name, exact=True).or_(page.get_by_role("link", name=name, exact=True))
    either.first.wait_for()
    for _ in range(100):
        page.keyboard.press("Tab")
        said = page.evaluate("document.activeElement.ariaLabel || document.activeElement.textContent")
        if said.strip() == name:
            page.keyboard.press("Enter")
            page.wait_for_load_state()
            return
    raise AssertionError(f"no Tab leads to {name!r}")


def serious_problems(page: Any) -> list[str]:
    """Return what axe finds serious in a page; rules of less impact, which take a fifth of its time, are left out."""
    axe_playwright_python = pytest.importorskip("axe_playwright_python")
    if not page.evaluate("'axe' in window"):
        page.evaluate((Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text())
    found = page.evaluate(AXE)
    return [
        f"{each['id']}: {each['nodes'][0]['html'][:160]}"
        for each in found["violations"]
        if each["impact"] in {"serious", "critical"}
    ]


AXE = """() => {
  const minor = axe._audit.rules.filter((rule) => ["moderate", "minor"].includes(rule.impact));
  const rules = Object.fromEntries(minor.map((rule) => [rule.id, {enabled: false}]));
  return axe.run(document, {resultTypes: ["violations"], rules});
}"""


def test_pages_work_without_scripts(service: Service, chromium: Any) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{service.url}/waiting")
    page.get_by_role("link", name="Answer order-900").click()
    page.get_by_label("Output, as JSON").fill('{"by": "bea"}')
    page.get_by_role("button", name="Send the output").click()
    assert re.search("Answered", page.locator(".done").inner_text())
    context.close()


def test_sigterm_leaves_the_lifespan_at_once_while_a_page_is_open(service: Service, page: Any) -> None:
    page.goto(f"{service.url}/")
    page.get_by_role("link", name="Waiting", exact=True).click()
    page.get_by_role("link", name="order-900", exact=True).wait_for()
    service.stop()
    service.wait_for("leaving")  # the service waits without end for connections that are open
