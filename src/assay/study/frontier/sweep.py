"""What a sweep over smoothing widths does with one block of images: explain at every width, attack, perturb, measure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, is_dataclass, replace
from functools import cached_property
from typing import Any, Literal

import polars as pl
import torch
from torch import Tensor

from assay.attack.ball import Ball
from assay.attack.base import Attack
from assay.attack.distances import Distance
from assay.bounds.certify import certify_case
from assay.core.noise import normal
from assay.core.registry import field_values, short
from assay.explain.base import Explainer
from assay.explain.gradient import Gradient
from assay.explain.kernels import Kernel
from assay.explain.smooth import Smoothed
from assay.explain.sparse import Sparsified
from assay.measure.attacked import AFTER_NOISE as NOISE
from assay.measure.attacked import ATTACKED, AttackedSimilarity, with_floor
from assay.measure.base import Measure
from assay.measure.robustness import changes
from assay.models.case import Case
from assay.models.classifier import Classifier
from assay.models.targeting import PREDICTED, Targeting
from assay.study.gallery_images import places
from assay.study.study import Block, Kept, Tell

__all__ = [
    "ATTACKED",
    "CERTIFIABLE",
    "CERTIFIED",
    "CHANGE",
    "CONFIDENCE",
    "LARGEST",
    "LIPSCHITZ",
    "NOISE",
    "UNSMOOTHED",
    "Quantity",
    "Sweep",
    "sweep_block",
    "width_of",
]

UNSMOOTHED = "none"
"""The kernel's name at width 0, where the explainer stands alone."""
CHANGE, LARGEST, LIPSCHITZ = "mean change", "largest change", "local Lipschitz"
CERTIFIED, CONFIDENCE = "certified cosine", 0.99
CERTIFIABLE = (Gradient, Sparsified)
"""What has certificates when it is smoothed."""
Kind = Literal["robustness", "faithfulness"]


@dataclass(frozen=True)
class Quantity:
    """One number per image and width.

    Attributes:
        name: Its name.
        kind: "robustness", or "faithfulness" to the model that is not smoothed.
        higher_is_better: Its direction.
        meaning: What it says, in a sentence.
    """

    name: str
    kind: Kind
    higher_is_better: bool
    meaning: str


