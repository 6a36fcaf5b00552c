"""Attacked images as pictures: the clean image, the attacked one, what was changed, and the map before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from assay.errors import ShapeError
from assay.report.figures.colour import colourise, robust_limit
from assay.report.figures.picture import data_uri, photo
from assay.report.page import Part
from assay.report.text import number, percent

__all__ = ["AttackView", "Attacks", "Shot", "shots"]


@dataclass(frozen=True, eq=False)
class AttackView:
    """One image and one explainer before and after an attack.

    Attributes:
        name: The image's name.
        explainer: The explainer's name.
        attack: What attacked it, in words, its ball included.
        image: (1 or 3, H, W), clean, pixels in [0, 1].
        attacked: (1 or 3, H, W).
        map: (C, H, W) of the clean image.
        attacked_map: (C, H, W).
        classes: Predicted class before and after.
        probabilities: Its probability before and after.
        distance: What the two maps are compared by, and by how much they differ.
        kept: Whether the prediction is kept.

    Raises:
        ShapeError: The parts do not fit together.
    """

    name: str
    explainer: str
    attack: str
    image: Tensor
    attacked: Tensor
    map: Tensor
    attacked_map: Tensor
    classes: tuple[str, str]
    probabilities: tuple[float, float]
    distance: tuple[str, float]
    kept: bool

    def __post_init__(self) -> None:
        if (
            self.image.shape != self.attacked.shape
            or self.map.shape != self.attacked_map.shape
            or self.image.shape[1:] != self.map.shape[1:]
        ):
            shapes = ", ".join(str(tuple(one.shape)) for one in (self.image, self.attacked, self.map, self.attacked_map))
            raise ShapeError(f"an attack to show needs images alike and maps alike, of one size, not {shapes}")


@dataclass(frozen=True, eq=False)
class Attacks(Part):
    """Attacked images to show."""

    views: tuple[AttackView, ...]

    template: ClassVar[str] = "attacks.html.j2"


@dataclass(frozen=True)
class Shot:
    """An `AttackView` as picture addresses and captions; `times` is what the difference is multiplied with, `largest` in 8-bit steps."""

    view: AttackView
    height: int
    width: int
    clean: str
    attacked: str
    difference: str
    before: str
    after: str
    times: str
    largest: str
    probabilities: tuple[str, str]
    distance: str


def shots(views: Sequence[AttackView]) -> tuple[Shot, ...]:
    """Paint attacked images; an image's two maps share one colour limit."""
    return tuple(map(_shot, views))


def _shot(view: AttackView) -> Shot:
    difference = (view.attacked - view.image).detach().cpu().float()
    largest = float(difference.abs().max())
    times = 0.5 / largest if largest > 0 else 1.0
    limit = robust_limit(torch.stack([view.map, view.attacked_map]))
    return Shot(
        view,
        view.image.shape[1],
        view.image.shape[2],
        data_uri(photo(view.image)),
        data_uri(photo(view.attacked)),
        data_uri(photo(0.5 + times * difference)),
        data_uri(colourise(view.map, limit)),
        data_uri(colourise(view.attacked_map, limit)),
        number(times, 1),
        number(255 * largest, 1),
        (percent(view.probabilities[0]), percent(view.probabilities[1])),
        f"{view.distance[0]} {number(view.distance[1])}",
    )
