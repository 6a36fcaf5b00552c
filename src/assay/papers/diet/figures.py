"""The DiET study's figures: plots of its tables, and sheets of images with masks and maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import polars as pl
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from assay.papers.diet.data import Part
from assay.papers.diet.outcome import BASELINE, MASK, NETWORK, Outcome
from assay.papers.files import Drawing
from assay.report.figures.colour import robust_limit
from assay.report.figures.picture import enlarge, outlined, overlay, photo
from assay.report.figures.plots import Curve, Dot, curves, dots, sheet
from assay.tune.simplify import enlarge as at_size

__all__ = ["figures"]

_SIDE = 128
_OWN = (MASK, NETWORK)


def figures(outcomes: Sequence[Outcome], summary: pl.DataFrame, keep: Sequence[float]) -> tuple[Drawing, ...]:
    """All figures, in the order of the report.

    Args:
        outcomes: What the forms of the data came to.
        summary: As `assay.papers.diet.summary.summarised` makes it.
        keep: Shares of pixels that pixel perturbation kept.
    """
    found = []
    maps = summary.filter((pl.col("kind") == "maps") & (pl.col("part") == "test"))
    if maps.filter(pl.col("measure") == "IoU").height:
        found.append(
            Drawing(
                "overlap",
                "Overlap (IoU) of each map's top pixels with the known evidence, test images; 95 % intervals. DiET's masks as diamonds.",
                partial(_overlap, maps),
                False,
            )
        )
    found.append(
        Drawing(
            "pixels",
            "Accuracy when only the top pixels of each map are kept, test images; bands are 95 % intervals. "
            "DiET's masks are judged by the tuned models, the other maps by the baseline.",
            partial(_pixels, maps, keep),
            False,
        )
    )
    found.append(
        Drawing(
            "rounds", "Round by round, on the tune images. The evidence plays no part in the tuning.", partial(_rounds, outcomes), False
        )
    )
    for outcome in outcomes:
        end = f"-{outcome.variant.replace(' ', '-').replace('.', '_')}" if len(outcomes) > 1 else ""
        of = f" ({outcome.variant})" if len(outcomes) > 1 else ""
        found += [
            Drawing(
                f"maps{end}",
                f"Test images{of} with the evidence outlined, DiET's masks, and the maps of the baseline.",
                partial(_maps, outcome),
                True,
            ),
            Drawing(f"masks{end}", f"Tune images{of} and their masks at the end of each round.", partial(_masks, outcome), True),
        ]
    return tuple(found)


def _overlap(maps: pl.DataFrame) -> Figure:
    rows = maps.filter((pl.col("measure") == "IoU") & ((pl.col("model") == BASELINE) | pl.col("attribution").is_in(_OWN)))
    groups = {
        str(variant): [
            Dot(_label(row), row["mean"], row["low"], row["high"], row["attribution"] in _OWN)
            for row in own.sort("mean", descending=True).iter_rows(named=True)
        ]
        for (variant,), own in rows.group_by("variant", maintain_order=True)
    }
    return dots(groups, "overlap with the evidence", (0.0, 1.0))


def _pixels(maps: pl.DataFrame, keep: Sequence[float]) -> Figure:
    rows = maps.filter(pl.col("measure").str.starts_with("keep ") & ((pl.col("model") == BASELINE) | pl.col("attribution").is_in(_OWN)))
    shares = sorted(keep)
    panels: dict[str, list[Curve]] = {}
    for (variant, model, attribution), own in rows.group_by("variant", "model", "attribution", maintain_order=True):
        lines = {row["measure"]: row for row in own.iter_rows(named=True)}
        found = [lines[f"keep {100 * share:g} %"] for share in shares]
        values = {end: tuple(row[end] for row in found) for end in ("mean", "low", "high")}
        label = _label({"model": model, "attribution": attribution})
        curve = Curve(label, tuple(100 * share for share in shares), values["mean"], values["low"], values["high"])
        panels.setdefault(f"accuracy ({variant})" if maps["variant"].n_unique() > 1 else "accuracy", []).append(curve)
    return curves(panels, "pixels kept, %", "log", [100 * share for share in shares])


def _rounds(outcomes: Sequence[Outcome]) -> Figure:
    names = {"kept": "kept by rounded masks", "simplified": "agreement, simplified", "elsewhere": "agreement, other backgrounds"}
    names |= {"IoU": "overlap with the evidence"}
    panels: dict[str, list[Curve]] = {title: [] for title in names.values()}
    for outcome in outcomes:
        for method, facts in outcome.rounds.items():
            label = f"{outcome.variant}: {method}" if len(outcomes) > 1 else method
            for key, title in names.items():
                if key in facts[0]:
                    panels[title].append(Curve(label, tuple(one["round"] for one in facts), tuple(one[key] for one in facts)))
    most = max(len(facts) for outcome in outcomes for facts in outcome.rounds.values())
    return curves({title: group for title, group in panels.items() if group}, "round", "linear", range(1, most + 1))


def _maps(outcome: Outcome) -> Figure:
    part, names, columns = outcome.gallery["test"], [], []
    for one in outcome.scored:
        if one.kind == "maps" and one.part == "test" and one.shown is not None and (one.model == BASELINE or one.attribution in _OWN):
            names.append(_label({"model": one.model, "attribution": one.attribution}))
            columns.append(_painted(part, one.shown))
    order = sorted(range(len(names)), key=lambda place: "mask" not in names[place])
    photos = _photos(part)
    rows = [[photos[line], *(columns[place][line] for place in order)] for line in range(len(part))]
    return sheet(rows, ["image", *(names[place].replace(": ", "\n") for place in order)], _titles(outcome, part))


def _masks(outcome: Outcome) -> Figure:
    part, rows = outcome.gallery["tune"], list(outcome.shown["tune"])
    columns, names = [_photos(part)], ["image"]
    for method, tuned in outcome.tuned.items():
        for number, one in enumerate(tuned.rounds):
            masks = at_size(one.masks[rows], *tuned.size)
            columns.append(_painted(part, masks, 1.0))
            names.append(f"{method}\nround {number + 1}" + (", taken" if number == tuned.chosen else ""))
    pictures = [[column[line] for column in columns] for line in range(len(part))]
    return sheet(pictures, names, _titles(outcome, part))


def _photos(part: Part) -> list[Image.Image]:
    """The images, the evidence outlined."""
    pictures = [enlarge(photo(image), _SIDE) for image in part.pixels]
    if part.truth is None:
        return pictures
    size = tuple(part.images.shape[2:])
    return [outlined(picture, truth, size) for picture, truth in zip(pictures, part.truth, strict=True)]


def _painted(part: Part, maps: Tensor, limit: float | None = None) -> list[Image.Image]:
    """Maps over their images, all on one scale."""
    scale = robust_limit(maps) if limit is None else limit
    return [overlay(image, one, scale, side=_SIDE) for image, one in zip(part.pixels, maps, strict=True)]


def _titles(outcome: Outcome, part: Part) -> list[str]:
    classes = outcome.data["test"].classes
    return [classes[label] for label in part.labels.tolist()]


def _label(row: Mapping[str, str]) -> str:
    """What a figure calls a row: DiET's mask by its recipe, an explainer by its name."""
    return f"{row['model']}: {row['attribution']}" if row["attribution"] in _OWN else row["attribution"]
