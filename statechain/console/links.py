"""URLs of the console's pages, below the path where it is mounted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import quote, urlencode

import attrs

__all__ = ["Links"]


@attrs.frozen
class Links:
    """Makes URLs. ``base`` is the path of the mount, without a slash at its end."""

    base: str

    def __call__(self, *path: str, **query: object) -> str:
        """Return the URL of a page: each part of its path is escaped, and None is left out of the query."""
        return self.to(path, query)

    def to(self, path: Iterable[str], query: Mapping[str, object] | Iterable[tuple[str, object]]) -> str:
        """Return the URL of a page with a query that may have a name more than once."""
        pairs = query.items() if isinstance(query, Mapping) else query
        # A lone surrogate in a name has no UTF-8: the link is wrong then, and the page is shown.
        given = urlencode([(name, str(value)) for name, value in pairs if value not in (None, "")], errors="replace")
        # A part of dots alone would be taken out of the path by browsers.
        parts = (
            part.replace(".", "%2E") if set(part) <= {"."} else quote(part, safe="", errors="replace") for part in path
        )
        return f"{self.base}/{'/'.join(parts)}" + (f"?{given}" if given else "")
