"""Files that may be compressed: gzip and Zstandard are known by their first bytes, not by the name.

Zstandard is in Python's standard library from 3.14 on; before, it takes the extra ``statechain[zstd]``.
"""

from __future__ import annotations

import gzip
import importlib
import io
import zlib
from pathlib import Path
from types import ModuleType
from typing import BinaryIO, cast

__all__ = ["SUFFIXES", "describe", "open_text", "open_uncompressed", "read_errors"]

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
SUFFIXES = frozenset({".gz", ".gzip", ".zst", ".zstd"})
# The standard library's first; the other is its backport, with the same API.
ZSTD_MODULES = ("compression.zstd", "backports.zstd")


def open_uncompressed(path: Path) -> BinaryIO:
    """Open a file for reading; what is compressed is decompressed as it is read.

    Raises ValueError where Zstandard is not installed.
    """
    with path.open("rb") as file:
        magic = file.read(len(ZSTD))
    if magic.startswith(GZIP):
        return cast("BinaryIO", gzip.open(path, "rb"))
    if magic != ZSTD:
        return path.open("rb")
    zstd = _zstd()
    if zstd is None:
        raise ValueError("the file is compressed with Zstandard: pip install 'statechain[zstd]'")
    return cast("BinaryIO", zstd.open(path, "rb"))


def open_text(path: Path) -> io.TextIOWrapper:
    """Open a file of UTF-8 text, with or without a byte order mark; lines keep their ends."""
    return io.TextIOWrapper(open_uncompressed(path), encoding="utf-8-sig", newline="")


def read_errors() -> tuple[type[Exception], ...]:
    """Return what reading raises where a file is missing, damaged or not of its type."""
    return (OSError, ValueError, *_damages())


def describe(error: Exception) -> str:
    """Return what is wrong with a file, without where this machine keeps it."""
    if isinstance(error, UnicodeDecodeError):
        return "it is not encoded in UTF-8"
    if isinstance(error, (gzip.BadGzipFile, *_damages())):
        return "it is damaged: what is compressed in it cannot be read"
    if isinstance(error, OSError):
        return error.strerror or "it cannot be opened"
    return str(error)


def _damages() -> tuple[type[Exception], ...]:
    """Return what decompressing raises where a file is damaged or ends too early."""
    zstd = _zstd()
    return (EOFError, zlib.error) if zstd is None else (EOFError, zlib.error, zstd.ZstdError)


def _zstd() -> ModuleType | None:
    for name in ZSTD_MODULES:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None
