"""JSON text ↔ value, exactly or refused with the place: `encoding` makes and reads, `faults` and `hints` explain."""

from statechain.codec.encoding import (
    MAX_DEPTH,
    JSONInput,
    JSONValue,
    decode,
    encode,
    encode_plain,
    fits,
    is_surely_shallow,
    isolate,
    private,
    require_fit,
    same_json,
    size_of,
)

__all__ = [
    "MAX_DEPTH",
    "JSONInput",
    "JSONValue",
    "decode",
    "encode",
    "encode_plain",
    "fits",
    "is_surely_shallow",
    "isolate",
    "private",
    "require_fit",
    "same_json",
    "size_of",
]
