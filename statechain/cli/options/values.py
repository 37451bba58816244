"""What may be behind an option: texts → JSON values, moments, statuses, limits."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

import click

from statechain.cli.texts import read_text, reason_of
from statechain.codec import JSONValue
from statechain.codec.hints import wrong_place
from statechain.records.executions import ExecutionStatus

__all__ = ["JSON", "MOMENT", "NO_LIMIT", "OR_NONE", "RATE", "STATUS"]

if TYPE_CHECKING:
    ParamType: TypeAlias = click.ParamType[Any]
else:
    ParamType = click.ParamType  # older releases of click have no types in it

NO_LIMIT: Final = object()
"""What "none" means where a limit may be given."""

PER = re.compile(r"(\d{1,9})/(\d{1,9}(?:\.\d{1,6})?)?\s*([smhd]?)", re.ASCII)
STANDARD_INPUT = frozenset({"-", "@-"})
AGO = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])", re.ASCII)
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class _OrNone(ParamType):
    """A whole number, or ``none``."""

    name = "n|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> object:  # noqa: ANN401
        """Return the number, or `NO_LIMIT`."""
        if str(value).lower() == "none":
            return NO_LIMIT
        return click.IntRange(0).convert(value, param, ctx)


class _Rate(ParamType):
    """How many in a time, as in ``100/60s`` or ``5/s``, or ``none``."""

    name = "n/seconds|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> object:  # noqa: ANN401
        """Return the number and the seconds, or `NO_LIMIT`."""
        if str(value).lower() == "none":
            return NO_LIMIT
        found = PER.fullmatch(value)
        # A number and a slash alone name no time.
        if found is None or not (found[2] or found[3]):
            self.fail(f"{value!r} is no rate: write such as 100/60s, 5/s, or none", param, ctx)
        return int(found[1]), timedelta(**{UNITS[found[3] or "s"]: float(found[2] or 1)}).total_seconds()


class _JSON(ParamType):
    """A JSON text, ``@file``, or ``-`` for standard input."""

    name = "json|@file|-"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> JSONValue:  # noqa: ANN401
        """Return the value that the text means."""
        try:
            text, place = self._read(value)
        except (OSError, UnicodeDecodeError) as error:
            place = "standard input" if value in STANDARD_INPUT else value[1:]
            self.fail(f"{place} cannot be read: {reason_of(error)}".lstrip(), param, ctx)
        try:
            read: JSONValue = json.loads(text, parse_constant=_refuse)
        except json.JSONDecodeError as error:
            self.fail(f"{place}, {wrong_place(error)}", param, ctx)
        except (ValueError, RecursionError) as error:
            self.fail(f"{place} is not JSON: {error}", param, ctx)
        return read

    def _read(self, value: str) -> tuple[str, str]:
        if value in STANDARD_INPUT:
            return read_text("-"), "standard input"
        if value.startswith("@"):
            return read_text(value[1:]), value[1:]
        return value, "the text"


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


class _Moment(ParamType):
    """An ISO 8601 time with its timezone, or how long ago: ``90m``, ``2h``, ``7d``."""

    name = "time|ago"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:  # noqa: ANN401
        """Return the moment that the text means."""
        # click may pass on what was converted already.
        if isinstance(value, datetime):
            return value
        ago = AGO.fullmatch(value.strip())
        if ago is not None:
            return datetime.now(UTC) - timedelta(**{UNITS[ago[2]]: float(ago[1])})
        try:
            moment = datetime.fromisoformat(value.strip())
        except ValueError:
            self.fail(f"{value!r} is neither a time (2026-01-31T12:00:00Z) nor how long ago (90m, 2h, 7d)", param, ctx)
        if moment.tzinfo is None:
            utc, local = f"{moment.isoformat()}Z", moment.astimezone().isoformat()
            self.fail(f"{value!r} has no timezone: write {utc} for UTC, or {local} for the time here", param, ctx)
        return moment


JSON = _JSON()
OR_NONE = _OrNone()
RATE = _Rate()


MOMENT = _Moment()
STATUS = click.Choice([str(status) for status in ExecutionStatus], case_sensitive=False)
