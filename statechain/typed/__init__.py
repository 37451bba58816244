"""Typed values: JSON ↔ attrs classes, dataclasses, msgspec Structs, pydantic models."""