@dataclass(frozen=True, eq=False)
class Sweep:
    """The plan of a sweep; see `assay.frontier` for the parameters.

    Attributes:
        model: The model that is explained, and that faithfulness is to.
        explainers: What is smoothed.
        kernels: None for the explainer alone, then kernels of ascending width.
        samples: Noisy copies per image.
        faithfulness: Measures of the maps on the model.
        attack: Attacks every smoothed explainer; None for no attack.
        otherwise: Attacks those that `attack` cannot; None for black-box search in the same ball.
        distance: What maps are compared by under attack.
        draws: Random changes of an image.
        attacked: Images that are attacked, evenly spread; None for all.
        ball: Where the random changes are drawn from; the attack's own when there is one.
        images: Images in all.
        seed: Decides all randomness, together with the images' numbers.
        targets: What is explained of each image.
        certified: L2 radius of the certificates; None for none.
    """

    model: Classifier
    explainers: Sequence[Explainer]
    kernels: Sequence[Kernel | None]
    samples: int | None
    faithfulness: Sequence[Measure]
    attack: Attack | None
    otherwise: Attack | None
    distance: Distance
    draws: int
    attacked: int | None
    ball: Ball
    images: int
    seed: int
    targets: Targeting = PREDICTED
    certified: float | None = None

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """What is known of each image at each width; the first robustness is the one that curves are drawn over."""
        found: list[Quantity] = []
        if self.attack is not None:
            by = short(self.distance)
            found += [
                Quantity(ATTACKED, "robustness", True, f"1 - {by} between the map and the map of the attacked image, the prediction kept."),
                Quantity(NOISE, "robustness", True, "The same after noise of the attack's size: the attack's floor."),
            ]
        found += [
            Quantity(CHANGE, "robustness", False, "How far the map moves under random changes in the ball, as a share of its size."),
            Quantity(LARGEST, "robustness", False, "The largest of these moves."),
            Quantity(LIPSCHITZ, "robustness", False, "The largest length of the map's move over that of the image's, in the map's unit."),
        ]
        if self.certified is not None:
            words = f"cosine between the exact smoothed maps of the image and of any image within L2 distance {self.certified:g}"
            meaning = f"Lower bound, with {CONFIDENCE:.0%} confidence, of the {words}; -1 where nothing is proved."
            found.append(Quantity(CERTIFIED, "robustness", True, meaning))
        named = zip(_names(self.faithfulness), self.faithfulness, strict=True)
        return *found, *(Quantity(name, "faithfulness", one.higher_is_better, one.meaning) for name, one in named)

    @property
    def robustness(self) -> tuple[AttackedSimilarity, ...]:
        """What is left under attack and under noise of its size; nothing without an attack."""
        if self.attack is None:
            return ()
        pair = with_floor(self.attack)
        return tuple(replace(one, distance=self.distance, otherwise=self.otherwise or one.otherwise) for one in pair)

    @property
    def everyone(self) -> list[Explainer]:
        """Each explainer at every width."""
        return [
            explainer if kernel is None else Smoothed(explainer, kernel, self.samples)
            for explainer in self.explainers
            for kernel in self.kernels
        ]

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the results beside explainers and measures."""
        return {
            "kernels": [_kernel_name(one) for one in self.kernels],
            "samples": self.samples,
            "attacked images": self.attacked,
            "certified L2 radius": self.certified,
            "random changes": {"draws": self.draws, "ball": repr(self.ball)},
        }

    @cached_property
    def attacked_positions(self) -> set[int]:
        """Positions of the images that are attacked."""
        return set(places(self.images if self.attacked is None else self.attacked, self.images))

    def measured(self, case: Case, chosen: Tensor, tell: Callable[[int], None]) -> tuple[Tensor, dict[str, Tensor]]:
        """Values (N, explainers, widths, quantities), NaN where unknown, and the maps by name."""
        count, done = len(case.images), 0
        everyone = self.everyone
        steps = len(everyone) * (2 + len(self.robustness) + (self.certified is not None)) + len(self.faithfulness)

        def step(units: int = 1) -> None:
            nonlocal done
            done += units
            tell(count * done // steps)

        maps = []
        for explainer in everyone:
            maps.append(explainer.attribute(case.model, case.images, case.targets, case.index, self.seed))
            step()
        clean = [one.nan_to_num(0.0, 0.0, 0.0) for one in maps]
        found: list[Tensor] = []
        for measure in self.robustness:
            left = torch.full((len(everyone), count), math.nan, device=case.images.device)
            if len(chosen):
                left[:, chosen] = measure.evaluate(case.part(chosen), [one[chosen] for one in clean], everyone)
            found.append(left)
            step(len(everyone))
        sampled = []
        for explainer, one in zip(everyone, clean, strict=True):
            sampled.append(self._sampled(case, one, explainer))
            step()
        found += torch.stack(sampled, 1)
        if self.certified is not None:
            found.append(torch.stack([self._certified(case, explainer, self.certified) for explainer in everyone]))
            step(len(everyone))
        for rated in self.faithfulness:
            found.append(rated.evaluate(case, clean, everyone))
            step()
        lost = torch.stack([~one.flatten(1).isfinite().all(1) for one in maps]) | ~case.finite
        values = torch.stack(found).masked_fill(lost, math.nan).cpu()
        told = {short(explainer): one.cpu() for explainer, one in zip(everyone, maps, strict=True)}
        return values.permute(2, 1, 0).reshape(count, len(self.explainers), len(self.kernels), -1), told

    def _sampled(self, case: Case, clean: Tensor, explainer: Explainer) -> Tensor:
        """Mean change, largest change and local Lipschitz number (3, N) under the same random changes for all explainers."""
        shape = tuple(case.images.shape[1:])

        def move(rows: Tensor, sample: Tensor) -> Tensor:
            return self.ball.start(case.images[rows], normal(case.seed, "frontier", case.index[rows], sample, shape))

        moved, length = changes(case, clean, explainer, self.draws, move)
        size = clean.flatten(1).norm(dim=1, keepdim=True)
        relative = moved / size.masked_fill(size == 0, math.nan)
        return torch.stack([relative.mean(1), relative.amax(1), (moved / length).amax(1)])

    def _certified(self, case: Case, explainer: Explainer, eps: float) -> Tensor:
        """Certified cosines (N,) at a width: 0 where nothing is, as without smoothing; NaN for explainers without certificates."""
        base = explainer.explainer if isinstance(explainer, Smoothed) else explainer
        if base is explainer or not isinstance(base, CERTIFIABLE):
            return torch.full((len(case.images),), 0.0 if isinstance(base, CERTIFIABLE) else math.nan, device=case.images.device)
        found = certify_case(case, explainer, (eps,), CONFIDENCE)
        return found.cosine[0].clamp_min(0.0)

    def rows(self, index: Tensor, values: Tensor) -> pl.DataFrame:
        """A row for each image, explainer, width and quantity, in this order, so that blocks can be put one after another."""
        quantities, names = self.quantities, [_kernel_name(one) for one in self.kernels]
        inner = len(names) * len(quantities)
        each = len(self.explainers) * inner
        return pl.DataFrame(
            {
                "image": index.repeat_interleave(each).numpy(),
                "explainer": [short(one) for one in self.explainers for _ in range(inner)] * len(index),
                "kernel": [name for name in names for _ in quantities] * (len(index) * len(self.explainers)),
                "width": [width_of(one) for one in self.kernels for _ in quantities] * (len(index) * len(self.explainers)),
                "quantity": [one.name for one in quantities] * (len(index) * each // len(quantities)),
                "value": values.flatten().double().numpy(),
                "kind": [one.kind for one in quantities] * (len(index) * each // len(quantities)),
                "higher_is_better": [one.higher_is_better for one in quantities] * (len(index) * each // len(quantities)),
            }
        )


def sweep_block(sweep: Sweep, block: Block, tell: Tell) -> Kept:
    """Rows of the table frontier.

    Args:
        sweep: What to do.
        block: The images.
        tell: Called as the work goes on.
    """
    places = [place for place, row in enumerate(block.at) if row in sweep.attacked_positions]
    values, maps = sweep.measured(block.case, torch.tensor(places, dtype=torch.int64, device=block.case.images.device), tell)
    return Kept({"frontier": sweep.rows(block.batch.index, values)}, maps)


def width_of(kernel: Kernel | None) -> float:
    """How wide a kernel is: its only parameter (sigma, radius), else its spread; 0 for none."""
    if kernel is None:
        return 0.0
    name = name_of_width(kernel)
    return kernel.spread if name is None else float(getattr(kernel, name))


def name_of_width(kernel: Kernel) -> str | None:
    """What a kernel calls its width: its only parameter; None where it has several, and the width is its spread."""
    names = [*field_values(kernel)]
    return names[0] if len(names) == 1 else None


def _kernel_name(kernel: Kernel | None) -> str:
    return UNSMOOTHED if kernel is None else short(kernel)


def _names(measures: Sequence[Measure]) -> list[str]:
    """Class names, with the parameters that tell a measure from others of its class."""
    names = []
    for one in measures:
        own = field_values(one)
        alike = [other for other in measures if type(other) is type(one)]
        apart = [name for name, value in own.items() if any(getattr(other, name) != value for other in alike)]
        told = ", ".join(f"{name}={short(own[name]) if is_dataclass(own[name]) else repr(own[name])}" for name in apart)
        names.append(f"{type(one).__name__}({told})" if told else type(one).__name__)
    return names
