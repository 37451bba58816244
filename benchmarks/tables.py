"""Results as Markdown: results/*.json → results/tables.md, which the documentation includes."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from measuring.harness import cell
from measuring.rounds import HERE, RATE, US

Row = Mapping[str, Any]
LATE = ("starting", "waiting", "ending")


def table(names: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table, the first column's texts to the left and the figures to the right."""
    rule = [":---", *["---:"] * (len(names) - 1)]
    rows = [list(names), rule, *([cell(value) for value in line] for line in lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def figures(rows: Sequence[Row], names: Sequence[str]) -> str:
    """Return rows as they are, of the columns named."""
    return table(names, ([row.get(name) for name in names] for row in rows))


def of(rows: Iterable[Row], **wanted: object) -> list[Row]:
    """Return the rows that have these values."""
    return [row for row in rows if all(row.get(name) == value for name, value in wanted.items())]


def values(rows: Iterable[Row], name: str) -> list[Any]:
    """Return the values of a column, each once, in order."""
    return list(dict.fromkeys(row[name] for row in rows))


def times(row: Row) -> str:
    """Return a ratio, and the least and greatest of its rounds."""
    rounds = row["ratios"]
    spread = f" ({cell(min(rounds))} to {cell(max(rounds))})" if len(rounds) > 1 else ""
    return cell(row["ratio"]) + spread


def against_the_floor(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the tables of `ratios.py`."""
    titles = {"executions": "Durable executions of five tasks", "chained": "Chained executions of three tasks"}
    for what, title in titles.items():
        lines = []
        for ours in of(rows, what=what, who=US):
            about = {"what": what, "storage": ours["storage"], "concurrency": ours["concurrency"]}
            (floor,) = of(rows, **about, who="floor")
            place = f"{ours['storage']}, {ours['concurrency']:,}"
            latencies = [ours[name] for name in ("p50 ms", "p99 ms") if name in ours]
            laden = [figure for row in of(rows, **about, who="floor, handlers") for figure in (row[RATE], times(row))]
            lines.append([place, ours[RATE], *latencies, floor[RATE], times(floor), *laden])
        names = ["storage, at a time", "engine"]
        if what == "executions":
            names += ["p50 ms", "p99 ms", "floor", "engine / floor", "floor with handlers", "engine / that"]
        else:
            names += ["floor", "engine / floor"]
        yield f"**{title}**, a second, and as a share of the bare floor (median of the rounds, least and greatest)"
        yield table(names, lines)
    wide = of(rows, who="floor, wide")
    if wide:
        yield "**With every column and guard of the engine**, executions a second of a floor that is widened to them"
        lines = [[f"{row['storage']}, {row['concurrency']:,}", row[RATE], times(row)] for row in wide]
        yield table(["storage, at a time", "wide floor", "engine / wide floor"], lines)
        yield "**What an execution uses**: microseconds of processor time, of the client and of the server, and WAL"
        yield table(*_used(rows))
    commits = of(rows, who="commits")
    if commits:
        yield "**One at a time**, as a share of what the commits of its durable points alone allow"
        lines = [[row["storage"], row["p50 ms"], row[RATE], times(row)] for row in commits]
        yield table(["storage", "a commit, p50 ms", "executions a second they allow", "engine / commits"], lines)


def _used(rows: Sequence[Row]) -> tuple[list[str], list[list[object]]]:
    """Return the names and the lines of the table of processor time."""
    who = [US, "floor", "floor, wide", "floor, handlers"]
    lines: list[list[object]] = []
    for ours in of(rows, what="executions", who=US):
        mine = {"what": "executions", "storage": ours["storage"], "concurrency": ours["concurrency"]}
        clients = [of(rows, **mine, who=each)[0]["client us"] for each in who]
        used = [of(rows, **mine, who=each)[0].get(name) for name in ("server us", "WAL bytes") for each in who[:3:2]]
        lines.append([f"{ours['storage']}, {ours['concurrency']:,}", *clients, *used])
    servers = ["server", "server, wide floor", "WAL bytes", "WAL bytes, wide floor"]
    return ["storage, at a time", "engine", *who[1:], *servers], lines


def against_peers(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the tables of `side_by_side.py`."""
    titles = {
        "executions": "Executions of five steps",
        "chained": "Chained executions of three steps",
        "transitions": "Transitions",
    }
    for what in values(rows, "what"):
        for storage in values(of(rows, what=what), "storage"):
            some = of(rows, what=what, storage=storage)
            concurrencies = values(some, "concurrency")
            lines = []
            for who in values(some, "who"):
                mine = [of(some, who=who, concurrency=concurrency)[0] for concurrency in concurrencies]
                shown = [f"{cell(row[RATE])} ({cell(row['ratio'])}×)" if "ratio" in row else row[RATE] for row in mine]
                lines.append([who, *shown])
            yield f"**{titles[what]}, {storage}**, a second (and how many times that {US} does, in the same round)"
            yield table(["", *(f"{concurrency:,} at a time" for concurrency in concurrencies)], lines)


def of_growth(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the table of `growth.py`."""
    yield figures(rows, ("storage", "sources", "concurrency", RATE, "first result ms", "peak MiB"))


def plain(*names: str) -> Callable[[Sequence[Row]], Iterator[str]]:
    """Return what yields the columns as they are."""

    def tables(rows: Sequence[Row]) -> Iterator[str]:
        yield figures(rows, names)

    return tables


def of_paging(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the tables of `paging.py`."""
    names = ("what", "storage", "executions", "page", "first page ms", "last page ms", "count ms")
    yield figures([row for row in rows if "count ms" in row], names)
    whole = ("storage", "executions", "statistics ms", "walked/s", "load s")
    yield figures([row for row in rows if "statistics ms" in row], whole)


IN_FLIGHT = (
    *("waiting for", "storage", "executions", "bytes each"),
    *(f"{kind}, {when}" for kind in ("late ms", "without collections") for when in LATE),
)
SECTIONS: Mapping[str, tuple[str, Callable[[Sequence[Row]], Iterator[str]]]] = {
    "ratios": ("Against the floor", against_the_floor),
    "side_by_side": ("Against peers", against_peers),
    "growth": ("Batches as they grow", of_growth),
    "paging": ("Reads", of_paging),
    "interpreter": ("Transitions in memory", plain("states", "transitions/s", "us each")),
    "inflight": ("Waiting executions in one process, and how late the event loop was", plain(*IN_FLIGHT)),
    "startup": ("Start-up", plain("what", "ms")),
}


def write_tables(results: Path) -> None:
    """Write the tables of all results that are there."""
    parts = ["<!-- Made by benchmarks/tables.py from the results beside it. -->"]
    told = {name: json.loads(file.read_text()) for name in SECTIONS if (file := results / f"{name}.json").exists()}
    sizes = {result["settings"]["size"] for result in told.values()}
    if "tiny" in sizes:
        parts.append("*Some of these runs were of the tiny size: they show that the scripts run, not how fast it is.*")
    elif "small" in sizes:
        parts.append("*Some of these runs were of the small size, of fewer rounds and executions than the full one.*")
    for name, result in told.items():
        title, tables = SECTIONS[name]
        settings = ", ".join(f"{key} {value}" for key, value in result["settings"].items())
        parts += [f"### {title}", *tables(result["rows"]), f"{settings}."]
    (results / "tables.md").write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    write_tables(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "results")
