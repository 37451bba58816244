"""A folder with a definition and handlers in it, and the command line to use there."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from statechain.cli.app import cli
from support.programs import running

HANDLERS = """
import asyncio
from statechain import TaskError, TaskRegistry

tasks = TaskRegistry()
seen = []

@tasks.register
async def Price(order):
    if order.get("refuse"):
        raise TaskError("Order.Refused", "[not] for sale")
    return {**order, "total": order["quantity"] * 2}

@tasks.register
async def Bill(order):
    if order["total"] in order.get("unpaid", [6]):
        raise ValueError("nobody pays")
    return {"paid": order["total"]}

@tasks.register
async def Hang(order):
    await asyncio.Event().wait()

def double(order):
    return {**order, "total": order["total"] * 10}

async def on_start(source, index):
    seen.append(index)
"""

ORDERS = {
    "StartAt": "Price",
    "States": {
        "Price": {
            "Type": "Task",
            "Resource": "Price",
            "Catch": [{"ErrorEquals": ["Order.Late"], "Next": "Late"}],
            "Next": "Done",
        },
        "Late": {"Type": "Fail", "Error": "TooLate"},
        "Done": {"Type": "Pass", "End": True},
    },
}
BILLS = {"StartAt": "Bill", "States": {"Bill": {"Type": "Task", "Resource": "Bill", "End": True}}}
HANGS = {"StartAt": "Hang", "States": {"Hang": {"Type": "Task", "Resource": "Hang", "End": True}}}


class CliProject:
    """Where a user sits."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write_files(self) -> None:
        """Write ``orders.json``, ``bills.json``, ``hangs.json`` and ``handlers.py``."""
        self.write("handlers.py", HANDLERS)
        self.write("orders.json", ORDERS)
        self.write("bills.json", BILLS)
        self.write("hangs.json", HANGS)

    def call(self, *arguments: str, given: str | None = None, code: int = 0) -> Result:
        """Run a command in this process, and check its exit code."""
        result = CliRunner().invoke(cli, arguments, input=given)
        assert result.exit_code == code, (result.exit_code, result.stdout, result.stderr, result.exception)
        return result

    def start(self, *arguments: str, **options: Any) -> AbstractContextManager[subprocess.Popen[str]]:
        """Run a command as a separate process."""
        program = [sys.executable, "-m", "statechain", *arguments]
        return running(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=self.folder, **options)

    def write(self, name: str, content: Any) -> str:
        """Write a file, and return its name."""
        text = content if isinstance(content, str) else json.dumps(content, indent=2)
        (self.folder / name).write_text(text)
        return name

    def run(self, name: str, quantity: int = 1, **more: Any) -> Any:
        """Run an order to its end, and return its output."""
        value = json.dumps({"quantity": quantity, **more})
        result = self.call("run", "orders.json", "--tasks", "handlers", "--name", name, "--input", value)
        return json.loads(result.stdout)

    def shown(self, execution: str) -> Any:
        """Return what is stored of an execution."""
        return json.loads(self.call("show", execution, "--json").stdout)


def rows(text: str) -> list[dict[str, str]]:
    """Return tab-separated lines as dictionaries."""
    heading, *lines = text.splitlines()
    return [dict(zip(heading.split("\t"), line.split("\t"), strict=True)) for line in lines]
