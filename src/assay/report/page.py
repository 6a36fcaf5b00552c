"""What one report page holds: plain values, tensors and one table, checked when the page is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
import torch
from torch import Tensor

from assay.errors import DataError, EmptyBatchError, ImageTypeError, PixelRangeError, ShapeError
from assay.report.attack import AttackView
from assay.report.cards import ScreenCard, Tone
from assay.report.questions import QuestionRow

__all__ = ["VERDICTS", "Gallery", "MeasureNote", "Page", "Sentence", "Tone"]

VERDICTS = {"better than random": "better", "no better than random": "same", "worse than random": "worse"}
"""The verdicts a summary may hold, and the short cue of each. A missing or empty verdict means that none was reached."""

_MEANS = ("mean", "low", "high", "floor", "floor_low", "floor_high")
_COLUMNS = ("explainer", "measure", "higher_is_better", *_MEANS, "verdict", "count")


@dataclass(frozen=True)
class Sentence:
    """One sentence of the verdict; the tone chooses its sign: good, caution, bad or note."""

    tone: Tone
    text: str

    def __post_init__(self) -> None:
        if self.tone not in ("good", "caution", "bad", "note"):
            raise DataError(f"a sentence's tone must be good, caution, bad or note, not {self.tone!r}")


@dataclass(frozen=True)
class MeasureNote:
    """What a reader must know of one measure: its family, which direction is good, what it says, and its paper."""

    category: str
    direction: str
    meaning: str
    reference: str


@dataclass(frozen=True, eq=False)
class Gallery:
    """Some images and what each explainer says of them.

    Attributes:
        images: (G, 1 or 3, H, W) float, pixels in [0, 1].
        names: G names, for example of files; never trusted to be safe HTML.
        labels: G true classes, "" where unknown.
        predictions: G predicted classes.
        probabilities: G probabilities of the predicted classes, in [0, 1] or NaN.
        maps: For each explainer (G, C, H, W) float, signed, on its own scale.
        truth: (G, 1, H, W) bool, the pixels that decide the class, or None.
        distractor: (G, 1, H, W) bool, the pixels that must not matter, or None.
        scores: For each explainer and measure G scores, or nothing.
        why: Why each image is shown, in a few words; nothing where no reason is told.

    Raises:
        EmptyBatchError, ShapeError, ImageTypeError, PixelRangeError: The parts do not fit together.
    """

    images: Tensor
    names: tuple[str, ...]
    labels: tuple[str, ...]
    predictions: tuple[str, ...]
    probabilities: tuple[float, ...]
    maps: Mapping[str, Tensor]
    truth: Tensor | None
    distractor: Tensor | None
    scores: Mapping[str, Mapping[str, tuple[float, ...]]]
    why: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_images(self.images)
        count, _, height, width = self.images.shape
        for field in ("names", "labels", "predictions", "probabilities"):
            if len(getattr(self, field)) != count:
                raise ShapeError(f"gallery: {len(getattr(self, field))} {field} for {count} images; give one for each image")
        if self.why and len(self.why) != count:
            raise ShapeError(f"gallery: {len(self.why)} reasons for {count} images; give one for each image, or none")
        for name, maps in self.maps.items():
            if maps.ndim != 4 or (maps.shape[0], *maps.shape[2:]) != (count, height, width):
                raise ShapeError(f"gallery: maps of {name} have shape {tuple(maps.shape)}, not ({count}, C, {height}, {width})")
        for field in ("truth", "distractor"):
            mask = getattr(self, field)
            if mask is not None and (mask.shape != (count, 1, height, width) or mask.dtype != torch.bool):
                raise ShapeError(f"gallery: {field} is {mask.dtype} {tuple(mask.shape)}, not bool ({count}, 1, {height}, {width})")
        for explainer, measures in self.scores.items():
            for measure, values in measures.items():
                if len(values) != count:
                    raise ShapeError(f"gallery: {len(values)} scores of {explainer} by {measure} for {count} images")


@dataclass(frozen=True, eq=False)
class Page:
    """Everything one report shows.

    Attributes:
        title: The page's heading.
        model: What was explained, for example the model's spec.
        data: Where the images are from.
        verdict: Plain words for the top of the page.
        summary: One row for each explainer and measure: explainer, measure, higher_is_better, mean, low and high (the mean's
            interval), floor, floor_low and floor_high (the same of a random map), verdict (a key of `VERDICTS`) and count.
        measures: A note for every measure of `summary`.
        gallery: Images with their maps.
        settings: What the run was asked to do.
        record: Answers to the seven reproducibility questions, as nested dicts and lists of plain values.
        problems: (image, what was wrong) for everything that was left out or failed.
        further: (text, address) of pages to read on, addresses relative to this page.
        attacks: Attacked images to show.
        questions: What each explainer says to the verdict's questions.
        cards: The first screen: questions with their answers.
        best: Explainers not shown to be worse than the best, by measure; measures that are not named mark none.

    Raises:
        DataError: The summary lacks a column, a row is there twice, a verdict is unknown or a measure has no note.
    """

    title: str
    model: str
    data: str
    verdict: tuple[Sentence, ...]
    summary: pl.DataFrame
    measures: Mapping[str, MeasureNote]
    gallery: Gallery
    settings: Mapping[str, str]
    record: Mapping[str, Any]
    problems: tuple[tuple[str, str], ...]
    further: tuple[tuple[str, str], ...] = ()
    attacks: tuple[AttackView, ...] = ()
    questions: tuple[QuestionRow, ...] = ()
    best: Mapping[str, tuple[str, ...]] | None = None
    cards: tuple[ScreenCard, ...] = ()

    def __post_init__(self) -> None:
        missing = [name for name in _COLUMNS if name not in self.summary.columns]
        if missing:
            raise DataError(f"the summary lacks the columns {', '.join(missing)}")
        if self.summary.select("explainer", "measure").is_duplicated().any():
            raise DataError("the summary has two rows for one explainer and measure; aggregate it first")
        unknown = set(self.summary["measure"]) - self.measures.keys()
        if unknown:
            raise DataError(f"no note for the measures {', '.join(sorted(unknown))}; add them to the page's measures")
        strange = {verdict for verdict in self.summary["verdict"] if verdict} - VERDICTS.keys()
        if strange:
            raise DataError(f"unknown verdicts {', '.join(sorted(strange))}; use {', '.join(VERDICTS)}")


def _check_images(images: Tensor) -> None:
    if not images.is_floating_point():
        raise ImageTypeError(f"gallery: images must be float in [0, 1], not {images.dtype}")
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ShapeError(f"gallery: images must be (G, 3, H, W) or (G, 1, H, W), not {tuple(images.shape)}")
    if images.numel() == 0:
        raise EmptyBatchError("gallery: no image to show; give at least one")
    if not bool(((images >= 0) & (images <= 1)).all()):
        raise PixelRangeError("gallery: a pixel is NaN or outside [0, 1]; scale the images first")
