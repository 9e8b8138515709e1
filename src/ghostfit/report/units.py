"""Numbers as a person reads them; a figure that is missing or not finite reads "–"."""

from __future__ import annotations

import math
from typing import Any

NONE = "–"
SPACE = "\u00a0"  # between figure and unit, so that no line breaks there


def finite(value: Any) -> float | None:
    """`value` as a float; None for anything that is no finite number.

    >>> finite(2), finite("2"), finite(float("nan")), finite(None), finite(True)
    (2.0, None, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def significant(value: float, digits: int = 3) -> str:
    """`value` with `digits` significant digits and no exponent.

    >>> significant(2.3456), significant(23.456), significant(1234.5), significant(0.01234)
    ('2.35', '23.5', '1,234', '0.0123')
    """
    if value == 0:
        return "0"
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    return f"{value:,.{min(max(decimals, 0), 9)}f}"


def percent(share: Any, decimals: int = 1) -> str:
    """A share of 1 as a percentage.

    >>> percent(0.8734), percent(float("nan"))
    ('87.3%', '–')
    """
    number = finite(share)
    return NONE if number is None else f"{100 * number:.{decimals}f}%"


def milliseconds(value: Any) -> str:
    r"""A measured time in milliseconds.

    >>> milliseconds(2.3456), milliseconds(None)
    ('2.35\xa0ms', '–')
    """
    number = finite(value)
    return NONE if number is None else f"{significant(number)}{SPACE}ms"


def rounded(value: float) -> str:
    """A number that was given, not measured: three digits without trailing zeros.

    >>> rounded(0.5), rounded(12.0), rounded(1234.0)
    ('0.5', '12', '1,234')
    """
    shown = significant(value)
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def count(value: Any) -> str:
    r"""A count with three significant digits and k, M or G.

    >>> count(5_183_016), count(812), count(14_920)
    ('5.18\xa0M', '812', '14.9\xa0k')
    """
    number = finite(value)
    if number is None:
        return NONE
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= unit:
            return f"{significant(number / unit)}{SPACE}{name}"
    return f"{number:,.0f}" if number == int(number) else significant(number)


def whole(value: Any) -> str:
    """A count, every digit.

    >>> whole(2527)
    '2,527'
    """
    number = finite(value)
    return NONE if number is None else f"{number:,.0f}"


def size(num_bytes: Any) -> str:
    r"""A size in memory or on disk, decimal units.

    >>> size(3_204_120), size(900)
    ('3.2\xa0MB', '0.90\xa0kB')
    """
    number = finite(num_bytes)
    if number is None:
        return NONE
    scale, unit = (1e6, "MB") if number >= 1e5 else (1e3, "kB")
    return f"{significant(number / scale, 2)}{SPACE}{unit}"


def duration(seconds: Any) -> str:
    r"""A span of time in the two units that matter.

    >>> duration(754), duration(4.26), duration(7500), duration(-1)
    ('12\xa0min 34\xa0s', '4.3\xa0s', '2\xa0h 5\xa0min', '–')
    """
    number = finite(seconds)
    if number is None or number < 0:
        return NONE
    if number < 59.95:
        return f"{number:.1f}{SPACE}s"
    minutes, rest = divmod(round(number), 60)
    if minutes < 60:
        return f"{minutes}{SPACE}min {rest}{SPACE}s" if rest else f"{minutes}{SPACE}min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{SPACE}h {minutes}{SPACE}min" if minutes else f"{hours}{SPACE}h"
