"""JSON Schema of a definition (draft 2020-12), made from the table of fields, for editors and other validators.

It has the form of a definition: which fields there are, what they hold, which exclude each other. `check` knows more:
where states lead, and whether paths and expressions can be read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from statechain.asl.grammar import LABEL, MAX_NAME, PARTS, STATE_TYPES, TOLERANCES, Field, Holds, Part
from statechain.asl.model import QueryLanguage
from statechain.asl.rules import KNOWN_OPERATORS

__all__ = ["definition_schema"]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
EXPRESSION: Final = {"type": "string", "pattern": r"^\{%[\s\S]*%\}$"}
PATH: Final = {"type": "string", "pattern": r"^\$"}
PATH_OR_FUNCTION: Final = {"type": "string", "pattern": r"^(\$|States\.)"}
JSON_TYPES: Final = {bool: "boolean", int: "number", float: "number", str: "string"}
SCHEMAS: Final[dict[Holds, dict[str, Any]]] = {
    Holds.STRING: {"type": "string"},
    Holds.TRUE: {"const": True},
    Holds.MOMENT: {"type": "string"},
    Holds.STRINGS: {"type": "array", "items": {"type": "string"}, "minItems": 1},
    Holds.VALUE: {},
    Holds.TEMPLATE: {},
    Holds.OBJECT: {"type": "object"},
    Holds.ITEMS: {"type": ["array", "object"]},
    Holds.CONDITION: {"type": "boolean"},
    Holds.PATH: PATH,
    Holds.ONE_PLACE: PATH,
    Holds.REFERENCE: PATH,
    Holds.PATH_OR_FUNCTION: PATH_OR_FUNCTION,
}
JSON_NUMBERS: Final = {Holds.WHOLE: "integer", Holds.NUMBER: "number"}
LANGUAGES: Final[tuple[QueryLanguage, ...]] = ("JSONPath", "JSONata")
MACHINES: Final = ("Branch", "Processor")
OF_DEFINITION: Final = ("Parallel", "Map", *MACHINES)
"""The parts that have states in them: they differ by the query language of the definition, too."""


def definition_schema() -> dict[str, Any]:
    """Return the schema as a JSON value."""
    return _Schema().root()


class _Schema:
    """Makes each part of a definition once for each query language that it may be in."""

    def __init__(self) -> None:
        self._defs: dict[str, dict[str, Any]] = {}

    def root(self) -> dict[str, Any]:
        machine = self._object(PARTS["Machine"], "JSONPath", "JSONPath")
        machine["properties"]["States"] = {"type": "object"}
        is_jsonata = {"properties": {"QueryLanguage": {"const": "JSONata"}}, "required": ["QueryLanguage"]}
        states = {language: {"properties": {"States": self._states(language)}} for language in LANGUAGES}
        return {
            "$schema": DIALECT,
            "title": "Amazon States Language",
            **machine,
            "if": is_jsonata,
            "then": states["JSONata"],
            "else": states["JSONPath"],
            "$defs": dict(sorted(self._defs.items())),
        }

    # States

    def _states(self, definition: QueryLanguage) -> dict[str, Any]:
        """Return the schema of States, in a definition in a query language."""
        return {
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"minLength": 1, "maxLength": MAX_NAME},
            "additionalProperties": self._ref(f"State.{definition}", lambda: self._state(definition)),
        }

    def _state(self, definition: QueryLanguage) -> dict[str, Any]:
        """Return the schema of a state: which one it is, is seen by its Type and its QueryLanguage."""
        types = [self._of_type(type_, definition) for type_ in STATE_TYPES]
        return {
            "type": "object",
            "required": ["Type"],
            "properties": {"Type": {"enum": list(STATE_TYPES)}},
            "allOf": types,
        }

    def _of_type(self, type_: str, definition: QueryLanguage) -> dict[str, Any]:
        is_type = {"properties": {"Type": {"const": type_}}, "required": ["Type"]}
        if definition == "JSONata":
            return {"if": is_type, "then": self._part(type_, "JSONata", definition)}
        is_jsonata = {"properties": {"QueryLanguage": {"const": "JSONata"}}, "required": ["QueryLanguage"]}
        return {
            "if": is_type,
            "then": {
                "if": is_jsonata,
                "then": self._part(type_, "JSONata", definition),
                "else": self._part(type_, "JSONPath", definition),
            },
        }

    # Parts

    def _ref(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Refer to a schema under a name, which is made when it is first referred to."""
        if name not in self._defs:
            self._defs[name] = {}  # parts are in each other
            self._defs[name] = make()
        return {"$ref": f"#/$defs/{name}"}

    def _part(self, name: str, language: QueryLanguage, definition: QueryLanguage) -> dict[str, Any]:
        names = [name, language, definition] if name in OF_DEFINITION else [name, language]
        return self._ref(".".join(dict.fromkeys(names)), lambda: self._named(name, language, definition))

    def _named(self, name: str, language: QueryLanguage, definition: QueryLanguage) -> dict[str, Any]:
        made = self._object(PARTS[name], language, definition)
        if name in STATE_TYPES:
            made["properties"]["Type"] = {"const": name}
            if "Next" in made["properties"]:
                made["oneOf"] = [{"required": ["Next"]}, {"required": ["End"]}]
            # In a JSONata definition no state may be in JSONPath.
            languages = ("JSONata",) if definition == "JSONata" else (language,)
            made["properties"]["QueryLanguage"] = {"enum": list(languages)}
        if name == "Map":
            made |= _only_distributed(language)
        if name == "Rule" and language == "JSONPath":
            rule = self._rule()
            made |= {**rule, "properties": {**made["properties"], **rule["properties"]}}
        return made

    def _object(self, part: Part, language: QueryLanguage, definition: QueryLanguage) -> dict[str, Any]:
        fields = part.of(language)
        exclusive = [
            {"not": {"required": [one, other]}}
            for keys in (*part.alternatives, *part.needed)
            for place, one in enumerate(keys)
            for other in keys[place + 1 :]
            if one in fields and other in fields
        ]
        needed = [{"anyOf": [{"required": [key]} for key in keys if key in fields]} for keys in part.needed]
        return {
            "type": "object",
            "properties": {name: self._field(field, language, definition) for name, field in fields.items()},
            "required": [name for name, field in fields.items() if field.is_required],
            "additionalProperties": False,
            **({"allOf": exclusive + needed} if exclusive or needed else {}),
        }

    def _field(self, field: Field, language: QueryLanguage, definition: QueryLanguage) -> dict[str, Any]:
        schema = self._held(field, language, definition)
        choices = [schema]
        if language == "JSONata" and field.reads is not None and schema not in ({}, {"type": "string"}):
            choices.append(EXPRESSION)
        if field.is_nullable:
            choices.append({"type": "null"})
        return schema if len(choices) == 1 else {"anyOf": choices}

    def _held(self, field: Field, language: QueryLanguage, definition: QueryLanguage) -> dict[str, Any]:
        if field.holds is Holds.STATES:
            return self._states(definition)
        if field.holds is Holds.WORD:
            return {"enum": list(field.words)} if field.words else {"type": "string"}
        if field.holds in JSON_NUMBERS:
            return {"type": JSON_NUMBERS[field.holds], "minimum": field.least, "maximum": field.most}
        if field.name == "Label":
            return {"type": "string", "pattern": f"^(?:{LABEL.pattern})$"}
        if not field.part:
            return SCHEMAS[field.holds]
        part = self._part(field.part, definition if field.part in MACHINES else language, definition)
        if field.holds is Holds.PART:
            return part
        return {"type": "array", "items": part, **({"minItems": 1} if field.is_required else {})}

    # Rules in JSONPath

    def _rule(self) -> dict[str, Any]:
        """Return what a rule at the top has beside where it leads: a comparison, And, Or or Not."""
        return {"properties": self._comparisons(), "oneOf": FORMS}

    def _inner_rule(self) -> dict[str, Any]:
        properties = {"Comment": SCHEMAS[Holds.STRING], **self._comparisons()}
        return {"type": "object", "properties": properties, "additionalProperties": False, "oneOf": FORMS}

    def _comparisons(self) -> dict[str, Any]:
        inner = self._ref("Rule.inner", self._inner_rule)
        several = {"type": "array", "items": inner, "minItems": 1}
        return {"Variable": PATH, "And": several, "Or": several, "Not": inner, **OPERANDS}


