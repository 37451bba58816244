"""Takes the pictures of the console in the docs, in Chromium: `python docs/photograph.py` writes docs/pictures/console.

It needs the extra `browser`, and Chromium (Debian: apt-get install chromium). It shows what the browser tests see, each
page in light and, as `name-dark.png`, in dark.
"""

import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, ViewportSize, sync_playwright

HERE = Path(__file__).parent
PICTURES = HERE / "pictures" / "console"
SERVICE = HERE.parent / "tests" / "support" / "console" / "service.py"


@contextmanager
def served() -> Iterator[str]:
    """Run the service; yield the console's URL once it answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(SERVICE), str(Path(folder) / "office.db"), str(port), "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 -- a program of ours
            try:
                if process.stdout is None or process.stdout.readline().strip() != "ready":
                    raise RuntimeError("the service has not started")
                with socket.socket() as probe:
                    while probe.connect_ex(("127.0.0.1", port)):
                        continue
                yield f"http://127.0.0.1:{port}/statechain"
            finally:
                process.terminate()
                process.communicate()  # what it writes until it ends


def take(page: Page, url: str, suffix: str) -> None:
    """Go through the pages, and take their pictures."""

    def shoot(name: str, heading: str) -> None:
        page.get_by_role("heading", name=heading, exact=True).wait_for()
        page.screenshot(path=PICTURES / f"{name}{suffix}.png", full_page=True)

    page.goto(url)
    shoot("overview", "Longest running")
    page.goto(f"{url}/executions?text=order-3")
    page.get_by_role("link", name="order-3", exact=True).click()
    shoot("execution", "Visits")
    page.goto(f"{url}/batches")
    page.get_by_role("link", name="invoices", exact=True).click()
    shoot("batch", "Items")
    page.goto(f"{url}/waiting")
    page.get_by_role("link", name="Answer order-900").click()
    shoot("answer", "It succeeded")


def main() -> None:
    """Take all pictures."""
    with sync_playwright() as playwright, served() as url:
        options = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=options)
        size: ViewportSize = {"width": 960, "height": 600}
        take(browser.new_page(viewport=size, color_scheme="light"), url, "")
        take(browser.new_page(viewport=size, color_scheme="dark"), url, "-dark")
        browser.close()


if __name__ == "__main__":
    main()
