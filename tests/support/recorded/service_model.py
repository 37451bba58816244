"""AWS's model of the Step Functions service, as botocore has it: what a history event must look like."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from botocore.loaders import Loader
from botocore.model import ServiceModel, Shape
from botocore.validate import ParamValidator

__all__ = ["documentation", "event_types", "violations"]


@cache
def _model() -> ServiceModel:
    return ServiceModel(Loader().load_service_model("stepfunctions", "service-2"))


def event_types() -> frozenset[str]:
    """Return the types of history events."""
    return frozenset(_model().shape_for("HistoryEventType").enum)


def documentation(shape: str) -> str:
    """Return what AWS says of a shape."""
    return str(_model().shape_for(shape).documentation)


def violations(event: Mapping[str, Any]) -> list[str]:
    """Return how an event differs from the model: its fields, their types, lengths and values."""
    shape = _model().shape_for("HistoryEvent")
    report = ParamValidator().validate(event, shape)
    found = [report.generate_report()] if report.has_errors() else []
    return [*found, *_beyond(event, shape, str(event.get("type")))]


def _beyond(value: Any, shape: Shape, place: str) -> Iterator[str]:
    """Yield what botocore does not look for: values that are too long, and unknown ones."""
    if shape.type_name == "structure":
        for name, member in value.items():
            if name in shape.members:
                yield from _beyond(member, shape.members[name], f"{place}.{name}")
    elif shape.type_name == "string":
        longest = shape.metadata.get("max")
        if longest is not None and len(value) > longest:
            yield f"{place} has {len(value)} characters, more than {longest}"
        if shape.enum and value not in shape.enum:
            yield f"{place} is {value!r}, none of the values of {shape.name}"
