"""A page as one self-contained HTML file: nothing loaded, every text escaped, one script, named by its hash, that is not needed to read."""

from __future__ import annotations

import base64
import functools
import hashlib
import os
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from assay.core.whole_files import replacing
from assay.errors import DataError
from assay.report.attack_views import Attacks, shots
from assay.report.evidence import Standings, TradeOffs
from assay.report.figures.colour import colour_bar
from assay.report.figures.picture import data_uri
from assay.report.figures.scatter import scatter
from assay.report.figures.strip import standing_strips, strips
from assay.report.figures.tiles import wall
from assay.report.gallery import Gallery
from assay.report.page import Page, Part
from assay.report.record_answers import answers
from assay.report.summary import MeasureNotes, ScoreStrips, ScoreTable
from assay.report.summary_table import by_measure, summary_table
from assay.report.text import breakable, measure_names, plain_names, plural

__all__ = ["environment", "render", "write"]

_LAYOUTS: dict[type[Part], Callable[[Any], Any]] = {
    Attacks: lambda part: shots(part.views),
    Gallery: lambda part: wall(part),
    MeasureNotes: lambda part: by_measure(part.summary),
    ScoreStrips: lambda part: strips(part.summary),
    ScoreTable: lambda part: summary_table(part.summary),
    Standings: standing_strips,
    TradeOffs: scatter,
}
"""What a part's template is given beside the part itself."""


def render(page: Page) -> str:
    """The whole page as HTML text; the same page always gives the same text."""
    scripted = any(isinstance(part, Gallery) for section in page.sections for part in section.parts)
    script = _script() if scripted else ""
    tables = [part for section in page.sections for part in section.parts if isinstance(part, ScoreTable)]
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            page=page,
            plain_names=plain_names(page.explainers),
            measure_names=measure_names([column.measure for part in tables for column, _ in by_measure(part.summary)]),
            answers=answers(page.record) if page.record else (),
            colour_bar=data_uri(colour_bar()),
            script=Markup(script),
            script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}" if script else "",
        )
    )


def write(page: Page, path: str | os.PathLike[str]) -> Path:
    """Render a page into a file that is either complete or not there, also after an interruption.

    Args:
        page: What to show.
        path: The HTML file; missing folders are made, an existing file is replaced.

    Returns:
        The path.

    Raises:
        DataError: The path is a folder, or nothing can be written there.
    """
    place = Path(path)
    if place.is_dir():
        raise DataError(f"cannot write the report to {place}: it is a folder; name a file such as {place / 'report.html'}")
    text = render(page)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with replacing(place) as draft:
            draft.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot write the report to {place}: {error.strerror or error}") from error
    return place


@functools.cache
def _script() -> str:
    """What sorts, filters and enlarges the gallery."""
    return files("assay.report").joinpath("template", "gallery.js").read_text("utf-8")


@jinja2.pass_context
def _named(context: jinja2.runtime.Context, spec: str) -> Markup:
    """An explainer by the name that this page has for it, with its spec on demand."""
    name = dict(context.get("plain_names") or {}).get(spec, spec)
    return breakable(spec) if name == spec else Markup('<span title="{}">{}</span>').format(spec, breakable(name))


@jinja2.pass_context
def _measured(context: jinja2.runtime.Context, told: str) -> Markup:
    """A measure, with or without an arrow behind it, by the name that this page has for it, with its spec on demand."""
    spec, arrow = (told[:-2], told[-2:]) if told[-2:] in (" ↑", " ↓") else (told, "")
    name = dict(context.get("measure_names") or {}).get(spec, spec)
    return breakable(told) if name == spec else Markup('<span title="{}">{}</span>').format(spec, breakable(name + arrow))


def _laid_out(part: Part) -> Any:
    layout = _LAYOUTS.get(type(part))
    return None if layout is None else layout(part)


@functools.cache
def environment() -> jinja2.Environment:
    """The templates; every text is escaped, and a name that is not there is an error."""
    found = jinja2.Environment(
        loader=jinja2.PackageLoader("assay.report", "template"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"breakable": breakable, "measured": _measured, "named": _named}
    found.globals |= {"plural": plural, "laid_out": _laid_out}
    return found
