"""Certified beside attacked robustness of the study's networks, which the paper does not ask."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import polars as pl
from matplotlib.figure import Figure

from assay.papers.files import Drawing
from assay.report.export import HIGH, LOW, Table
from assay.report.figures.plots import Curve, curves
from assay.report.page import Sentence
from assay.report.text import number
from assay.study.certify import certified_summary

__all__ = ["certificates", "certified_drawing", "certified_means", "certified_sentences"]

_COLUMNS = {
    "cosine": "certified cosine",
    "attacked_cosine": "attacked cosine",
    "overlap": "certified overlap",
    "attacked_overlap": "attacked overlap",
}


def certified_means(values: pl.DataFrame) -> pl.DataFrame:
    """`assay.study.certify.certified_summary` of each network, beside model, backbone and twin."""
    found = []
    for (model, backbone, twin), own in values.group_by("model", "backbone", "twin", maintain_order=True):
        told = {"model": model, "backbone": backbone, "twin": twin}
        summary = certified_summary(own.sort("eps", maintain_order=True))
        found.append(summary.select(*(pl.lit(value).alias(name) for name, value in told.items()), pl.all()))
    return pl.concat(found)


def certificates(means: pl.DataFrame, smoothing: str, confidence: float) -> Table:
    """The table of certificates.

    Args:
        means: As `certified_means` makes them.
        smoothing: What was certified.
        confidence: Of each image's bounds.
    """
    shown = [
        pl.col(f"{name}{end}").alias(title + {"": "", "_low": LOW, "_high": HIGH}[end])
        for name, title in _COLUMNS.items()
        if means[name].is_finite().any()
        for end in ("", "_low", "_high")
    ]
    return Table(
        "certified",
        "Beyond the paper: certified beside attacked.",
        f"{smoothing} of the class probability, within L2 distance eps, {confidence:g} confidence for each image. What is certified holds "
        "for every change, found or not, of exact maps; what an attack leaves is of seen maps. Means with 95 % bootstrap intervals, a "
        "bound that says nothing counting as 0. Last, the share of images of which some number of copies would certify something, and the "
        "median number for these; for the others more copies alone would not do.",
        means.select(
            pl.col("model").alias("network"),
            "eps",
            "images",
            pl.col("certified").alias("certified images, %"),
            *shown,
            pl.col("reachable").alias("with enough copies, %"),
            pl.col("needed").alias("copies needed"),
        ),
        frozenset({"certified images, %", "with enough copies, %"}),
    )


def certified_sentences(means: pl.DataFrame) -> Iterator[Sentence]:
    """What holds at the smallest radius, standard and robust networks apart."""
    least = means.filter(pl.col("eps") == means["eps"].min())
    for (twin,), own in least.group_by("twin", maintain_order=True):
        share, bound, left = (own[name].mean() for name in ("certified", "cosine", "attacked_cosine"))
        assert isinstance(share, float)
        assert isinstance(bound, float)
        assert isinstance(left, float)
        text = (
            f"Beyond the paper, certificates within L2 distance {own['eps'][0]:g} of {twin} networks: something is certified for "
            f"{share:.0%} of the images; the certified cosine is {number(bound, 2)} in mean, and the attack leaves {number(left, 2)}"
        )
        yield Sentence("note", f"{text}.")


def certified_drawing(means: pl.DataFrame) -> Drawing:
    """Certified and attacked cosine over the radius."""
    caption = (
        "The cosine that is certified and that an attack leaves, over the radius (bands are 95 % intervals), and the median number of "
        "copies that would be enough to certify something, of the images where some number would."
    )
    return Drawing("certified", caption, partial(_figure, means), False)


def _figure(means: pl.DataFrame) -> Figure:
    panels: dict[str, list[Curve]] = {}
    for (backbone, twin), own in means.group_by("backbone", "twin", maintain_order=True):
        for name, word in (("cosine", "certified"), ("attacked_cosine", "attacked")):
            curve = Curve(f"{backbone}, {word}", *(tuple(own[column]) for column in ("eps", name, f"{name}_low", f"{name}_high")))
            panels.setdefault(f"cosine, {twin} networks", []).append(curve)
        finite = own.filter(pl.col("needed").is_finite())
        needed = Curve(f"{backbone}, certified", tuple(finite["eps"]), tuple(finite["needed"]))
        panels.setdefault(f"copies needed (median), {twin} networks", []).append(needed)
    return curves(panels, "L2 distance eps", ticks=sorted(set(means["eps"])), columns=2)