def _operand(name: str, kinds: tuple[type, ...]) -> dict[str, Any]:
    return PATH if name.endswith("Path") else {"type": JSON_TYPES[kinds[-1]]}


OPERANDS: Final = {name: _operand(name, kinds) for name, (kinds, _) in KNOWN_OPERATORS.items()}
FORMS: Final = [
    {"required": ["Variable"], "oneOf": [{"required": [name]} for name in OPERANDS]},
    *({"required": [name]} for name in ("And", "Or", "Not")),
]
"""A comparison has exactly one operator; a junction has no comparison beside it."""


def _only_distributed(language: QueryLanguage) -> dict[str, Any]:
    """Return what keeps the fields of a distributed Map out of an inline one.

    AWS takes a tolerated failure there where it is an expression.
    """
    mode = {"properties": {"Mode": {"const": "DISTRIBUTED"}}, "required": ["Mode"]}
    processor = {"properties": {"ProcessorConfig": mode}, "required": ["ProcessorConfig"]}
    keys = ("ItemProcessor", "Iterator")
    is_distributed = {"anyOf": [{"properties": {key: processor}, "required": [key]} for key in keys]}
    refused = {
        name: EXPRESSION if language == "JSONata" and name in TOLERANCES else False
        for name, field in PARTS["Map"].of(language).items()
        if field.is_distributed
    }
    return {"if": is_distributed, "else": {"properties": refused}}
