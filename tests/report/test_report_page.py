"""The checks of what a page is made of."""

from __future__ import annotations

import polars as pl
import pytest
import torch

from assay.errors import DataError, EmptyBatchError, ImageTypeError, PixelRangeError, ShapeError
from assay.report import Gallery, Sentence
from assay.report.attack_views import Attacks


def test_unknown_tone_is_refused():
    with pytest.raises(DataError, match="tone must be good, caution, bad or note, not 'great'"):
        Sentence("great", "Well done.")


@pytest.mark.parametrize(
    ("images", "error", "words"),
    [
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), ImageTypeError, "float"),
        (torch.zeros(2, 2, 8, 8), ShapeError, r"\(2, 2, 8, 8\)"),
        (torch.zeros(3, 8, 8), ShapeError, r"\(3, 8, 8\)"),
        (torch.zeros(0, 3, 8, 8), EmptyBatchError, "no image"),
        (torch.full((2, 3, 8, 8), 1.5), PixelRangeError, "outside"),
        (torch.full((2, 3, 8, 8), torch.nan), PixelRangeError, "NaN"),
    ],
)
def test_gallery_refuses_unfit_images(gallery, change, images, error, words):
    with pytest.raises(error, match=words):
        change(gallery, images=images)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("names", ("one.png",), "1 names for 2 images"),
        ("probabilities", (), "0 probabilities for 2 images"),
        ("maps", {"Lime": torch.zeros(2, 1, 4, 4)}, "maps of Lime"),
        ("maps", {"Lime": torch.zeros(2, 8, 8)}, "maps of Lime"),
        ("truth", torch.zeros(2, 1, 8, 8), "truth is torch.float32"),
        ("distractor", torch.zeros(1, 1, 8, 8, dtype=torch.bool), "distractor is torch.bool"),
        ("scores", {"Lime": {"Deletion": (0.1,)}}, "1 scores of Lime by Deletion"),
    ],
)
def test_gallery_names_the_part_that_does_not_fit(gallery, change, field, value, words):
    with pytest.raises(ShapeError, match=words):
        change(gallery, **{field: value})


def test_a_summary_names_missing_columns(summary, change):
    with pytest.raises(DataError, match="lacks the columns floor, verdict"):
        change(summary, frame=summary.frame.drop("floor", "verdict"))


def test_a_summary_refuses_two_rows_for_one_score(summary, change):
    with pytest.raises(DataError, match="two rows"):
        change(summary, frame=pl.concat([summary.frame, summary.frame]))


def test_a_summary_refuses_measures_without_note(summary, change):
    with pytest.raises(DataError, match="no note for the measures Insertion, MaxSensitivity"):
        change(summary, notes={})


def test_a_summary_refuses_unknown_verdicts(summary, change):
    with pytest.raises(DataError, match="unknown verdicts splendid"):
        change(summary, frame=summary.frame.with_columns(verdict=pl.lit("splendid")))


def test_a_page_finds_its_parts_by_kind_and_says_what_it_has_not(page):
    assert isinstance(page.part(Gallery), Gallery)
    with pytest.raises(DataError, match="the page shows no Attacks"):
        page.part(Attacks)
