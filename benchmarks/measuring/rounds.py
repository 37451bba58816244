"""Measurements taken in turn, round after round, each in a fresh process with a fresh storage.

Machines change from minute to minute, and what is compared changes with them. So what is compared runs next to each
other, a ratio is taken inside its round, and what is reported is the median of the rounds. Every other round runs
backwards, so that nothing always comes first.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import attrs

from measuring.scripts import run

HERE = Path(__file__).parents[1]
US = "statechain"
RATE = "per second"

Storage = Callable[[], AbstractContextManager[str]]
"""What lends the URL of a fresh storage."""


@contextmanager
def memory() -> Iterator[str]:
    """Lend the process's memory."""
    yield "memory://"


@contextmanager
def sqlite() -> Iterator[str]:
    """Lend a SQLite file that is not there yet."""
    with tempfile.TemporaryDirectory() as folder:
        yield f"sqlite:///{Path(folder) / 'benchmark.db'}"


@contextmanager
def postgres(url: str) -> Iterator[str]:
    """Lend a database that is made on the server, and dropped afterwards."""
    name = f"benchmark_{uuid4().hex}"
    asyncio.run(_execute(url, f"CREATE DATABASE {name}"))
    try:
        yield urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
    finally:
        asyncio.run(_execute(url, f"DROP DATABASE {name} WITH (FORCE)"))


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def storages(postgres_url: str | None) -> Mapping[str, Storage]:
    """Return the durable storages to measure: SQLite, and PostgreSQL where a server is named."""
    durable: dict[str, Storage] = {"SQLite": sqlite}
    return durable | {"PostgreSQL": partial(postgres, postgres_url)} if postgres_url else durable


@attrs.frozen
class Measurement:
    """One figure to take: what it is about, whose it is, and the script that takes it.

    Attributes:
        about: What is measured; figures of equal `about` are held against each other.

        who: Whose figure it is.

        script: The script, below this folder; its last line of output is JSON with one row.

        arguments: What the script is given besides a storage.

        storage: What lends a storage, which the script takes as ``--url``.

        rate: The name that the script gives the rate of which ratios are made.
    """

    about: Mapping[str, Any]
    who: str
    script: str
    arguments: Sequence[object]
    storage: Storage = memory
    rate: str = "executions/s"

    def on(self, *, tuned: bool) -> Self:
        """Return the same measurement as it is, or tuned."""
        return attrs.evolve(self, arguments=[*self.arguments, "--tuned"]) if tuned else self

    def take(self) -> dict[str, Any]:
        """Run the script; return its row."""
        done = self._run()
        if done.returncode and self.who != US:
            print(f"{self.script} of {self.who} failed, and is tried once more", file=sys.stderr)
            done = self._run()
        if done.returncode:
            sys.exit(f"{self.script} of {self.who} failed:\n{done.stderr}")
        (row,) = json.loads(done.stdout.strip().splitlines()[-1])["rows"]
        told = ", ".join(map(str, self.about.values()))
        print(f"{told}: {self.who} {row[self.rate]:,.0f} {self.rate}", file=sys.stderr)
        figures = {name: value for name, value in row.items() if isinstance(value, float) and not name.endswith("/s")}
        return {RATE: row[self.rate], **figures}

    def _run(self) -> subprocess.CompletedProcess[str]:
        with self.storage() as url:
            return run(HERE / self.script, ["--json", "--url", url, *map(str, self.arguments)])


def take_in_turn(plan: Sequence[Measurement], rounds: int) -> list[dict[str, Any]]:
    """Take all measurements in each round; return a row for each, with medians, and our ratios to the others."""
    taken: list[list[dict[str, Any]]] = [[] for _ in plan]
    for number in range(rounds):
        places = range(len(plan))
        for place in places if number % 2 == 0 else reversed(places):
            taken[place].append(plan[place].take())
    ours = {_key(one): rows for one, rows in zip(plan, taken, strict=True) if one.who == US}
    return [_summary(one, rows, ours.get(_key(one))) for one, rows in zip(plan, taken, strict=True)]


def _key(measurement: Measurement) -> tuple[object, ...]:
    return tuple(measurement.about.items())


def _summary(
    measurement: Measurement, rows: Sequence[Mapping[str, float]], ours: Sequence[Mapping[str, float]] | None
) -> dict[str, Any]:
    figures = {name: median(row[name] for row in rows) for name in rows[0]}
    summary = {**measurement.about, "who": measurement.who, **figures}
    if ours is None or measurement.who == US:
        return summary
    ratios = [mine[RATE] / row[RATE] for mine, row in zip(ours, rows, strict=True)]
    return {**summary, "ratio": median(ratios), "ratios": ratios}
