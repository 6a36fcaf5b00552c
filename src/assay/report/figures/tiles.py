"""The gallery as pictures and captions: one case for each image, one tile for each explainer's map of it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from assay.report.figures.colour import colourise, robust_limit
from assay.report.figures.picture import data_uri, photo
from assay.report.gallery import Gallery
from assay.report.outline import outline_path
from assay.report.text import number, percent

__all__ = ["Tile", "TileRow", "Wall", "display_side", "wall"]

_BUDGET = 2_600_000
"""Pixels (bytes before compression) that all pictures of a page may have together; keeps a full page below about 5 MB."""


@dataclass(frozen=True)
class Tile:
    """One explainer's map of one image: its picture's address, scores as (measure, text), and whether it has NaN or infinity."""

    explainer: str
    uri: str
    scores: tuple[tuple[str, str], ...]
    damaged: bool


@dataclass(frozen=True)
class TileRow:
    """One image: picture, outlines as SVG paths, caption, tiles.

    `correct` is None where the label is unknown; `scores` are those of all tiles as JSON, for the script that sorts.
    """

    name: str
    label: str
    prediction: str
    probability: str
    correct: bool | None
    uri: str
    truth: str
    distractor: str
    tiles: tuple[Tile, ...]
    why: str = ""
    sure: float = math.nan
    scores: str = "{}"


@dataclass(frozen=True)
class Wall:
    """All cases; H, W of the images, the pictures' longer side, the colour limit of each explainer, tiles in a row."""

    cases: tuple[TileRow, ...]
    height: int
    width: int
    side: int
    limits: tuple[tuple[str, str], ...]
    columns: int
    has_truth: bool
    has_distractor: bool
    has_scores: bool
    damaged: bool
    doubtful: bool

    @property
    def reduced(self) -> bool:
        """Whether pictures are smaller than the images they show."""
        return self.side < max(self.height, self.width)


def wall(gallery: Gallery) -> Wall:
    """Paint the gallery; each explainer's maps share one colour limit, the `robust_limit` of all its maps shown."""
    count, _, height, width = gallery.images.shape
    side = display_side(count, len(gallery.maps), max(height, width))
    limits = {name: robust_limit(maps) for name, maps in gallery.maps.items()}
    tiles = {name: _tiles(gallery, name, limits[name], side) for name in gallery.maps}
    photos = [data_uri(photo(image)) for image in _shrink(gallery.images, side)]
    truth, distractor = _outlines(gallery.truth, count), _outlines(gallery.distractor, count)
    cases = tuple(
        TileRow(
            gallery.names[i],
            gallery.labels[i],
            gallery.predictions[i],
            percent(gallery.probabilities[i]),
            gallery.labels[i] == gallery.predictions[i] if gallery.labels[i] else None,
            photos[i],
            truth[i],
            distractor[i],
            tuple(tiles[name][i] for name in gallery.maps),
            gallery.why[i] if gallery.why else "",
            gallery.probabilities[i],
            _scores(gallery, i),
        )
        for i in range(count)
    )
    return Wall(
        cases,
        height,
        width,
        side,
        tuple((name, number(limit, 3)) for name, limit in limits.items()),
        _columns(len(gallery.maps)),
        any(truth),
        any(distractor),
        any(gallery.scores.values()),
        any(tile.damaged for row in tiles.values() for tile in row),
        any(bool(mask.any()) for mask in gallery.doubt.values()),
    )


def display_side(images: int, explainers: int, side: int) -> int:
    """Longer side, in pixels, at which pictures are stored so that the page stays small; never more than the images have.

    Args:
        images: Images shown (each costs three bytes a pixel).
        explainers: Maps for each image (one byte a pixel).
        side: The images' own longer side.
    """
    return min(side, max(48, math.isqrt(_BUDGET // (images * (3 + explainers)))))


def _columns(tiles: int, most: int = 8) -> int:
    lines = -(-tiles // most)
    return -(-tiles // lines) if tiles else 1


def _tiles(gallery: Gallery, name: str, limit: float, side: int) -> list[Tile]:
    maps = gallery.maps[name]
    finite = torch.isfinite(maps).flatten(1).all(dim=1).tolist()
    scores = gallery.scores.get(name, {})
    small = _shrink(maps.detach().float(), side)
    if name in gallery.doubt:
        small = _hatched(small, _shrink(gallery.doubt[name].float(), side) > 0.5)
    return [
        Tile(
            name,
            data_uri(colourise(small[i], limit)),
            tuple((measure, number(values[i])) for measure, values in scores.items()),
            not finite[i],
        )
        for i in range(len(maps))
    ]


def _hatched(maps: Tensor, doubt: Tensor) -> Tensor:
    """Maps (G, C, H, W) with grey lines over white where `doubt` (G, 1, H, W) is; what is not finite is painted grey."""
    down, right = (torch.arange(size) for size in maps.shape[2:])
    lines = (down[:, None] + right) % 4 == 0
    return maps.masked_fill(doubt, 0.0).masked_fill(doubt & lines, math.nan)


def _shrink(batch: Tensor, side: int) -> Tensor:
    height, width = batch.shape[-2:]
    if max(height, width) <= side:
        return batch
    scale = side / max(height, width)
    return F.interpolate(batch, size=(max(1, round(height * scale)), max(1, round(width * scale))), mode="area")


def _scores(gallery: Gallery, at: int) -> str:
    """An image's scores by "explainer, measure" as JSON; what is not finite is null."""
    found = {
        f"{name}, {measure}": values[at] if math.isfinite(values[at]) else None
        for name, own in gallery.scores.items()
        for measure, values in own.items()
    }
    return json.dumps(found)


def _outlines(masks: Tensor | None, count: int) -> list[str]:
    return [""] * count if masks is None else [outline_path(mask[0]) for mask in masks]
