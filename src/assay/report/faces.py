"""Results as notebooks show them: a title, sentences, a table and pictures, as one escaped HTML fragment without a script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image
from torch import Tensor

from assay.attack.base import AttackResult
from assay.bounds.certificate import Certificate
from assay.data.base import Batch
from assay.report.figures.colour import colourise, robust_limit
from assay.report.figures.picture import photo, visible
from assay.report.figures.plots import sheet, to_bytes
from assay.report.page import Picture, Sentence, TextTable
from assay.report.render import environment
from assay.report.text import number, plural
from assay.tune.diet import Tuned

if TYPE_CHECKING:  # Loaded where a figure is drawn: it takes a third of a second.
    from matplotlib.figure import Figure

__all__ = ["Face", "attack", "batch", "certificate", "figure_picture", "fragment", "tuned_face"]

_SHOWN = 6


@dataclass(frozen=True)
class Face:
    """What a notebook shows of a result: how it reads in a line, what it comes to, and tables and pictures below."""

    title: str
    sentences: tuple[Sentence, ...] = ()
    grids: tuple[TextTable, ...] = ()
    pictures: tuple[Picture, ...] = ()


def fragment(face: Face) -> str:
    """The face as HTML that stands in any page, with the page's own colours."""
    return environment().get_template("face.html.j2").render(face=face)


def attack(found: AttackResult) -> str:
    """The face of an attack's result: its first images, with their maps before and after on one scale."""
    rows, names = [], []
    for at in range(min(_SHOWN, len(found.images))):
        limit = robust_limit(found.maps[at])
        rows.append([_photo(found.images[at]), colourise(found.maps[at], limit), colourise(found.attacked_maps[at], limit)])
        names.append(f"{number(float(found.distance[at]), 2)}{'' if bool(found.kept[at]) else ', lost'}")
    caption = (
        f"{_first(len(rows), len(found.images))}: the attacked image, its map before and after; before each row, how far the maps are apart"
    )
    told = [Sentence("note", f"The prediction is kept on {int(found.kept.sum())} of {plural(len(found.images), 'image')}.")]
    still = int((~found.climbed).sum())
    if still:
        told.append(
            Sentence("caution", f"There was no gradient to climb on {plural(still, 'image')}: nothing is known of robustness there.")
        )
    return fragment(Face(repr(found), tuple(told), pictures=(_sheet(rows, ("attacked", "map before", "map after"), names, caption),)))


def certificate(found: Certificate) -> str:
    """The face of a certificate: its sentence, a line for each radius, and what is certified at the smallest."""
    radii = found.eps if isinstance(found.eps, tuple) else (found.eps,)
    pixels = found.pixels.reshape(len(radii), *found.pixels.shape[-3:])
    certified, cosine, overlap = (one.reshape(len(radii), -1) for one in (found.certified, found.cosine, found.overlap))
    lines = tuple(
        (
            f"{radius:g}",
            f"{int(certified[at].sum())} of {certified.shape[1]}",
            number(float(cosine[at].median())),
            number(float(overlap[at].median())),
        )
        for at, radius in enumerate(radii)
    )
    least = min(range(len(radii)), key=radii.__getitem__)
    some = range(min(_SHOWN, len(found.maps)))
    rows = [[colourise(found.maps[at], robust_limit(found.maps[at])), colourise(pixels[least, at][None].float(), 1.0)] for at in some]
    told = f"its pixels certified in the top (red) and out of it (blue) within {radii[least]:g}"
    caption = f"{_first(len(rows), len(found.maps))}: the map, and {told}"
    head = ("L2 distance", "images certified", "cosine, median bound", "top pixels that stay, median bound")
    grid = TextTable("Bounds.", f"Each image's hold at {found.confidence:.4g} confidence.", head, lines, (True,) * 4)
    picture = _sheet(rows, ("map", "certified"), [""] * len(rows), caption)
    return fragment(Face(repr(found), (Sentence("note", found.sentence),), (grid,), (picture,)))


def tuned_face(found: Tuned) -> str:
    """The face of a tuned model: its rounds, and the first masks."""
    history = found.history
    heads = [name for name, value in history[0].items() if name != "chosen" and isinstance(value, int | float)]
    lines = tuple(tuple(_told(row[name]) + ("*" if name == "round" and row["chosen"] else "") for name in heads) for row in history)
    grid = TextTable("Rounds;", "* the one that was taken.", tuple(heads), lines, (True,) * len(heads))
    masks = found.masks[:_SHOWN]
    rows = [[_photo(one) for one in masks]]
    caption = f"{_first(len(masks), len(found.masks))}: the mask, white where the model may look"
    return fragment(Face(repr(found), grids=(grid,), pictures=(_sheet(rows, [""] * len(masks), [""], caption),)))


def batch(found: Batch) -> str:
    """The face of a batch: its first images with names and labels."""
    many = min(_SHOWN, len(found))
    told = tuple(Sentence("caution", f"Not read: {one.name}: {one.message}") for one in found.errors)
    if not many:
        return fragment(Face(repr(found), told))
    told_labels = [", ".join(map(str, found.label_of(at))) for at in range(many)]
    labels = [found.names[at] + (f": {one}" if one else "") for at, one in enumerate(told_labels)]
    picture = _sheet([[_photo(found.images[at]) for at in range(many)]], labels, [""], f"{_first(many, len(found))}: {', '.join(labels)}")
    return fragment(Face(repr(found), told, pictures=(picture,)))


def figure_picture(figure: Figure, caption: str) -> Picture:
    """A figure as a face shows it."""
    return Picture(caption, to_bytes(lambda: figure, "png"), "png")


def _photo(image: Tensor) -> Image.Image:
    return photo(visible(image))


def _sheet(rows: Sequence[Sequence[Image.Image]], columns: Sequence[str], names: Sequence[str], caption: str) -> Picture:
    return figure_picture(sheet(rows, columns, names), caption)


def _first(shown: int, many: int) -> str:
    return plural(many, "image") if shown == many else f"The first {shown} of {plural(many, 'image')}"


def _told(value: object) -> str:
    return str(value) if isinstance(value, int) or not isinstance(value, float) else number(value)
