"""The language: Amazon States Language text → model → plan. No waiting, no clock, no storage in here."""

from typing import TYPE_CHECKING

from statechain.lazy import importer

if TYPE_CHECKING:
    from statechain.asl.definition import Definition as Definition
    from statechain.asl.definition import load as load
    from statechain.asl.definition import load_stored as load_stored
    from statechain.asl.plan.plan import Plan as Plan
else:
    # The language is imported with the first definition: a third of a start-up.
    __getattr__ = importer(
        __name__,
        {
            "Definition": "statechain.asl.definition",
            "Plan": "statechain.asl.plan.plan",
            "load": "statechain.asl.definition",
            "load_stored": "statechain.asl.definition",
        },
    )


__all__ = ["Definition", "Plan", "load", "load_stored"]
