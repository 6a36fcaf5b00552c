"""Small pages and galleries, from fixed numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
import torch

from assay.report import Gallery, MeasureNote, Page, Section, Sentence
from assay.report.summary import MeasureNotes, ScoreStrips, ScoreTable, Summary

VERDICT = {1: "better than random", 0: "not shown to be better than random", -1: "worse than random"}


def line(explainer: str, measure: str, mean: float, floor: float = 0.5, won: int = 1, higher: bool = True, **other: Any) -> dict[str, Any]:
    values = {
        "explainer": explainer,
        "measure": measure,
        "higher_is_better": higher,
        "mean": mean,
        "low": mean - 0.05,
        "high": mean + 0.05,
        "floor": floor,
        "floor_low": floor - 0.01,
        "floor_high": floor + 0.01,
        "verdict": VERDICT[won],
        "count": 20,
    }
    return values | other


@pytest.fixture
def summary_of() -> Callable[..., pl.DataFrame]:
    """A summary from (explainer, measure, mean, ...) tuples or ready lines."""
    return lambda *lines: pl.DataFrame([one if isinstance(one, dict) else line(*one) for one in lines])


@pytest.fixture
def line_of() -> Callable[..., dict[str, Any]]:
    return line


@pytest.fixture
def notes() -> dict[str, MeasureNote]:
    return {
        "Insertion": MeasureNote("faithfulness", "higher is better", "How fast does the class come back?", "Petsiuk 2018"),
        "MaxSensitivity": MeasureNote("robustness", "lower is better", "How far can the map move?", "Yeh 2019"),
        "Deletion": MeasureNote("faithfulness", "lower is better", "How fast does the class go?", "Petsiuk 2018"),
    }


@pytest.fixture
def gallery() -> Gallery:
    noise = torch.Generator().manual_seed(1)
    truth = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    truth[:, :, 2:5, 3:6] = True
    distractor = torch.zeros_like(truth)
    distractor[0, :, 6:, 6:] = True
    return Gallery(
        images=torch.rand(2, 3, 8, 8, generator=noise),
        names=("first.png", "second.png"),
        labels=("cat", ""),
        predictions=("dog", "cat"),
        probabilities=(0.75, float("nan")),
        maps={"Gradient": torch.randn(2, 3, 8, 8, generator=noise), "Lime": torch.randn(2, 1, 8, 8, generator=noise)},
        truth=truth,
        distractor=distractor,
        scores={"Gradient": {"Insertion": (0.25, float("nan"))}},
    )


@pytest.fixture
def summary(notes: dict[str, MeasureNote]) -> Summary:
    lines = (
        line("Gradient", "Insertion", 0.7),
        line("Lime", "Insertion", 0.4, won=-1),
        line("Gradient", "MaxSensitivity", 0.51, won=0, higher=False),
        line("Lime", "MaxSensitivity", float("nan"), higher=False, low=None, high=None, verdict=None),
    )
    return Summary(pl.DataFrame(lines), notes)


@pytest.fixture
def page_of() -> Callable[..., Page]:
    """A page of scores and maps, anything of it replaced by name."""

    def made(summary: Summary, gallery: Gallery, **other: Any) -> Page:
        return Page(
            **{
                "title": "Which maps hold up?",
                "kind": "audit of explanations",
                "facts": {"Model": "timm:resnet18", "Images": "folder scans"},
                "lead": "What was asked.",
                "verdict": (Sentence("good", "Gradient beats a random map by Insertion."), Sentence("bad", "Lime does not.")),
                "sections": (
                    Section("Scores", "", (ScoreTable(summary),), "scores"),
                    Section("The same scores as intervals", "", (ScoreStrips(summary),), "intervals"),
                    Section("Maps", "", (gallery,), "gallery"),
                    Section("What the measures say", "", (MeasureNotes(summary),), "measures"),
                ),
                "settings": {"seed": "0"},
                "record": {"code": {"version": "0.1.0"}, "splits": {"test": list(range(40))}},
                "problems": (("broken.png", "the file is cut short"),),
            }
            | other
        )

    return made


@pytest.fixture
def page(summary: Summary, gallery: Gallery, page_of: Callable[..., Page]) -> Page:
    return page_of(summary, gallery)


@pytest.fixture
def change() -> Callable[..., Any]:
    return dataclasses.replace
