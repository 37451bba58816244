"""The language: Amazon States Language text → model → plan. No waiting, no clock, no storage in here."""

from typing import TYPE_CHECKING

from statechain.lazy import importer

if TYPE_CHECKING:
    from statechain.asl.definition import Definition as Definition
    from statechain.asl.definition import load as load
    from statechain.asl.definition import load_stored as load_stored
    from statechain.asl.plan.plan import Plan as Plan
    from statechain.drawing.draw import DrawingFormat as DrawingFormat
    from statechain.drawing.draw import draw_execution as draw_execution
else:
    # The language comes with the first definition, the pictures with the first drawing: half of a start-up.
    __getattr__ = importer(
        __name__,
        {
            "Definition": "statechain.asl.definition",
            "DrawingFormat": "statechain.drawing.draw",
            "Plan": "statechain.asl.plan.plan",
            "draw_execution": "statechain.drawing.draw",
            "load": "statechain.asl.definition",
            "load_stored": "statechain.asl.definition",
        },
    )


__all__ = ["Definition", "DrawingFormat", "Plan", "draw_execution", "load", "load_stored"]
