"""A study's results as one self-contained HTML page: verdict, tables, figures, settings, the seven answers."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from assay.core.files import replacing
from assay.errors import DataError
from assay.report.answers import answers
from assay.report.page import Sentence
from assay.report.render import environment

__all__ = ["Picture", "Section", "StudyPage", "TextTable", "render_study", "write_study"]


@dataclass(frozen=True)
class TextTable:
    """A table of texts; `numeric` says of each column whether its texts are numbers."""

    title: str
    note: str
    headings: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]


@dataclass(frozen=True)
class Picture:
    """A figure with what it shows in words."""

    caption: str
    content: bytes
    form: Literal["png", "svg"]

    @property
    def uri(self) -> str:
        """The figure as a `data:` address."""
        kind = "image/svg+xml" if self.form == "svg" else "image/png"
        return f"data:{kind};base64,{base64.b64encode(self.content).decode('ascii')}"


@dataclass(frozen=True)
class Section:
    """A part of the page: its heading, a sentence or two, then tables and figures."""

    heading: str
    text: str
    grids: tuple[TextTable, ...] = ()
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class StudyPage:
    """Everything the page shows.

    Attributes:
        title: The heading.
        lead: What was asked, in a few sentences.
        facts: Short facts below the heading.
        verdict: Plain words, most important first.
        rules: How the verdict was reached.
        sections: Results.
        settings: What the run was asked to do.
        record: Answers to the seven reproducibility questions, as nested plain values.
    """

    title: str
    lead: str
    facts: Mapping[str, str]
    verdict: tuple[Sentence, ...]
    rules: str
    sections: tuple[Section, ...]
    settings: Mapping[str, str]
    record: Mapping[str, Any]


def render_study(page: StudyPage) -> str:
    """The page as HTML text."""
    return environment().get_template("study.html.j2").render(page=page, answers=answers(page.record))


def write_study(page: StudyPage, path: str | os.PathLike[str]) -> Path:
    """Write the page; the file appears whole or not at all. Returns its path.

    Raises:
        DataError: The path cannot be written.
    """
    place = Path(path)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with replacing(place) as draft:
            draft.write_text(render_study(page), encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot write the report to {place}: {error.strerror or error}") from error
    return place
