"""What a page holds, whatever it reports on: a heading, a verdict, sections of parts, and how to repeat the run."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeVar

from assay.errors import DataError

__all__ = ["Page", "Part", "Picture", "ScreenCard", "Section", "Sentence", "TextTable", "Tone"]

Tone = Literal["good", "caution", "bad", "note"]
_DARK = b"@media (prefers-color-scheme: dark) { #figure_1 { filter: invert(0.92) hue-rotate(180deg) } }"


@dataclass(frozen=True)
class Sentence:
    """One sentence of the verdict; the tone chooses its sign: good, caution, bad or note."""

    tone: Tone
    text: str

    def __post_init__(self) -> None:
        if self.tone not in ("good", "caution", "bad", "note"):
            raise DataError(f"a sentence's tone must be good, caution, bad or note, not {self.tone!r}")


@dataclass(frozen=True)
class ScreenCard:
    """One question of the first screen and its answer.

    Attributes:
        question: As the reader would ask it.
        tone: good, caution, bad or note.
        answer: The answer in a sentence or two.
        lines: What stands behind it, and names of explainers in the order of the page.
    """

    question: str
    tone: Tone
    answer: str
    lines: tuple[str, ...] = ()


class Part:
    """Something that a section shows: plain values, and the template that draws them."""

    template: ClassVar[str]


@dataclass(frozen=True)
class TextTable(Part):
    """A table of texts; `numeric` says of each column whether its texts are numbers."""

    title: str
    note: str
    headings: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]

    template: ClassVar[str] = "table.html.j2"


@dataclass(frozen=True)
class Picture(Part):
    """A figure with what it shows in words."""

    caption: str
    content: bytes
    form: Literal["png", "svg"]

    template: ClassVar[str] = "picture.html.j2"

    @property
    def uri(self) -> str:
        """The figure as a `data:` address; a chart without photographs is dark where the page is."""
        kind, content = "image/svg+xml" if self.form == "svg" else "image/png", self.content
        if self.form == "svg" and b"<image" not in content:
            content = content.replace(b"</style>", _DARK + b"</style>", 1)
        return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


@dataclass(frozen=True, eq=False)
class Section:
    """A part of the page: its heading, a sentence or two, then what it shows; `key` is the address within the page."""

    heading: str
    text: str
    parts: tuple[Part, ...] = ()
    key: str = ""


_P = TypeVar("_P", bound=Part)


@dataclass(frozen=True, eq=False)
class Page:
    """Everything one report shows.

    Attributes:
        title: The heading.
        kind: What kind of report it is, in a word or two.
        facts: Short facts below the heading, such as the model and the images.
        lead: What was asked, in a few sentences.
        verdict: Plain words, most important first.
        rules: How the verdict was reached.
        sections: Results.
        settings: What the run was asked to do.
        record: Answers to the seven reproducibility questions, as nested dicts and lists of plain values.
        problems: (image, what was wrong) for everything that was left out or failed.
        further: (text, address) of pages to read on, addresses relative to this page.
        cards: The first screen: questions with their answers.
        explainers: Specs that are shown by their names alone, where no two share one; the spec is the name's title.
    """

    title: str
    kind: str
    facts: Mapping[str, str]
    lead: str
    verdict: tuple[Sentence, ...]
    rules: str = ""
    sections: tuple[Section, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[tuple[str, str], ...] = ()
    further: tuple[tuple[str, str], ...] = ()
    cards: tuple[ScreenCard, ...] = ()
    explainers: tuple[str, ...] = ()

    def part(self, kind: type[_P]) -> _P:
        """The first part of a kind.

        Raises:
            DataError: The page has none.
        """
        for section in self.sections:
            for one in section.parts:
                if isinstance(one, kind):
                    return one
        raise DataError(f"the page shows no {kind.__name__}")
