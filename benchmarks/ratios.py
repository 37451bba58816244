"""The engine against the bare floor and against the driver's own commit, in turn, as medians of ratios.

Durable executions are held against `floor.py`: bare, with every column and guard that the engine writes, and with what
no engine can leave out. One at a time they are also held against `commits.py`: what the commits of their durable points
alone would take. Chained batches of a target of three steps are held against the floor of three steps, which writes no
link and no batch.
"""

from collections.abc import Iterator

from measuring.harness import numbers, parser, settings, show
from measuring.rounds import US, Measurement, Storage, storages, take_in_turn

CHAINED_STEPS = 3


def executions(name: str, storage: Storage, concurrency: int, most: int) -> Iterator[Measurement]:
    """Yield what measures durable executions."""
    about = {"what": "executions", "storage": name, "concurrency": concurrency}
    sizes = ["--rounds", 1, "--concurrency", concurrency, "--executions", most]
    yield Measurement(about, US, "executions.py", sizes, storage)
    yield Measurement(about, "floor", "floor.py", sizes, storage)
    yield Measurement(about, "floor, wide", "floor.py", [*sizes, "--wide"], storage)
    yield Measurement(about, "floor, handlers", "floor.py", [*sizes, "--handlers"], storage)
    if concurrency == 1:
        yield Measurement(about, "commits", "commits.py", ["--rounds", 1, "--commits", min(most, 2000)], storage)


def chains(name: str, storage: Storage, concurrency: int, most: int) -> Iterator[Measurement]:
    """Yield what measures chained batches."""
    about = {"what": "chained", "storage": name, "concurrency": concurrency}
    steps = ["--steps", CHAINED_STEPS, "--concurrency", concurrency, "--rounds", 1]
    yield Measurement(about, US, "batches.py", ["--sources", most, *steps], storage, "sources/s")
    yield Measurement(about, "floor", "floor.py", ["--executions", most, *steps], storage)


def main() -> None:
    """Measure, and print a table or JSON."""
    arguments = parser(__doc__)
    arguments.add_argument("--postgres", help="a PostgreSQL URL, of a role that may create databases")
    arguments.add_argument("--concurrency", type=numbers, default=[1, 10, 100, 1000])
    arguments.add_argument("--chained", type=numbers, default=[10, 100], help="concurrency of the batches")
    arguments.add_argument("--executions", type=int, default=8000, help="at most so many in a measurement")
    arguments.set_defaults(rounds=5)
    options = arguments.parse_args()
    plan = [
        measurement
        for name, storage in storages(options.postgres).items()
        for kind, concurrencies in ((executions, options.concurrency), (chains, options.chained))
        for concurrency in concurrencies
        for measurement in kind(name, storage, concurrency, options.executions)
    ]
    rows = take_in_turn([one.on(tuned=options.tuned) for one in plan], options.rounds)
    show(settings(options, options.postgres), rows, as_json=options.json)


if __name__ == "__main__":
    main()
