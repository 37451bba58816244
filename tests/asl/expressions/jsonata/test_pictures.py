"""Picture strings of integers, numbers, dates and times: what jsonata.js makes of them."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("$formatInteger(1234567, '#,##0')", "1,234,567"),
        ("$formatInteger(12, '0:00:00')", "0:00:12"),
        ("$formatInteger(-1.5, '0')", "-2"),
        ("$formatInteger(-1999, 'I')", "-MCMXCIX"),
        ("$formatInteger(702, 'a')", "zz"),
        ("$formatInteger(21, 'w;o')", "twenty-first"),
        ("$formatInteger(1234, 'Ww')", "One Thousand, Two Hundred and Thirty-Four"),
        ("$formatInteger(1e46, 'w')", "ten billion trillion trillion trillion"),
        ("$formatInteger(113, '0;o')", "113th"),
        ("$formatInteger(1234, '\u0660')", "\u0661\u0662\u0663\u0664"),
        ("$parseInteger('MCMXCIX', 'I')", 1999),
        ("$parseInteger('one thousand, two hundred and thirty-four', 'w')", 1234),
        ("$parseInteger('21st', '0;o')", 21),
        ("$parseInteger('1,234', '#,##0')", 1234),
        ("$parseInteger('aaa', 'a')", 703),
        ("$parseInteger('no number', '0')", "NaN"),
        ("$parseInteger('no number', 'w')", "NaN"),
        ("$parseInteger('no number', 'I')", "NaN"),
    ],
)
def test_format_integer_follows_its_picture(jsonata: Any, text: str, result: Any) -> None:
    assert jsonata(text) == result


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("$formatNumber(1234.5678, '#,##0.00')", "1,234.57"),
        ("$formatNumber(-0.5, '0%')", "-50%"),
        ("$formatNumber(0.0012, '0.00e0')", "1.20e-3"),
        ("$formatNumber(0.123, '#.e9')", "0.1e0"),
        ("$formatNumber(-5, '0;(0)')", "(5)"),
        ("$formatNumber(1234.5, '0,0', {'decimal-separator': ','})", "1234,5"),
        ("$formatNumber(12345678.12345678, '0,0.0,00000')", "1,2,3,4,5,6,7,8.1,23457"),
        ("$formatNumber(0, '0.0e0')", "0.0e0"),
        ("$formatNumber(2.5, '0')", "2"),
        ("$formatNumber(12, '\u0660\u0660\u0660', {'zero-digit': '\u0660'})", "\u0660\u0661\u0662"),
    ],
)
def test_format_number_follows_its_picture(jsonata: Any, text: str, result: Any) -> None:
    assert jsonata(text) == result


@pytest.mark.parametrize(
    ("text", "result"),
    [
        (
            "$fromMillis(1521801216617, '[FNn], [D1o] [MNn] [Y] [h]:[m01] [PN] [z]', '-0500')",
            "Friday, 23rd March 2018 5:33 AM GMT-05:00",
        ),
        ("$fromMillis(1521801216617, 'week [W] of [X], [w] of [x]')", "week 12 of 2018, 4 of 3"),
        ("$fromMillis(-99999999999999)", "-1199-02-15T14:13:20.001Z"),
        ("$fromMillis(253402300800000, '[Y]')", "10000"),
        ("$fromMillis(0, '[[[Y,2-2]]]')", "[70]"),
        ("$toMillis('7/4/21 3:05pm', '[M]/[D]/[Y] [h]:[m][P]')", -1530348900000),
        ("$toMillis('2018-094', '[Y]-[d]')", 1522800000000),
        ("$toMillis('2018-01-01T00:00:00+05:30', '[Y]-[M]-[D]T[H]:[m]:[s][Z01:01]')", 1514745000000),
        ("$toMillis('20180704', '[Y0001][M01][D01]')", 1530662400000),
        ("$toMillis('2018-13-40', '[Y]-[M]-[D]')", 1549670400000),
        ("$toMillis('1st July 2020', '[D1o] [MNn] [Y]')", 1593561600000),
        ("$toMillis('2026-04-08 01.01987', '[Y]-[M]-[D] [H].[f1]') - $toMillis('2026-04-08T01:00:00')", "D3136"),
        ("$fromMillis($toMillis('13:45', '[H]:[m]'))", "2024-01-02T13:45:00.000Z"),
        ("$fromMillis($toMillis('5.25', '[s].[f]'))", "2024-01-02T03:04:05.250Z"),
        ("$exists($toMillis('x', '[Y]'))", False),
    ],
)
def test_dates_and_times(jsonata: Any, jsonata_fault: Any, text: str, result: Any) -> None:
    if result == "D3136":
        assert jsonata_fault(text).startswith("D3136: ")
    else:
        assert jsonata(text) == result


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("$formatInteger(1, 'ω')", 'D3130: Formatting or parsing an integer as a sequence starting with "ω" is not'),
        ("$formatInteger(1, '0\u0660')", "D3131: In a decimal digit pattern, all digits must be from the same"),
        ("$formatInteger(1/0, 'w')", "D1001: Number out of range: null"),
        ("$formatNumber(1, 'x')", "D3086: The sub-picture must not contain a passive character"),
        ("$formatNumber(1, '0.0.0')", "D3081: The sub-picture must not contain more than one instance of the 'decimal"),
        ("$formatNumber(1, '0;0;0')", "D3080: The picture string must only contain a maximum of two sub-pictures"),
        ("$formatNumber(1, '0,,0')", "D3089: The sub-picture must not contain two adjacent instances of the 'grouping"),
        ("$formatNumber(1, '#0.0e0,0')", "D3093: The exponent part of the sub-picture must comprise only of"),
        ("$formatNumber(1, '0', {'digit': 1})", 'D3137: The option "digit" of formatNumber must be a non-empty'),
        ("$fromMillis(0, '[Y]-[M')", "D3135: No matching closing bracket ']' in date/time picture string"),
        ("$fromMillis(0, '[q1]')", 'D3132: Unknown component specifier "q" in date/time picture string'),
        ("$fromMillis(0, '[YN]')", "D3133: The 'name' modifier can only be applied to months and days"),
        ("$fromMillis(0, '[fn]')", "D3133: The 'name' modifier can only be applied to months and days"),
        ("$fromMillis(0, '[Z010101]')", "D3134: The timezone integer format specifier cannot have more than four"),
        ("$fromMillis(0, '[Y]', 'EST')", 'D3137: The timezone "EST" is not an offset such as "+0530"'),
        ("$fromMillis(1e20)", "D3137: The timestamp is beyond the range of dates"),
        ("$fromMillis('x')", 'T0410: Argument 1 of function "fromMillis" does not match function signature'),
        ("$toMillis('2018-05-22', '[Y]-[M]-[q]')", 'D3132: Unknown component specifier "q"'),
        ("$toMillis('2018-22', '[Y]-[D]')", "D3136: The date/time picture string is missing specifiers required to"),
        ("$toMillis('2018-3', '[X]-[W]')", "D3136: The date/time picture string is missing specifiers required to"),
        ("$formatInteger(1, $pad('', 300, '0'))", "D3137: A picture string has at most 256 characters"),
        ("$formatNumber(1, $pad('', 300, '0'))", "D3137: A picture string has at most 256 characters"),
    ],
)
def test_a_wrong_picture_has_the_cause_of_jsonata(jsonata_fault: Any, text: str, cause: str) -> None:
    assert jsonata_fault(text).startswith(cause)
