"""The page of `assay attack`: what is left of each explainer's maps, and attacked images to look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from assay.report.answers import answers
from assay.report.attack import AttackView, shots
from assay.report.page import Sentence
from assay.report.render import environment

__all__ = ["AttackPage", "AttackRow", "render_attack"]


@dataclass(frozen=True)
class AttackRow:
    """One explainer's line of the table: texts of mean and 95 % interval of what is left, and whether the attack beats noise."""

    explainer: str
    noise: str
    attacked: str
    gap: str
    fragile: bool
    kept: str


@dataclass(frozen=True, eq=False)
class AttackPage:
    """Everything the page of `assay attack` shows; the fields are as in `assay.report.Page`, with a table of `AttackRow`."""

    title: str
    model: str
    data: str
    images: int
    attack: str
    similarity: str
    verdict: tuple[Sentence, ...]
    rows: tuple[AttackRow, ...]
    views: tuple[AttackView, ...]
    settings: Mapping[str, str]
    record: Mapping[str, Any]
    problems: tuple[tuple[str, str], ...]


def render_attack(page: AttackPage) -> str:
    """The page as one self-contained HTML text; the same page always gives the same text."""
    return environment().get_template("attack_page.html.j2").render(page=page, attacks=shots(page.views), answers=answers(page.record))
