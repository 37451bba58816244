"""statechain and its peers, the same work in turn, as medians of ratios.

Every figure comes from a fresh process on a fresh storage, with the peer's documented fast path and its default
durability (README.md says which). What is not installed here is left out: `nox -s bench_peers` installs all.
"""

import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version

from measuring.harness import count_for, numbers, parser, settings, show
from measuring.rounds import US, Measurement, Storage, memory, storages, take_in_turn

DURABLE = {"dbos": "dbos", "langgraph": "langgraph", "absurd": "absurd-sdk"}
CHAINING = ("dbos", "langgraph")
IN_MEMORY = {"transitions": "transitions", "statemachine": "python-statemachine"}
MOST = 5000
CHAINED_STEPS = 3


def installed(package: str) -> bool:
    """Return whether a package is installed; print a line if it is not."""
    try:
        version(package)
    except PackageNotFoundError:
        print(f"{package} is not installed: left out", file=sys.stderr)
        return False
    return True


def executions(name: str, storage: Storage, concurrency: int, most: int, peers: Sequence[str]) -> Iterator[Measurement]:
    """Yield what measures durable executions of five steps."""
    about = {"what": "executions", "storage": name, "concurrency": concurrency}
    sizes = ["--concurrency", concurrency, "--executions"]
    yield Measurement(about, US, "executions.py", ["--rounds", 1, *sizes, _ours(concurrency, most)], storage)
    for peer in peers:
        if peer != "absurd" or name == "PostgreSQL":
            yield Measurement(about, peer, f"peers/{peer}_steps.py", [*sizes, max(most, concurrency)], storage)


def chains(name: str, storage: Storage, concurrency: int, most: int, peers: Sequence[str]) -> Iterator[Measurement]:
    """Yield what measures chains: an execution of three steps for each finished one of one step."""
    about = {"what": "chained", "storage": name, "concurrency": concurrency}
    sizes = ["--concurrency", concurrency, "--steps", CHAINED_STEPS]
    ours = ["--rounds", 1, *sizes, "--sources", _ours(concurrency, most)]
    yield Measurement(about, US, "batches.py", ours, storage, "sources/s")
    for peer in peers:
        if peer in CHAINING:
            theirs = [*sizes, "--executions", max(most, concurrency), "--chained"]
            yield Measurement(about, peer, f"peers/{peer}_steps.py", theirs, storage)


def transitions(most: int, peers: Sequence[str]) -> Iterator[Measurement]:
    """Yield what measures transitions in memory, a task that does nothing at each."""
    about = {"what": "transitions", "storage": "in memory", "concurrency": 1}
    ours = ["--only", "Task", "--rounds", 3, "--executions", max(1, most // 5)]
    yield Measurement(about, US, "interpreter.py", ours, rate="transitions/s")
    for peer in peers:
        sizes = ["--executions", 20 * most]
        yield Measurement(about, peer, f"peers/{peer}_steps.py", sizes, memory, "transitions/s")


def _ours(concurrency: int, most: int) -> int:
    """Return how many executions statechain runs for a peer's count: it needs more to be measurable."""
    return min(count_for(concurrency, MOST), 50 * most)


def main() -> None:
    """Measure, and print a table or JSON."""
    arguments = parser(__doc__)
    arguments.add_argument("--postgres", help="a PostgreSQL URL, of a role that may create databases")
    arguments.add_argument("--concurrency", type=numbers, default=[1, 10, 100])
    arguments.add_argument("--chained", type=numbers, default=[10, 100], help="concurrency of the chains")
    arguments.add_argument("--executions", type=int, default=100, help="of each peer, in each measurement")
    options = arguments.parse_args()
    durable = [peer for peer, package in DURABLE.items() if installed(package)]
    in_memory = [peer for peer, package in IN_MEMORY.items() if installed(package)]
    plan = [
        measurement
        for name, storage in storages(options.postgres).items()
        for kind, concurrencies in ((executions, options.concurrency), (chains, options.chained))
        for concurrency in concurrencies
        for measurement in kind(name, storage, concurrency, options.executions, durable)
    ]
    plan += transitions(options.executions, in_memory)
    packages = [{**DURABLE, **IN_MEMORY}[peer] for peer in (*durable, *in_memory)]
    packages += ["langgraph-checkpoint-postgres", "langgraph-checkpoint-sqlite"] if "langgraph" in durable else []
    rows = take_in_turn([one.on(tuned=options.tuned) for one in plan], options.rounds)
    show(settings(options, options.postgres, *packages), rows, as_json=options.json)


if __name__ == "__main__":
    main()
