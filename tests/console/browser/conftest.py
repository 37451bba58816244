"""Chromium, and a service to look at: skipped where there is none, a failure where it is required."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
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


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def wait_for_port(port: int, process: subprocess.Popen[str]) -> None:
    """Wait until a process listens."""
    with socket.socket() as probe:
        while probe.connect_ex(("127.0.0.1", port)):
            assert process.poll() is None
            time.sleep(0.02)


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


@contextmanager
def served(folder: Path, count: int) -> Iterator[Service]:
    """Run the service with the console at /statechain, with this many executions that ended yesterday."""
    port = free_port()
    command = [sys.executable, *map(str, (PROGRAM, folder / "office.db", port, count))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        running = Service(process, f"http://127.0.0.1:{port}/statechain")
        try:
            running.wait_for("ready")
            wait_for_port(port, process)
            yield running
        finally:
            process.kill()


@pytest.fixture
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    """A service of its own for a test, with a thousand executions or as many as a test asks for."""
    with served(tmp_path, getattr(request, "param", 1000)) as running:
        yield running


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with a thousand executions, for tests that change nothing."""
    with served(tmp_path_factory.mktemp("service"), 1000) as running:
        yield running


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Callable[[str], Service]]:
    """Return a function that serves the storage of a URL by the command line."""
    with ExitStack() as stack:

        def serve(url: str) -> Service:
            port = free_port()
            command = [sys.executable, "-m", "statechain", "console", "--port", str(port), "--repository", url]
            process = stack.enter_context(
                subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True, cwd=tmp_path)
            )
            stack.callback(process.kill)
            wait_for_port(port, process)
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
