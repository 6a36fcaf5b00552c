"""The report of certificates: what holds in words and numbers, and pixel by pixel on some images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from assay.core.registry import short
from assay.explain.base import Explainer
from assay.report.figures.picture import certified, magnified, overlay, photo, png_bytes, visible
from assay.report.page import Page, Picture, Section, Sentence, TextTable
from assay.run.arrays import open_maps
from assay.run.blocks import Blocks
from assay.study.gallery_images import places
from assay.study.study import Asked, Done, TerminalTable

__all__ = ["Certified", "certified_page", "unrelated"]

_SIDE, _GAP = 160, 8
_RULES = (
    "Every number of an image holds, at all radii together, with the stated confidence over the noise that was drawn, for every image "
    "within the L2 distance and the class explained here; an attack shows what has been reached, a certificate what cannot be passed. "
    "The radii are small beside the usual 8/255 in every pixel and channel, an L2 distance of up to {far:.3g} on these images."
)

_COLUMNS = (
    "Certified: images of which anything is proved. Cosine: lower bounds between the exact smoothed map here and there; seen: between the "
    "map that was drawn and the exact one there; overlap: of the share of its top pixels that stay on top. Top, out: pixels proved to be "
    "in the top, or out of it. Copies needed: so many would prove something for the median image, and for how many images any would."
)


@dataclass(frozen=True, eq=False)
class Certified:
    """What was certified, and what came of it.

    Attributes:
        smoothing: The explainer.
        radii: The radii.
        grid: The table over them.
        verdict: What holds, in a sentence.
        figure: The curves over the radius, as SVG.
        apart: The mean cosine between the seen maps of different images.
    """

    smoothing: Explainer
    radii: tuple[float, ...]
    grid: TerminalTable
    verdict: Sentence
    figure: bytes
    apart: float


def certified_page(found: Certified, asked: Asked, done: Done, gallery: int) -> Page:
    """The report.

    Args:
        found: What came of it.
        asked: On which model and images.
        done: All blocks.
        gallery: How many images are shown.
    """
    assert done.folder is not None
    pictures, shape = _pictures(found.radii, places(gallery, asked.images) if gallery else [], asked, done.folder)
    grid, apart = found.grid, found.apart
    numeric = (False, *(True for _ in grid.head[1:]))
    beside = (
        ""
        if math.isnan(apart)
        else f"Seen maps of different images have a mean cosine of {apart:.3f}: a bound below it tells no image from another."
    )
    sections = [
        Section(
            "Over the radius",
            beside,
            (
                TextTable(grid.title.capitalize() + ".", _COLUMNS, grid.head, grid.rows, numeric),
                Picture("Certified and attacked means over the L2 distance, with 95% intervals.", found.figure, "svg"),
            ),
        ),
    ]
    if pictures:
        sections.append(Section("On some images", _legend(found.radii), pictures))
    setup: dict[str, Any] = dict(done.answers["setup"])
    return Page(
        title="How far can these explanations be moved?",
        kind="certificates of explanations",
        lead=f"What is proved of {short(found.smoothing)} around each image, beside what an attack reaches.",
        facts={
            "model": asked.name,
            "images": str(done.tally.sound),
            "explained class": asked.explained,
            "data": str(done.answers["data"].get("name")),
        },
        verdict=(found.verdict,),
        rules=_RULES.format(far=8 / 255 * math.sqrt(math.prod(shape))),
        sections=tuple(sections),
        settings={name: str(value) for name, value in setup.items() if name != "model"},
        record=done.answers,
        problems=tuple(done.tally.problems),
    )


def unrelated(folder: Path, blocks: Blocks) -> float:
    """The mean cosine between the seen maps of two different images of a run, as `Certificate.unrelated`; in constant memory."""
    maps, total, count = open_maps(folder)["maps"], None, 0
    for block in range(len(blocks)):
        rows = blocks.rows(block)
        flat = np.asarray(maps[rows.start : rows.stop], np.float64).reshape(len(rows), -1)
        size = np.linalg.norm(flat, axis=1)
        fine = np.isfinite(size) & (size > 0)
        ways = flat[fine] / size[fine, None]
        total, count = ways.sum(0) + (0.0 if total is None else total), count + len(ways)
    return float("nan") if count < 2 or total is None else float(((total**2).sum() - count) / (count * (count - 1)))


def _legend(radii: Sequence[float]) -> str:
    told = ", ".join(f"{eps:g}" for eps in radii)
    return f"The image, its seen map and, of votes, its pixels at {told}: red is certified in the top, blue out of it, grey is open."


def _pictures(radii: Sequence[float], wanted: Sequence[int], asked: Asked, folder: Path) -> tuple[tuple[Picture, ...], tuple[int, ...]]:
    """A row of pictures for each image at these positions that has maps, and the shape (C, H, W) of an image."""
    kept = open_maps(folder)
    maps = kept["maps"]
    shape: tuple[int, ...] = tuple(maps.shape[1:])
    found = []
    for position, block in zip(wanted, asked.read(range(row, row + 1) for row in wanted), strict=True):
        batch = block.batch
        if not len(batch):
            continue
        image = batch.images[0].cpu()
        shape, shown = tuple(image.shape), visible(image)
        seen = torch.from_numpy(np.asarray(maps[position], np.float32))
        if not bool(seen.isfinite().all()):
            continue
        row, told = [magnified(photo(shown), _SIDE), overlay(shown, seen, side=_SIDE)], []
        if "pixels" in kept:
            signs = torch.from_numpy(np.asarray(kept["pixels"][position], np.float32))
            row += [certified(shown, one, _SIDE) for one in signs]
            told = [_share(eps, one) for eps, one in zip(radii, signs, strict=True)]
        found.append(Picture("; ".join([batch.names[0], *told]), png_bytes(_beside(row)), "png"))
    return tuple(found), shape


def _share(eps: float, signs: Tensor) -> str:
    top, out, left = (float((signs == sign).double().mean()) for sign in (1, -1, 0))
    return f"at {eps:g} {top:.1%} in the top, {out:.1%} out of it, {left:.1%} open"


def _beside(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures in a row."""
    width = sum(one.width for one in pictures) + _GAP * (len(pictures) - 1)
    strip = Image.new("RGB", (width, max(one.height for one in pictures)), "white")
    left = 0
    for one in pictures:
        strip.paste(one, (left, 0))
        left += one.width + _GAP
    return strip
