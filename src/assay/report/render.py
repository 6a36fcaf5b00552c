"""A page as one self-contained HTML file: nothing loaded, every text escaped, one script, named by its hash, that is not needed to read."""

from __future__ import annotations

import base64
import functools
import hashlib
import os
from importlib.resources import files
from pathlib import Path

import jinja2
from markupsafe import Markup

from assay.core.files import replacing
from assay.errors import DataError
from assay.report.answers import answers
from assay.report.attack import shots
from assay.report.figures.colour import colour_bar
from assay.report.figures.picture import data_uri
from assay.report.figures.strip import strips
from assay.report.figures.tiles import wall
from assay.report.page import Page
from assay.report.table import summary_table
from assay.report.text import breakable, plural

__all__ = ["environment", "render", "write"]


def render(page: Page) -> str:
    """The whole page as HTML text; the same page always gives the same text."""
    table = summary_table(page.summary, page.measures, page.best)
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            page=page,
            table=table,
            strips=strips(page.summary, page.measures),
            wall=wall(page.gallery),
            attacks=shots(page.attacks),
            answers=answers(page.record),
            colour_bar=data_uri(colour_bar()),
            counts=sorted(set(page.summary["count"])),
            script=Markup(_script()),
            script_hash=f"sha256-{base64.b64encode(hashlib.sha256(_script().encode()).digest()).decode()}",
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
    found.filters["breakable"] = breakable
    found.globals["plural"] = plural
    return found
