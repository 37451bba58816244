"""Pictures in pages: classes, variables for dark mode, links, markers, and cut stretches of a timeline."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statechain.asl import load
from statechain.drawing.axis import Axis
from statechain.drawing.graph import Graph, graph_of
from statechain.drawing.style import COLOUR, stylesheet
from statechain.drawing.svg import to_svg

SVG = "{http://www.w3.org/2000/svg}"


def graph(name: str = "Work") -> Graph:
    return graph_of(load({"StartAt": name, "States": {name: {"Type": "Pass", "End": True}}}).model)


def test_every_class_of_a_picture_is_in_the_stylesheet() -> None:
    picture = ET.fromstring(to_svg(graph()))
    style = picture.findtext(f"{SVG}style") or ""
    painted = {name for each in picture.iter() for name in each.get("class", "").split() if "-" in name}
    assert {name for name in painted if name != "sc-picture"} <= set(re.findall(r"\.([\w-]+)\{", style))
    assert style == stylesheet()
    assert "prefers-color-scheme:dark" in style


def test_states_are_named_and_may_be_linked() -> None:
    picture = ET.fromstring(to_svg(graph('"<Work>"'), link=lambda state: f"?state={state}&x=1"))
    (box,) = [each for each in picture.iter(f"{SVG}g") if each.get("class") == "state"]
    assert box.get("data-state") == '"<Work>"'
    assert [each.get("href") for each in box.iter(f"{SVG}a")] == ['?state="<Work>"&x=1']


def test_two_pictures_on_one_page_have_markers_of_their_own() -> None:
    def ids(name: str) -> set[str]:
        return {each.get("id", "") for each in ET.fromstring(to_svg(graph(name))).iter(f"{SVG}marker")}

    assert len(ids("One")) == 4
    assert not ids("One") & ids("Two")


def test_a_picture_inside_a_page_leaves_style_and_title_to_the_page() -> None:
    picture = ET.fromstring(to_svg(graph(), is_inline=True))
    assert picture.find(f"{SVG}style") is None
    assert "style=" not in to_svg(graph(), is_inline=True)


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


TEXTS = [name for name in COLOUR if name in {"ink", "grey"} or name.startswith("type-") or f"{name}-fill" in COLOUR]


@pytest.mark.parametrize("dark", [0, 1])
@pytest.mark.parametrize("name", TEXTS)
def test_texts_can_be_read_on_the_ground(name: str, dark: int) -> None:
    lights = sorted(luminance(COLOUR[each][dark]) for each in (name, "ground"))
    assert (lights[1] + 0.05) / (lights[0] + 0.05) >= 4.5


# A timeline's axis


def test_a_long_stretch_in_which_nothing_happens_is_cut() -> None:
    axis = Axis.of([1, 2, 86_402], 86_404, 0, 600)
    assert [(each.begin, each.end, each.is_cut) for each in axis.stretches] == [
        (0, 2, False),
        (2, 86_402, True),
        (86_402, 86_404, False),
    ]
    assert axis.x(1) > 100
    assert axis.x(86_404) == pytest.approx(600)


def test_what_fits_is_not_cut() -> None:
    assert [each.is_cut for each in Axis.of([1, 2, 5], 6, 0, 600).stretches] == [False]


@given(st.lists(st.floats(0, 1e6)), st.floats(0.001, 1e6))
def test_an_axis_is_as_wide_as_it_was_asked_to_be_and_never_runs_back(moments: list[float], whole: float) -> None:
    axis = Axis.of(moments, whole, 10, 600)
    places = [axis.x(moment) for moment in sorted([0, *moments, whole])]
    assert places == sorted(places)
    assert places[0] == pytest.approx(10)
    assert axis.x(whole) == pytest.approx(610)
    assert [x for _, x in axis.ticks()] == sorted(x for _, x in axis.ticks())
