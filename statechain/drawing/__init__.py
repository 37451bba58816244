"""Definitions and executions as pictures: SVG, Mermaid, DOT, and a timeline."""

from typing import TYPE_CHECKING

from statechain.lazy import importer

if TYPE_CHECKING:
    from statechain.drawing.draw import DrawingFormat as DrawingFormat
    from statechain.drawing.draw import GraphFormat as GraphFormat
    from statechain.drawing.draw import draw_definition as draw_definition
    from statechain.drawing.draw import draw_execution as draw_execution
else:
    # Imported with the first picture: loading the modules that draw takes 30 ms.
    __getattr__ = importer(
        __name__,
        dict.fromkeys(["DrawingFormat", "GraphFormat", "draw_definition", "draw_execution"], "statechain.drawing.draw"),
    )


__all__ = ["DrawingFormat", "GraphFormat", "draw_definition", "draw_execution"]
