"""Chromium, and a service to look at: skipped where there is none, a failure where it is required."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs
import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "support" / "console" / "service.py"
NAMES = ("chromium", "chromium-browser", "google-chrome")


def missing(what: str) -> None:
    """Skip, or fail where STATECHAIN_REQUIRE_CHROMIUM is set."""
    if os.environ.get("STATECHAIN_REQUIRE_CHROMIUM"):
        pytest.fail(f"{what} is missing")
    pytest.skip(f"{what} is missing")


@attrs.define
class Service:
    """A process that serves the console."""

    process: subprocess.Popen[str]
    url: str

    def wait_for(self, line: str) -> None:
        """Wait until the process has written a line."""
        assert self.process.stdout is not None
        for written in self.process.stdout:
            if written.strip() == line:
                return
        raise AssertionError(f"the service ended before it wrote {line!r}")

    def stop(self) -> None:
        """End the process as a deployment does."""
        self.process.send_signal(signal.SIGTERM)


@pytest.fixture
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    """Run the service with the console at /statechain, with a thousand executions or as many as a test asks for."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    count = getattr(request, "param", 1000)
    command = [sys.executable, *map(str, (PROGRAM, tmp_path / "office.db", port, count))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        running = Service(process, f"http://127.0.0.1:{port}/statechain")
        try:
            running.wait_for("ready")
            with socket.socket() as probe:
                while probe.connect_ex(("127.0.0.1", port)):
                    continue
            yield running
        finally:
            process.kill()


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Callable[[str], Service]]:
    """Return a function that serves the storage of a URL by the command line."""
    with ExitStack() as stack:

        def serve(url: str) -> Service:
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
            command = [sys.executable, "-m", "statechain", "console", "--port", str(port), "--repository", url]
            process = stack.enter_context(
                subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True, cwd=tmp_path)
            )
            stack.callback(process.kill)
            with socket.socket() as probe:
                while probe.connect_ex(("127.0.0.1", port)):
                    assert process.poll() is None
            return Service(process, f"http://127.0.0.1:{port}")

        yield serve


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The system's Chromium, by Playwright."""
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        missing("playwright")
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        missing("Chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def messages() -> list[str]:
    """What the browser complained about; a test that ends with any fails."""
    return []


@pytest.fixture
def page(chromium: Any, messages: list[str]) -> Iterator[Any]:
    """A page in a fresh profile."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(15_000)
    opened.on("console", lambda message: messages.append(message.text))
    opened.on("pageerror", lambda error: messages.append(str(error)))
    yield opened
    context.close()
