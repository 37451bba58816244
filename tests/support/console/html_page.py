"""A page as a browser reads it: its texts and elements; inline code or a URL of another site is a failure."""

from __future__ import annotations

from html.parser import HTMLParser

__all__ = ["Page"]


class Page(HTMLParser):
    """Reads a page: its texts, and the names of its elements and attributes."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.texts: list[str] = []
        self.tags: set[str] = set()

    @classmethod
    def read(cls, text: str) -> Page:
        page = cls()
        page.feed(text)
        page.close()
        return page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        names = dict(attrs)
        assert not [name for name in names if name.startswith("on") or name == "style"], (tag, attrs)
        for name in ("href", "src", "action", "hx-get"):
            url = names.get(name)
            assert url is None or url.startswith(("/", "#")), (tag, name, url)
            assert not (url or "").startswith("//")
        if tag == "script":
            assert names.get("src"), "an inline script"

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
