"""Numbers written by a picture string: ``$formatNumber``, as XPath's format-number has it, step by step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from functools import reduce

from attrs import define
from jsonata import jexception

from statechain.asl.expressions.jsonata.messages import argument_error
from statechain.asl.expressions.jsonata.pictures.integers import LONGEST_PICTURE
from statechain.asl.expressions.jsonata.values import number_text

__all__ = ["format_number", "rounded"]

SYMBOLS = {
    "decimal-separator": ".",
    "grouping-separator": ",",
    "exponent-separator": "e",
    "infinity": "Infinity",
    "minus-sign": "-",
    "NaN": "NaN",
    "percent": "%",
    "per-mille": "\u2030",
    "zero-digit": "0",
    "digit": "#",
    "pattern-separator": ";",
}
OPTIONS = (
    "decimal-separator", "grouping-separator", "exponent-separator", "minus-sign", "percent", "per-mille",
    "zero-digit", "digit", "pattern-separator",
)  # fmt: skip
"""The options in the order of the fields of `_Symbols`."""

MOST_PLACES = 100
MOST_SHIFT = 1_000
"""More than the powers of ten between any two doubles."""


@define
class _Symbols:
    """The characters that a picture is made of."""

    point: str
    comma: str
    exponent: str
    minus: str
    percent: str
    mille: str
    zero: str
    digit: str
    pattern: str

    @classmethod
    def of(cls, options: Mapping[str, object]) -> _Symbols:
        chosen = dict(SYMBOLS)
        for name, value in options.items():
            if name not in SYMBOLS:
                continue
            if not isinstance(value, str) or (not value and name not in {"minus-sign", "infinity", "NaN"}):
                raise argument_error(f'The option "{name}" of formatNumber must be a non-empty string')
            chosen[name] = value
        if len(chosen["zero-digit"]) != 1:
            raise argument_error('The option "zero-digit" of formatNumber must be one character')
        return cls(*(chosen[name] for name in OPTIONS))

    def is_decimal(self, sign: str) -> bool:
        return ord(self.zero) <= ord(sign) < ord(self.zero) + 10

    def is_active(self, sign: str) -> bool:
        return self.is_decimal(sign) or sign in {self.point, self.exponent, self.comma, self.digit, self.pattern}

    def count(self, text: str, *, optional: bool = False) -> int:
        """Return how many digits a part of a picture has, the optional ones included or not."""
        return sum(self.is_decimal(sign) or (optional and sign == self.digit) for sign in text)

    def shown(self, number: float, places: int) -> str:
        """Return a number without its sign, in this family of digits."""
        # From there on JavaScript writes exponents, toFixed included.
        text = f"{abs(number):.{places}f}" if abs(number) < 1e21 else number_text(abs(number))
        if self.zero == "0":
            return text
        return "".join(chr(ord(self.zero) + int(sign)) if sign.isdigit() else sign for sign in text)


@define
class _Part:
    """One sub-picture, taken apart."""

    picture: str
    prefix: str
    suffix: str
    active: str
    mantissa: str
    exponent: str | None
    whole: str
    fraction: str


def _split(picture: str, symbols: _Symbols) -> _Part:
    bounds = [place for place, sign in enumerate(picture) if symbols.is_active(sign) and sign != symbols.exponent]
    prefix = picture[: bounds[0]] if bounds else ""
    suffix = picture[bounds[-1] + 1 :] if bounds else ""
    active = mantissa = picture[len(prefix) : len(picture) - len(suffix)]
    exponent = None
    place = picture.find(symbols.exponent, len(prefix))
    if 0 <= place <= len(picture) - len(suffix):  # counted from the sub-picture's start, as jsonata.js does
        mantissa, exponent = active[:place], active[place + 1 :]
    whole, point, fraction = mantissa.partition(symbols.point)
    return _Part(picture, prefix, suffix, active, mantissa, exponent, whole, fraction if point else suffix)


def _validate(part: _Part, symbols: _Symbols) -> None:
    """Raise the last rule that a sub-picture breaks."""
    picture, exponent = part.picture, part.exponent
    is_scaled = symbols.percent in picture or symbols.mille in picture
    point = picture.find(symbols.point)
    around = {picture[place : place + 1] for place in (point - 1, point + 1) if place >= 0}
    whole, optional, _ = part.whole.partition(symbols.digit)
    _, last_optional, fraction = part.fraction.rpartition(symbols.digit)
    broken = {
        "D3081": picture.count(symbols.point) > 1,
        "D3082": picture.count(symbols.percent) > 1,
        "D3083": picture.count(symbols.mille) > 1,
        "D3084": symbols.percent in picture and symbols.mille in picture,
        "D3085": not symbols.count(part.mantissa, optional=True),
        "D3086": not all(map(symbols.is_active, part.active)),
        "D3087": point >= 0 and symbols.comma in around,
        "D3088": point < 0 and part.whole.endswith(symbols.comma),
        "D3089": symbols.comma * 2 in picture,
        "D3090": bool(optional) and symbols.count(whole) > 0,
        "D3091": bool(last_optional) and symbols.count(fraction) > 0,
        "D3092": bool(exponent) and is_scaled,
        "D3093": exponent is not None and (not exponent or not all(map(symbols.is_decimal, exponent))),
    }
    for code in reversed(broken):
        if broken[code]:
            raise jexception.JException(code, -1)


@define
class _Format:
    """What a sub-picture asks of a number."""

    prefix: str
    suffix: str
    picture: str
    groups: list[int]
    every: int
    fraction_groups: list[int]
    scaling: int
    least_whole: int
    least_fraction: int
    most_fraction: int
    least_exponent: int


def _analysed(part: _Part, symbols: _Symbols) -> _Format:
    groups = _groups(part, part.whole, symbols)
    least_whole = scaling = symbols.count(part.whole)
    least_fraction, most_fraction = symbols.count(part.fraction), symbols.count(part.fraction, optional=True)
    has_exponent = part.exponent is not None
    if least_whole == 0 and most_fraction == 0:
        if has_exponent:
            least_fraction = most_fraction = 1
        else:
            least_whole = 1
    if has_exponent and least_whole == 0 and symbols.digit in part.whole:
        least_whole = 1
    if least_whole == 0 and least_fraction == 0:
        least_fraction = 1
    return _Format(
        part.prefix,
        part.suffix,
        part.picture,
        groups,
        _interval(groups),
        _groups(part, part.fraction, symbols, to_left=True),
        scaling,
        least_whole,
        least_fraction,
        most_fraction,
        symbols.count(part.exponent or ""),
    )


def _groups(part: _Part, text: str, symbols: _Symbols, *, to_left: bool = False) -> list[int]:
    positions = []
    place = text.find(symbols.comma)
    while place >= 0:
        positions.append(symbols.count(text[:place] if to_left else text[place:], optional=True))
        # Also in a fraction jsonata.js looks for the next one in the whole part.
        place = part.whole.find(symbols.comma, place + 1)
    return positions


def _interval(positions: list[int]) -> int:
    factor = reduce(math.gcd, positions, 0)
    return factor if all(place * factor in positions for place in range(1, len(positions) + 1)) else 0


def format_number(value: float, picture: str, options: Mapping[str, object]) -> str:
    """Return a number as the picture has it. Raises the JSONata error of a picture that breaks a rule."""
    if len(picture) > LONGEST_PICTURE:
        raise argument_error(f"A picture string has at most {LONGEST_PICTURE} characters")
    symbols = _Symbols.of(options)
    pictures = picture.split(symbols.pattern)
    if len(pictures) > 2:
        raise jexception.JException("D3080", -1)
    parts = [_split(each, symbols) for each in pictures]
    for part in parts:
        _validate(part, symbols)
    if not math.isfinite(value):
        raise jexception.JException("D1001", -1, value)
    form = _analysed(parts[0 if value >= 0 else -1], symbols)
    if form.most_fraction > MOST_PLACES:
        raise argument_error(f"A picture string has at most {MOST_PLACES} digits after the decimal separator")
    if value < 0 and len(parts) == 1:
        form.prefix = symbols.minus + form.prefix
    return _formatted(value, form, symbols)


def _formatted(value: float, form: _Format, symbols: _Symbols) -> str:
    scale = 100 if symbols.percent in form.picture else 1000 if symbols.mille in form.picture else 1
    mantissa, exponent = _scaled(float(value) * scale, form)
    text = symbols.shown(rounded(mantissa, form.most_fraction), form.most_fraction)
    whole, _, fraction = text.partition(".")
    whole = whole.lstrip(symbols.zero).rjust(form.least_whole, symbols.zero)
    fraction = fraction.rstrip(symbols.zero).ljust(form.least_fraction, symbols.zero)
    text = _grouped_whole(whole, form, symbols.comma)
    if symbols.point in form.picture and fraction:
        text += symbols.point + _grouped_fraction(fraction, form, symbols.comma)
    if exponent is not None:
        sign = symbols.minus if exponent < 0 else ""
        text += symbols.exponent + sign + symbols.shown(exponent, 0).rjust(form.least_exponent, symbols.zero)
    return form.prefix + text + form.suffix


def _scaled(mantissa: float, form: _Format) -> tuple[float, int | None]:
    """Return the mantissa within the bounds of the picture, and its exponent."""
    if form.least_exponent == 0:
        return mantissa, None
    most, least = math.pow(10, form.scaling), math.pow(10, form.scaling - 1)
    exponent = 0
    while mantissa != 0 and abs(mantissa) < least:
        mantissa *= 10
        exponent -= 1
    while abs(mantissa) > most:
        mantissa /= 10
        exponent += 1
    return mantissa, exponent


def _grouped_whole(whole: str, form: _Format, comma: str) -> str:
    regular = range((len(whole) - 1) // form.every * form.every, 0, -form.every) if form.every else ()
    positions = regular if form.every else form.groups
    text, right = whole, len(whole)
    for position in positions:
        text = text[: right - position] + comma + text[right - position :]
        right += len(comma)
    return text


def _grouped_fraction(fraction: str, form: _Format, comma: str) -> str:
    for position in form.fraction_groups:
        fraction = fraction[:position] + comma + fraction[position:]
    return fraction


def rounded(number: float, places: int) -> float:
    """Round half to even by the decimal digits that a number is written with."""
    # By the digits that are shown, and not by the double: 2.675 to two places is 2.68.
    shifted = float(Decimal(repr(float(number))).scaleb(max(-MOST_SHIFT, min(places, MOST_SHIFT))))
    if not math.isfinite(shifted):
        return number
    whole = float(round(shifted))
    return float(Decimal(repr(whole)).scaleb(-places)) if whole else 0.0
