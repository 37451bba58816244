"""Moments, written and read: ``$fromMillis``, ``$toMillis`` and ``$now``, in milliseconds since 1970 in UTC.

The calendar reaches as far as JavaScript's, beyond Python's years 1 to 9999: a day is counted within its cycle of 400
years, after which the Gregorian calendar repeats.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

from attrs import define
from jsonata import jexception

from statechain.asl.expressions.jsonata.messages import argument_error
from statechain.asl.expressions.jsonata.pictures.datetimes import DAYS, MONTHS, Literal, Marker, read_datetime_picture
from statechain.asl.expressions.jsonata.pictures.integers import LONGEST_PICTURE, leading_integer
from statechain.asl.expressions.regex import Match

__all__ = ["Moment", "format_moment", "iso_millis", "parse_moment"]

ISO = "[Y0001]-[M01]-[D01]T[H01]:[m01]:[s01].[f001][Z01:01t]"
DAY = 86_400_000
MOST_YEAR_DIGITS = 7
CYCLE_YEARS, CYCLE_DAYS = 400, 146_097
UNIX_EPOCH = date(1970, 1, 1).toordinal()
FARTHEST = 8_640_000_000_000_000
"""Milliseconds on either side of 1970 that a JavaScript date reaches."""


@define
class Moment:
    """A moment's components in UTC."""

    millis: int

    @property
    def day(self) -> int:
        """The days since 1970."""
        return self.millis // DAY

    def date(self) -> tuple[int, int, int]:
        """Return the year, the month from 1, and the day."""
        # Python's dates end with the year 9999; the calendar repeats after a cycle.
        cycles, day = divmod(self.day + UNIX_EPOCH - 1, CYCLE_DAYS)
        found = date.fromordinal(day + 1)
        return found.year + cycles * CYCLE_YEARS, found.month, found.day

    def component(self, name: str) -> int:
        """Return a component by the letter that a picture has for it."""
        year, month, day = self.date()
        if name in "XxWw":
            return self._week_component(name, year, month)
        in_day = self.millis % DAY
        return {
            "Y": year,
            "M": month,
            "D": day,
            "d": self.day - day_number(year, 1, 1) + 1,
            "F": (self.day + 3) % 7 + 1,
            "H": in_day // 3_600_000,
            "h": (in_day // 3_600_000 + 11) % 12 + 1,
            "P": in_day // (DAY // 2),
            "m": in_day // 60_000 % 60,
            "s": in_day // 1000 % 60,
            "f": in_day % 1000,
        }[name]

    def _week_component(self, name: str, year: int, month: int) -> int:
        """Return the week of the year or month, or the year or month that the week belongs to, as ISO 8601 has it."""
        in_year = name in "XW"
        step = 12 if in_year else 1
        index = year * 12 + (0 if in_year else month - 1)
        if self.day < _first_week(index):
            index -= step
        elif self.day >= _first_week(index + step):
            index += step
        if name in "Ww":
            return (self.day - _first_week(index)) // 7 + 1
        return index // 12 if in_year else index % 12 + 1


def day_number(year: int, month: int, day: int) -> int:
    """Return the days since 1970; months and days beyond their range carry over."""
    years, month = divmod(month - 1, 12)
    cycles, year = divmod(year + years - 1, CYCLE_YEARS)
    return date(year + 1, month + 1, 1).toordinal() + cycles * CYCLE_DAYS - UNIX_EPOCH + day - 1


def _first_week(month_index: int) -> int:
    """Return the Monday of the week that holds the first Thursday of a month."""
    first = day_number(month_index // 12, month_index % 12 + 1, 1)
    weekday = (first + 3) % 7
    return first - weekday if weekday < 4 else first + 7 - weekday


def _moment(millis: float) -> Moment:
    if not abs(millis) <= FARTHEST:
        raise argument_error("The timestamp is beyond the range of dates")
    return Moment(math.trunc(millis))


# Writing


def format_moment(
    millis: float, picture: str | None, timezone: str | None, allow: Callable[[float], None] = lambda _size: None
) -> str:
    """Return a moment as a picture has it, or as ISO 8601; ``timezone`` is an offset such as ``+0530``."""
    hours, minutes = (0, 0) if timezone is None else _offset(timezone)
    parts = read_datetime_picture(ISO if picture is None else picture)
    moment = _moment(millis + (60 * hours + minutes) * 60_000)
    return "".join(
        part.text if isinstance(part, Literal) else _written(part, moment, hours, minutes, allow) for part in parts
    )


def _offset(timezone: str) -> tuple[int, int]:
    number = leading_integer(timezone)
    if math.isnan(number) or abs(number) >= 10_000:
        raise argument_error(f'The timezone "{timezone}" is not an offset such as "+0530"')
    return math.floor(number / 100), int(math.fmod(number, 100))


def _written(marker: Marker, moment: Moment, hours: int, minutes: int, allow: Callable[[float], None]) -> str:
    component = marker.component
    if component in "Zz":
        return _written_zone(marker, hours, minutes, allow)
    if component in "CE":
        return "ISO"
    value = moment.component(component)
    if component == "P":
        text = ("am", "pm")[value]
        return text.upper() if marker.names == "upper" else text
    if marker.names:
        return _name(marker, value)
    if component == "Y" and marker.year_digits is not None and marker.year_digits < MOST_YEAR_DIGITS:
        # With the sign of the year: those before 1 are negative.
        value = int(math.fmod(value, 10**marker.year_digits))
    return marker.number.format(value, allow)


def _name(marker: Marker, value: int) -> str:
    names = MONTHS if marker.component in "Mx" else DAYS if marker.component == "F" else None
    if names is None:
        raise jexception.JException("D3133", -1, marker.component)
    name = names[value - 1]
    name = name.upper() if marker.names == "upper" else name.lower() if marker.names == "lower" else name
    return name[: marker.width]


def _written_zone(marker: Marker, hours: int, minutes: int, allow: Callable[[float], None]) -> str:
    offset = hours * 100 + minutes
    if offset == 0 and marker.is_zulu:
        return "Z"
    picture = marker.number
    if picture.every or picture.mandatory in {3, 4}:
        text = picture.format(offset, allow)
    elif picture.mandatory in {1, 2}:
        text = picture.format(hours, allow) + (f":{minutes:02}" if minutes else "")
    else:
        raise jexception.JException("D3134", -1)
    return ("GMT" if marker.component == "z" else "") + ("+" if offset >= 0 else "") + text


# Reading

MOMENT = re.compile(
    r"(\d{4})(?:-(\d{2})(?:-(\d{2})(?:T(\d{2}):(\d{2}):(\d{2})(?:\.(\d+))?(Z|[+-]\d{2}:?\d{2})?)?)?)?", re.ASCII
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def iso_millis(text: str) -> int:
    """Return the milliseconds of an ISO 8601 timestamp. Raises JException (D3110)."""
    match = MOMENT.fullmatch(text)
    if match is None:
        raise jexception.JException("D3110", -1, text)
    year, month, day = (int(part or 1) for part in match.groups()[:3])
    hour, minute, second = (int(part or 0) for part in match.groups()[3:6])
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        raise jexception.JException("D3110", -1, text) from None
    # Milliseconds: further digits are cut off.
    millis = (moment - EPOCH) // timedelta(milliseconds=1) + int(f"{match[7] or ''}000"[:3])
    return millis - _zone_millis(match[8])


def _zone_millis(zone: str | None) -> int:
    if zone is None or zone == "Z":
        return 0
    return (-1 if zone[0] == "-" else 1) * (int(zone[1:3]) * 60 + int(zone[-2:])) * 60_000


def parse_moment(text: str, picture: str, now: int, matching: Callable[[str, str], Match | None]) -> float | None:
    """Return the milliseconds of a string that a picture describes; None where it does not fit.

    ``now`` fills in what is more significant than what the picture has; ``matching`` searches in linear time and
    without regard to case.
    """
    markers = read_datetime_picture(picture)
    if max(len(text), len(picture)) > LONGEST_PICTURE:
        raise argument_error(f"A timestamp and its picture have at most {LONGEST_PICTURE} characters")
    match = matching("^" + "".join(f"({_pattern(part)})" for part in markers) + "$", text)
    found = {}
    for part, piece in zip(markers, match.groups() if match else (), strict=False):
        if isinstance(part, Marker):
            found[part.component] = _read(part, piece or "")
    return _assembled(found, Moment(now)) if found else None


def _pattern(part: Literal | Marker) -> str:
    if isinstance(part, Literal):
        return re.escape(part.text)
    if part.component in "Zz":
        mark = part.number.separators[0][1] if part.number.every else ""
        return f"{'GMT' if part.component == 'z' else ''}[-+][0-9]+" + (f"{re.escape(mark)}[0-9]+" if mark else "")
    if part.component == "f":
        return "[0-9]+"
    if part.integer is not None:
        return part.integer.pattern()
    if part.component not in "MxFP":
        raise jexception.JException("D3133", -1, part.component)
    return "[a-zA-Z]+"


def _read(marker: Marker, text: str) -> float | None:
    """Return a component's number; None where a name is not one."""
    if marker.component in "Zz":
        return _read_zone(marker, text)
    if marker.component == "f":
        return int(text[:3].ljust(3, "0"))
    if marker.integer is not None:
        return marker.integer.parse(text)
    if marker.component == "P":
        return {"am": 0, "AM": 0, "pm": 1, "PM": 1}.get(text)
    names = DAYS if marker.component == "F" else MONTHS
    return {name[: marker.width or None]: place + 1 for place, name in enumerate(names)}.get(text)


def _read_zone(marker: Marker, text: str) -> float:
    digits = text[3:] if marker.component == "z" else text
    if marker.number.every:
        hours, _, minutes = digits.partition(marker.number.separators[0][1])
    else:
        hours, minutes = (digits, "0") if len(digits) <= 3 else (digits[:3], digits[3:])
    return leading_integer(hours) * 60 + leading_integer(minutes)


def _assembled(found: dict[str, float | None], now: Moment) -> float:
    """Make one moment of components: the most significant ones are those of now, the least are zero."""
    date_names = "YXMxWwdD"
    by_week = _is_only(found, date_names, "Xxw") or _is_only(found, date_names, "XW")
    by_day_of_year = _is_only(found, date_names, "Yd") and not _is_only(found, date_names, "YMD")
    if by_week:
        raise jexception.JException("D3136", -1)  # jsonata.js cannot count from weeks either
    of_half_day = _is_only(found, "PHhmsf", "Phmsf") and not _is_only(found, "PHhmsf", "Hmsf")
    names = ("YD" if by_day_of_year else "YMD") + ("Phmsf" if of_half_day else "Hmsf")
    values = _completed(found, names, now)
    year, month, day = values["Y"], values.get("M", 1) or 1, values["D"]
    if by_day_of_year:
        month, day = 1, values["d"]
    hour = values.get("H", 0)
    if of_half_day:
        hour = (0 if values["h"] == 12 else values["h"]) + 12 * (found.get("P") == 1)
    minute, second, milli = (values[name] for name in "msf")
    zone = values.get("Z") or values.get("z") or 0
    if not all(map(math.isfinite, (year, month, day, hour, minute, second, milli, zone))):
        return math.nan
    if 0 <= year <= 99:
        year += 1900  # as JavaScript's Date.UTC has it
    minutes = int(hour) * 60 + int(minute) - int(zone)
    millis = day_number(int(year), int(month), int(day)) * DAY + minutes * 60_000 + int(second) * 1000 + int(milli)
    return millis if abs(millis) <= FARTHEST else math.nan


def _is_only(found: dict[str, float | None], among: str, names: str) -> bool:
    """Return whether of some components only these are there, and at least one; zero is none, and neither is NaN."""
    there = {name for name in among if found.get(name) and not math.isnan(found[name] or 0)}
    return bool(there) and there <= set(names)


def _completed(found: dict[str, float | None], names: str, now: Moment) -> dict[str, float]:
    values = {name: value for name, value in found.items() if value is not None}
    begun = ended = False
    for name in names:
        if name in values:
            begun = True
            if ended:
                raise jexception.JException("D3136", -1)
        elif begun:
            values[name] = 1 if name in "MDd" else 0
            ended = True
        else:
            values[name] = now.component(name)
    return values
