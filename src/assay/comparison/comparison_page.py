"""The words, tables and page of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import polars as pl
from torch import Tensor

from assay.comparison.paired_scores import IMPROVED, UNCHANGED, WORSENED
from assay.report.figures.colour import colourise, robust_limit
from assay.report.figures.picture import photo, visible
from assay.report.figures.plots import sheet, to_bytes
from assay.report.page import Page, Picture, Section, Sentence, TextTable, Tone
from assay.report.text import between, number, plural, worded

__all__ = ["comparison_page", "comparison_sentences", "map_grid", "score_grid"]

_RULES = (
    "Scores of two models are on two scales, so each is taken as its distance from a random map's of the same model and image, positive "
    "being better. The second's distance less the first's is averaged over the images that both have; a change is told where its p, "
    "two-sided and after Holm's correction over all rows, is below 0.05. Maps have changed where their cosine distance between the models "
    "exceeds the larger of two distances of the first model's own maps: between two seeds, and between the image and the image with noise "
    "of at most 2/255."
)
_LEAD = (
    "The same images, the same explainers, the same explained classes: what became of the predictions, of the maps, and of what the maps "
    "are worth?"
)


def comparison_sentences(
    table: pl.DataFrame, maps: pl.DataFrame, counts: Mapping[str, int], names: tuple[str, str]
) -> tuple[Sentence, ...]:
    """The verdict.

    Args:
        table: As `assay.comparison.paired_scores.paired` makes it.
        maps: As `assay.comparison.map_changes.map_changes` makes it, or empty.
        counts: As `assay.comparison.paired_scores.predictions` makes it.
        names: What the two are called.
    """
    first, second = names
    found = []
    changes: tuple[tuple[str, Tone, str], ...] = ((IMPROVED, "good", "further from"), (WORSENED, "bad", "less far from"))
    for outcome, tone, word in changes:
        rows = table.filter(pl.col("outcome") == outcome)
        if rows.height:
            told = worded([f"{row['explainer']} by {row['measure']}" for row in rows.iter_rows(named=True)])
            text = f"With {second}, explanations are {word} a random map than with {first}: {told}."
            found.append(Sentence(tone, text))
    if not found:
        most = plural(max(table["images"].to_list(), default=0), "image")
        text = f"No change of any score is shown on {most}, which does not show that there is none."
        found.append(Sentence("note", text))
    if maps.height:
        moved, still = (maps.filter(pl.col("changed") == one)["explainer"].to_list() for one in (True, False))
        if moved:
            found.append(Sentence("caution", f"The maps changed by more than seed and invisible noise change them: {worded(moved)}."))
        if still:
            found.append(
                Sentence("note", f"The maps are not shown to change by more than seed and invisible noise change them: {worded(still)}.")
            )
    if counts["images"]:
        text = f"{first} and {second} predict the same class on {counts['same']} of {plural(counts['images'], 'image')}"
        if counts["labelled"]:
            text += f"; right are {counts['first right']} and {counts['second right']} of {counts['labelled']} labelled ones"
            text += f" ({counts['gained']} gained, {counts['lost']} lost)"
        found.append(Sentence("note", f"{text}."))
    return tuple(found)


def score_grid(table: pl.DataFrame, names: tuple[str, str]) -> TextTable:
    """A line for each explainer and measure."""
    lines = tuple(
        (
            row["explainer"],
            f"{row['measure']} {'↑' if row['higher_is_better'] else '↓'}",
            str(row["images"]),
            number(row["first"]),
            number(row["second"]),
            number(row["first_gain"]),
            number(row["second_gain"]),
            _interval(row, "difference"),
            {IMPROVED: "+ ", WORSENED: "− ", UNCHANGED: ""}[row["outcome"]] + row["outcome"],
        )
        for row in table.iter_rows(named=True)
    )
    head = (
        "explainer",
        "measure",
        "images",
        names[0],
        names[1],
        f"{names[0]}, over random",
        f"{names[1]}, over random",
        "difference",
        "outcome",
    )
    return TextTable("Scores.", "Over random: better than a random map by so much.", head, lines, (False, False, *(True,) * 6, False))


def map_grid(maps: pl.DataFrame) -> TextTable:
    """A line for each explainer."""
    lines = tuple(
        (
            row["explainer"],
            str(row["images"]),
            *(number(row[name]) for name in ("between", "seed", "noise")),
            _interval(row, "excess"),
            {True: "changed", False: "not shown", None: "too few images"}[row["changed"]],
        )
        for row in maps.iter_rows(named=True)
    )
    head = ("explainer", "images", "between the two", "by seed", "by noise", "more than both by", "outcome")
    return TextTable("Maps.", "Cosine distances: 0 is the same map, 1 has nothing in common.", head, lines, (False, *(True,) * 5, False))


def comparison_page(
    names: tuple[str, str],
    told: Sequence[Sentence],
    table: pl.DataFrame,
    seen: tuple[pl.DataFrame, Mapping[str, tuple[Tensor, Tensor]], Any],
    counts: Mapping[str, int],
    asked: Sequence[tuple[str, str, str]],
    records: Sequence[Mapping[str, Any]],
) -> Page:
    """The report.

    Args:
        names: What the two are called.
        told: The verdict.
        table: Scores.
        seen: The maps' table, both models' maps by explainer, and the images to show.
        counts: How the predictions go together.
        asked: Settings that differ.
        records: The seven answers of both.
    """
    maps, both, images = seen
    sections = [Section("What the maps are worth", "", (score_grid(table, names),))]
    if maps.height:
        sections.append(Section("What became of the maps", "", (map_grid(maps), *_pictures(both, images, names))))
    if asked:
        grid = TextTable("Settings", "that are not the same.", ("setting", *names), tuple(asked), (False, False, False))
        sections.append(Section("What was asked differently", "", (grid,)))
    return Page(
        title=f"{names[0]} and {names[1]}, side by side",
        kind="comparison",
        lead=_LEAD,
        facts={"first": names[0], "second": names[1], "images": str(counts["images"])},
        verdict=tuple(told),
        rules=_RULES,
        sections=tuple(sections),
        settings={name: str(value) for name, value in counts.items()},
        record={names[0]: records[0], names[1]: records[1]},
    )


def _pictures(both: Mapping[str, tuple[Tensor, Tensor]], images: Any, names: tuple[str, str]) -> list[Picture]:
    found = []
    for explainer, (old, new) in both.items():
        rows = []
        for at, image in enumerate(images):
            limits = robust_limit(old[at]), robust_limit(new[at])
            rows.append(
                [
                    photo(visible(image)),
                    colourise(old[at], limits[0]),
                    colourise(new[at], limits[1]),
                ]
            )
        caption = f"{explainer}: the image, its map by {names[0]}, its map by {names[1]}; each map on a scale of its own"
        content = to_bytes(partial(sheet, rows, ("image", *names), [""] * len(rows)), "png")
        found.append(Picture(caption, content, "png"))
    return found


def _interval(row: Mapping[str, Any], value: str) -> str:
    return number(row[value]) + between(row["low"], row["high"])
