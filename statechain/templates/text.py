"""Template text → value: YAML with CloudFormation's tags and with aliases, or JSON, with the place of each value.

``!Ref X`` is ``{"Ref": "X"}``, ``!GetAtt A.B`` is ``{"Fn::GetAtt": ["A", "B"]}``, ``!Sub x`` is ``{"Fn::Sub": "x"}``.
"""

from __future__ import annotations

from typing import Any, Final

import attrs

from statechain.asl.text import Place, Positions, YAMLReader, pointer_to, read_json, read_yaml_with
from statechain.codec import JSONValue
from statechain.limits import Limits

__all__ = ["Template", "read_template"]

MOST_MEMBERS: Final = 100_000
"""How many values aliases and merge keys may come to in all."""


@attrs.frozen
class Template:
    """A template that was read.

    Attributes:
        value: What it says, with functions in their long form.

        positions: The place of each value.

        blocks: The places of the first characters of YAML's literal blocks, by the pointers of their values.
    """

    value: JSONValue
    positions: Positions
    blocks: dict[str, Place]


def read_template(text: str, limits: Limits) -> Template:
    """Read a template: JSON where it begins with a brace, YAML otherwise. Raises DefinitionError."""
    if text.lstrip("\ufeff \t\r\n").startswith("{"):
        return Template(*read_json(text.removeprefix("\ufeff"), limits), {})
    readers: list[_TemplateReader] = []

    def make(*arguments: Any) -> YAMLReader:  # noqa: ANN401 -- PyYAML has no types here
        readers.append(_TemplateReader(*arguments, lines=text.splitlines()))
        return readers[-1]

    value, positions = read_yaml_with(text, limits, make)
    return Template(value, positions, readers[0].blocks)


class _TemplateReader(YAMLReader):
    """Reads YAML as templates have it."""

    def __init__(self, *arguments: Any, lines: list[str]) -> None:  # noqa: ANN401
        super().__init__(*arguments)
        self._lines = lines
        self._anchors: dict[str, JSONValue] = {}
        self._size = 0
        self.blocks: dict[str, Place] = {}

    def _check_event(self, event: Any) -> None:  # noqa: ANN401
        """Accept anchors and tags."""

    def _value(self, event: Any, pointer: str, depth: int) -> JSONValue:  # noqa: ANN401
        if isinstance(event, self._yaml.AliasEvent):
            self.positions[pointer] = self._place(event)
            if event.anchor not in self._anchors:
                self._report("alias", f"there is no anchor {event.anchor!r} before this", event, pointer)
                return None
            return self._shared(self._anchors[event.anchor], event, pointer)
        tag, anchor = event.tag or "", event.anchor
        name = "" if not tag.startswith("!") or tag == "!" else tag[1:]
        key = name if name in {"Ref", "Condition"} else f"Fn::{name}"
        at = pointer_to(pointer, key) if name else pointer
        value = self._tagged(event, at, depth) if name else super()._value(event, pointer, depth)
        self.positions[pointer] = self.positions[at]
        if isinstance(event, self._yaml.ScalarEvent) and event.style == "|":
            self._note_block(event, at)
        if name:
            # `!GetAtt A.B` names a resource and an attribute, and the attribute may have dots.
            is_path = name == "GetAtt" and isinstance(value, str)
            value = {key: list(str(value).partition(".")[::2]) if is_path else value}
        if anchor:
            self._anchors[anchor] = value
        return value

    def _key(self, event: Any, pointer: str, depth: int) -> str | None:  # noqa: ANN401
        """Return a key as a string: templates have numbers, such as 200, as keys."""
        return str(event.value) if isinstance(event, self._yaml.ScalarEvent) else super()._key(event, pointer, depth)

    def _tagged(self, event: Any, pointer: str, depth: int) -> JSONValue:  # noqa: ANN401
        """Return the argument of a function: a scalar is a string."""
        if isinstance(event, self._yaml.ScalarEvent):
            self.positions[pointer] = self._place(event)
            return str(event.value)
        return super()._value(event, pointer, depth + 1)

    def _shared(self, value: JSONValue, event: Any, pointer: str) -> JSONValue:  # noqa: ANN401
        """Return the value of an alias, as long as all of them together are not too large."""
        pending = [value]
        # Each use of an alias counts all of its values: a few lines could unfold to billions.
        while pending and self._size <= MOST_MEMBERS:
            item = pending.pop()
            self._size += 1
            pending.extend(item.values() if isinstance(item, dict) else item if isinstance(item, list) else ())
        if self._size <= MOST_MEMBERS:
            return value
        if not any(each.code == "too-large" for each in self.diagnostics):
            self._report("too-large", f"aliases come to more than {MOST_MEMBERS} values", event, pointer)
        return None

    def _merge(self, members: dict[str, JSONValue], value: JSONValue, event: Any, pointer: str) -> None:  # noqa: ANN401
        """Put in the members of a merge key: those that are there already stay."""
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, dict):
                for key, item in each.items():
                    # As YAML has it: what the mapping says itself wins, before the merge key and after it.
                    members.setdefault(key, item)
            elif each is not None:
                self._report("merge-key", "a merge key takes a mapping, or a list of them", event, pointer)

    def _note_block(self, event: Any, pointer: str) -> None:  # noqa: ANN401
        """Note where the text of a literal block begins: on the line below, indented as its first line is."""
        for number in range(event.start_mark.line + 1, event.end_mark.line + 1):
            line = self._lines[number] if number < len(self._lines) else ""
            if line.strip():
                self.blocks[pointer] = (event.start_mark.line + 2, len(line) - len(line.lstrip(" ")) + 1)
                return
