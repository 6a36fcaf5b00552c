"""Numbers and names as a reader wants them."""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from markupsafe import Markup, escape

from assay.core.registry import plain_name

__all__ = ["between", "breakable", "decimals_for", "measure_names", "number", "percent", "plain_names", "plural", "worded"]

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def decimals_for(values: Iterable[float | None], widths: Iterable[float | None] = ()) -> int:
    """Decimals for a column, 0 to 5: three digits of its largest value, or more if the typical interval is too narrow for them.

    Args:
        values: The column's numbers.
        widths: Widths of their intervals; the median one shows at least one digit.
    """
    largest = max(map(abs, _known(values)), default=0.0)
    narrow = statistics.median_low(_known(widths) or [0.0])
    by_size = 2 - math.floor(math.log10(largest)) if largest > 0 else 3
    by_width = 1 - math.ceil(math.log10(narrow)) if narrow > 0 else 0
    return min(5, max(0, by_size, by_width))


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None and math.isfinite(value)]


def number(value: float | None, decimals: int = 3) -> str:
    """A number for a table: fixed decimals where they show two digits, else as many as do; "n/a" if not finite."""
    if value is None or not math.isfinite(value):
        return "n/a"
    size = abs(value)
    if size == 0 or (size >= 10 ** (1 - decimals) and size < 1e5):
        return f"{value:.{decimals}f}".replace("-", "−")
    digits, exponent = f"{value:.2e}".split("e")
    if -4 <= int(exponent) < 0:
        return f"{value:.{1 - int(exponent)}f}".replace("-", "−")
    return f"{digits}×10{str(int(exponent)).translate(_RAISED)}".replace("-", "−")


def between(low: float, high: float, form: Callable[[float], str] = number) -> str:
    """The ends of an interval behind its middle, " (low to high)"; nothing where there is none, as of a single image."""
    return "" if math.isnan(low) else f" ({form(low)} to {form(high)})"


def percent(value: float) -> str:
    """A probability as whole per cent, 99.9 and 0.1 at the ends, "n/a" if not finite."""
    if not math.isfinite(value):
        return "n/a"
    if 0.99 < value < 1:
        return f"{min(100 * value, 99.9):.1f}%"
    return f"{100 * value:.0f}%"


def plural(count: int, one: str, many: str | None = None) -> str:
    """`3 images`, `1 image`: the count with the right form of the noun."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def worded(names: Iterable[str], last_by: str = "and") -> str:
    """`A, B and C`, of one name at least."""
    *most, last = names
    return f"{', '.join(most)} {last_by} {last}" if most else last


def plain_names(specs: Sequence[str]) -> dict[str, str]:
    """Names without parameters, where no two explainers share one; else the spec."""
    short = Counter(map(plain_name, specs))
    return {spec: plain_name(spec) if short[plain_name(spec)] == 1 else spec for spec in specs}


def measure_names(specs: Sequence[str]) -> dict[str, str]:
    """Names without parameters, where no two measures share one; else with the name of what they are made with; else the spec."""
    made = {spec: ", ".join([plain_name(spec), *re.findall(r"^\w+\(\w+=([A-Z]\w*)", spec)]) for spec in specs}
    plain, longer = Counter(map(plain_name, specs)), Counter(made.values())
    return {spec: plain_name(spec) if plain[plain_name(spec)] == 1 else name if longer[name] == 1 else spec for spec, name in made.items()}


def breakable(name: str) -> Markup:
    """A spec or file name, escaped, that may break after brackets, commas, slashes and underscores, and before a capital."""
    safe = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "<wbr>", str(escape(name)))
    for mark in ("(", ",", "/", "_"):
        safe = safe.replace(mark, mark + "<wbr>")
    return Markup(safe)
