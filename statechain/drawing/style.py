"""Colours of pictures: attributes that any viewer shows, and classes whose CSS variables pages and dark mode change."""

from __future__ import annotations

from collections.abc import Iterator

from statechain.drawing.picture import COLOURS

__all__ = ["COLOUR", "paint", "stylesheet"]

TYPES = {
    "Task": ("#2f6fd0", "#7db2ff"),
    "Choice": ("#8a4fbf", "#c79bf0"),
    "Wait": ("#9a6410", "#e0b04c"),
    "Parallel": ("#0b7575", "#4cc4c4"),
    "Map": ("#0b7575", "#4cc4c4"),
    "Pass": ("#5b6472", "#a3acba"),
    "Succeed": ("#237a3e", "#6cc98a"),
    "Fail": ("#c5352b", "#ff8b80"),
}
DARK = {
    "succeeded": ("#16301f", "#5fbf80"),
    "caught": ("#35280e", "#e0ab45"),
    "failed": ("#3a1a1a", "#ff8177"),
    "running": ("#14273f", "#6aabf7"),
    "stopped": ("#26233a", "#a99be0"),
}
COLOUR: dict[str, tuple[str, str]] = {
    "ink": ("#1b1f24", "#e7eaf0"),
    "grey": ("#5b6472", "#a3acba"),
    "pale": ("#c3c9d2", "#3d4552"),
    "edge": ("#8b94a3", "#6d7685"),
    "ground": ("#ffffff", "#171b21"),
    "inside": ("#fafbfc", "#1c2129"),
    **{f"type-{name.lower()}": pair for name, pair in TYPES.items()},
    **{f"{name}-fill": (fill, DARK[name][0]) for name, (fill, _) in COLOURS.items()},
    **{name: (line, DARK[name][1]) for name, (_, line) in COLOURS.items()},
}
"""What is painted, with its colour on a light and on a dark ground."""


def paint(*, fill: str | None = None, stroke: str | None = None, also: str = "") -> dict[str, str]:
    """Return the attributes of an element that is painted in named colours; ``also`` are more of its classes."""
    classes = [also] if also else []
    attributes = {}
    for name, colour in (("fill", fill), ("stroke", stroke)):
        if colour is not None:
            attributes[name] = COLOUR[colour][0]
            classes.append(f"{name}-{colour}")
    return {**attributes, "class_": " ".join(classes)}


def stylesheet() -> str:
    """Return the CSS of all pictures: the variables, dark where the viewer is, and the classes that use them."""
    return "\n".join(
        [
            f".sc-picture{{{_variables(0)}}}",
            f"@media (prefers-color-scheme:dark){{.sc-picture{{{_variables(1)}}}}}",
            *_rules(),
        ]
    )


def _variables(place: int) -> str:
    return ";".join(f"--sc-{name}:{pair[place]}" for name, pair in COLOUR.items())


def _rules() -> Iterator[str]:
    for name in COLOUR:
        yield f".fill-{name}{{fill:var(--sc-{name})}}"
        yield f".stroke-{name}{{stroke:var(--sc-{name})}}"
