"""A definition's text → value: JSON or YAML, as it begins."""

from __future__ import annotations

from statechain.asl.text.json_text import read_json
from statechain.asl.text.places import Positions
from statechain.asl.text.yaml_text import read_yaml
from statechain.codec import JSONValue
from statechain.limits import Limits

__all__ = ["read_text"]


def read_text(text: str, limits: Limits) -> tuple[JSONValue, Positions]:
    """Read a definition: JSON where it begins with a brace, YAML otherwise. Raises DefinitionError."""
    text = text.removeprefix("\ufeff")
    return read_json(text, limits) if text.lstrip().startswith("{") else read_yaml(text, limits)
