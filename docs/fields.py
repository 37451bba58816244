"""Writes the reference of fields from the table that the library goes by: `python docs/fields.py`."""

from pathlib import Path

from statechain.asl.grammar import PARTS, Field, Holds

PAGE = Path(__file__).parent / "reference" / "fields.md"
HEAD = """# All fields

Every field of every part of a definition: this page, the [JSON Schema](../how-to/command-line.md#in-an-editor) and the
checks are made from one table. Where a field may hold a JSONata expression, the last column has what of `$states` the
expression reads.
"""
NAMES = {"Branch": "A branch of a Parallel", "Processor": "An ItemProcessor", "Machine": "A definition"}


def page() -> str:
    """Return the page."""
    return "\n".join([HEAD, *(_section(name) for name in PARTS)])


def _section(name: str) -> str:
    rows = [_row(field) for field in PARTS[name].members]
    head = ["| field | query language | what it holds | reads |", "| --- | --- | --- | --- |"]
    return "\n".join([f"## {NAMES.get(name, name)}", "", *head, *rows, ""])


def _row(field: Field) -> str:
    reads = ", ".join(f"`{name}`" for name in sorted(field.reads or ()))
    required = " (required)" if field.is_required else ""
    return f"| `{field.name}`{required} | {field.language or 'both'} | {_held(field)} | {reads} |"


def _held(field: Field) -> str:
    text = field.holds.value
    if field.words:
        text = " or ".join(f"`{word}`" for word in field.words)
    elif field.holds in {Holds.WHOLE, Holds.NUMBER}:
        text += f", {field.least:,} to {field.most:,}"
    elif field.part:
        text += f": {PARTS[field.part].what}"
    text += ", or null" if field.is_nullable else ""
    return text + ("; in a distributed Map only" if field.is_distributed else "")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
