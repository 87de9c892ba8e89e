"""Figures as text, as tables and sentences show them."""

from battles.schema import WINNERS
from report.style import CLASS_NAMES

DASH, MINUS = "–", "\N{MINUS SIGN}"
VOTES = dict(zip(WINNERS, CLASS_NAMES, strict=True))


def number(value: float | None, decimals: int = 4, sign: bool = False) -> str:
    """A figure as text; a dash when it is not known."""
    if value is None or value != value:
        return DASH
    text = f"{value:{'+' if sign else ''},.{decimals}f}"
    # No minus before what is zero in so many digits.
    return text.lstrip("-+") if not text.strip("-+0.,") else text.replace("-", MINUS)


def percent(value: float | None, decimals: int = 1) -> str:
    """A share as text; a dash when it is not known."""
    return DASH if value is None or value != value else f"{value:.{decimals}%}".replace("-", MINUS)


def between(ends: tuple[float, float] | None, decimals: int = 4) -> str:
    """An interval as text."""
    return DASH if ends is None else f"{number(ends[0], decimals)} to {number(ends[1], decimals)}"


def duration(seconds: float | None) -> str:
    """Seconds as a person says them."""
    if seconds is None or seconds != seconds:
        return DASH
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"
