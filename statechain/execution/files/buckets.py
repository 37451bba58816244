"""Folders in the place of S3's buckets: the object ``Key`` of a ``Bucket`` is the file ``root/Bucket/Key``.

No name leads out of the root, and no key out of its bucket. Raises ValueError where one would.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from statechain.codec import JSONValue

__all__ = ["Buckets"]


class Buckets:
    """The buckets below a folder, which is None where an engine has none."""

    def __init__(self, root: Path | None) -> None:
        self._root = None if root is None else root.resolve()

    def folder(self, bucket: JSONValue) -> Path:
        """Return the folder of a bucket, which lies directly below the root."""
        if self._root is None:
            raise ValueError("the engine was given no folder for files")
        if not isinstance(bucket, str) or not bucket:
            raise ValueError("Bucket must be a string")
        _check_name("bucket", bucket)
        folder = self._root / bucket
        # As it is written, and as it resolves: the one refuses `..` and `a/b`, the other a link that leads out.
        if folder.parent != self._root or folder.resolve().parent != self._root:
            raise ValueError(f"the bucket '{bucket}' is outside of the folder for files")
        return folder

    def file(self, bucket: JSONValue, key: JSONValue) -> Path:
        """Return the file of an object, which stays inside its bucket."""
        if not isinstance(key, str) or not key:
            raise ValueError("Key must be a string")
        _check_name("object", key)
        folder = self.folder(bucket)
        path = (folder / key.lstrip("/")).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise ValueError(f"the object '{key}' is outside of its bucket")
        return path

    def existing(self, bucket: JSONValue, key: JSONValue) -> Path:
        """Return the file of an object that is there: the message of the system would not say which one is missing."""
        path = self.file(bucket, key)
        if not self.folder(bucket).is_dir():
            raise ValueError(f"the bucket '{bucket}' does not exist")
        if not _is_plain(key) or not path.is_file():
            raise ValueError(f"the bucket '{bucket}' has no object '{key}'")
        return path

    def objects(self, bucket: JSONValue, prefix: JSONValue) -> Iterator[tuple[str, Path]]:
        """Yield the key and the file of each object whose key begins with a prefix, in the order of the keys."""
        if not isinstance(prefix, str):
            raise ValueError("Prefix must be a string")
        _check_name("prefix", prefix)
        folder = self.folder(bucket)
        if not folder.is_dir():
            raise ValueError(f"the bucket '{bucket}' does not exist")
        within = folder / prefix.rpartition("/")[0]
        # To S3 `..` in a prefix is text; here it would lead `rglob` out of the bucket.
        if not within.resolve().is_relative_to(folder.resolve()):
            return
        keys = (file.relative_to(folder).as_posix() for file in within.rglob("*") if file.is_file())
        for key in sorted(key for key in keys if key.startswith(prefix)):
            yield key, folder / key


def _is_plain(key: JSONValue) -> bool:
    """Return whether the file system takes a key as it is written, as it does not `a.csv/` or `x/../a.csv`."""
    written = str(key).lstrip("/")
    return PurePosixPath(written).as_posix() == written and ".." not in written.split("/")


def _check_name(what: str, name: str) -> None:
    """Refuse what the file system would: its own message does not say which name is meant."""
    try:
        is_possible = b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        is_possible = False
    if not is_possible:
        raise ValueError(f"the {what} {name!a} has a character that no file's name can have")
