"""Batches as they grow: throughput, time to the first result and peak memory, from a thousand sources to many.

Each size is a fresh process and storage, in turn, round after round; `batches.py` measures it.
"""

from measuring.harness import numbers, parser, settings, show
from measuring.rounds import US, Measurement, storages, take_in_turn


def main() -> None:
    """Measure, and print a table or JSON."""
    arguments = parser(__doc__)
    arguments.add_argument("--postgres", help="a PostgreSQL URL, of a role that may create databases")
    arguments.add_argument("--sources", type=numbers, default=[1000, 10_000, 100_000])
    arguments.add_argument("--concurrency", type=int, default=100)
    options = arguments.parse_args()
    plan = [
        Measurement(
            about={"storage": name, "concurrency": options.concurrency, "sources": size},
            who=US,
            script="batches.py",
            arguments=["--sources", size, "--concurrency", options.concurrency],
            storage=storage,
            rate="sources/s",
        ).on(tuned=options.tuned)
        for name, storage in storages(options.postgres).items()
        for size in options.sources
    ]
    show(settings(options, options.postgres), take_in_turn(plan, options.rounds), as_json=options.json)


if __name__ == "__main__":
    main()
