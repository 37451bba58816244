"""The language: Amazon States Language text → model → plan. No waiting, no clock, no storage in here."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from statechain.asl.definition import Definition as Definition
    from statechain.asl.definition import load as load
    from statechain.asl.drawing import DrawingFormat as DrawingFormat
    from statechain.asl.drawing import draw_execution as draw_execution
    from statechain.asl.plan import Plan as Plan
else:
    _LAZY = {
        "Definition": "definition",
        "DrawingFormat": "drawing",
        "Plan": "plan",
        "draw_execution": "drawing",
        "load": "definition",
    }

    def __getattr__(name: str) -> object:
        """Import the language with the first definition, the pictures with the first drawing: half of a start-up."""
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module  # noqa: PLC0415 -- only here is it needed

        return getattr(import_module(f"statechain.asl.{_LAZY[name]}"), name)


__all__ = ["Definition", "DrawingFormat", "Plan", "draw_execution", "load"]
