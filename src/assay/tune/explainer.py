"""DiET's masks for images that a model was not tuned on."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor

from assay.core.noise import derive
from assay.core.registry import check_at_least, check_positive, register
from assay.errors import NotFiniteError, SpecError
from assay.explain.backgrounds import Background
from assay.explain.base import Cost, Explainer
from assay.models.classifier import Classifier
from assay.tune.drawn_backgrounds import Backdrop, RandomColour, fit_background, keep_background
from assay.tune.masks import Learned, MaskImages, MaskRule, batch_sizes, learn
from assay.tune.model import shuffled
from assay.tune.predictions import probabilities
from assay.tune.schedules import Epochs, Falling, Sparsity, Stop
from assay.tune.simplify import TOLERANCE, drawn_masks, grid_cells, upsampling

__all__ = ["LearnedMask"]


@register
class LearnedMask(Explainer):
    """The mask that leaves the model's prediction as it is and is as small as it can be, learned for each image.

    DiET's mask phase with the model fixed, at a sparsity weight that changes in steps. The map is the mean of the masks at the ends of
    the steps, as `Tuned.masks` is that of the rounds. What is kept are the probabilities of all classes, so the targets do not enter. On
    a model that is not robust to erasure the masks say little; `assay.DiET` makes it so.

    Args:
        upsample: Pixels along a mask cell's side; None for a grid of about 30 cells along the shorter side.
        rounds: Steps of the sparsity weight.
        stop: When a step is over; each epoch is one pass forward and one backward per image. A rule that looks at the loss looks at
            the mean over the images of the call, so that a mask then depends on the others.
        lr: Step size of the masks.
        optimiser: "adam"; "sgd" with steps scaled by image and mask size; "paper" for SGD on a batch's mean loss, see `assay.DiET`.
        batch_size: Images in a batch for "paper", drawn anew for each epoch from those of the call; None for the others.
        lambda_data: Weight of the distance between the predictions.
        smoothness: Weight of differences between neighbouring cells.
        background: What erased pixels are replaced by, drawn anew for each image and epoch.
        sparsity: Weight of the masks' size, step by step.
        tolerance: What of a difference of probabilities does not count.
        edges: Whether the masks are drawn along the images' edges, as `assay.Refined` does; see `assay.DiET`.

    Source: Bhalla, Srinivas, Lakkaraju, NeurIPS 2023.
    """

    upsample: int | None = None
    rounds: int = 6
    stop: Stop = Epochs(15)
    lr: float = 0.03
    optimiser: Literal["adam", "sgd", "paper"] = "adam"
    batch_size: int | None = None
    lambda_data: float = 1.0
    smoothness: float = 0.0
    background: Backdrop = RandomColour()
    sparsity: Sparsity = Falling(start=10.0)
    tolerance: float = TOLERANCE
    edges: bool = False
    category: ClassVar[str] = "mask"
    needs: ClassVar[frozenset[str]] = frozenset({"gradient"})
    reference: ClassVar[str] = "Bhalla, Srinivas, Lakkaraju: Discriminative Feature Attributions, NeurIPS 2023"
    pitfalls: ClassVar[str] = "What is enough to keep the prediction, on backgrounds that are new to the network; no class, no sign."
    signed: ClassVar[bool] = False
    finds_targets: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_at_least(self, 1, "upsample", "rounds", "batch_size")
        check_positive(self, "lr")
        check_at_least(self, 0, "lambda_data", "smoothness", "tolerance")
        if (self.batch_size is None) == (self.optimiser == "paper"):
            raise SpecError(f'LearnedMask: batch_size is of optimiser="paper" alone; it is {self.batch_size!r} with {self.optimiser!r}')

    @property
    def cost(self) -> Cost | None:
        """See `Explainer.cost`."""
        if self.stop.most is None:
            return None
        epochs = self.rounds * self.stop.most
        return Cost(epochs + 1, epochs, most=not isinstance(self.stop, Epochs))

    def attribute(self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:
        """See `Explainer.attribute`; maps (N, 1, H, W) in [0, 1].

        Raises:
            NotFiniteError: The model gives NaN or infinity for what a mask leaves of an image.
        """
        height, width = images.shape[2:]
        background = fit_background(self.background, images)
        if isinstance(background, Background) and background.steady:
            # Changed copies of an image bear one number; nothing is drawn here, so places can stand for the numbers.
            background, index = keep_background(background), torch.arange(len(images), device=index.device)
        rule = MaskRule(self.lr, self.optimiser, self.lambda_data, self.smoothness, background, self.tolerance)
        own = probabilities(model, images)
        total = torch.zeros(())
        learned = Learned.whole(len(images), grid_cells(height, width, upsampling(height, width, self.upsample)), rule, model.device)
        for number in range(self.rounds):
            weight = self.sparsity.weight(number, self.rounds)
            learned.forget()
            losses: list[float] = []
            while not losses or not self.stop.reached(losses):
                draw = derive(seed, f"LearnedMask {number} {len(losses)}")
                size = self.batch_size
                batches = None if size is None else batch_sizes(len(images), size, shuffled(len(images), draw))
                sums = learn(model, MaskImages(images, own, own, index, batches), learned, rule, weight, draw)
                losses.append(sums.values["loss"] / sums.count)
                if not math.isfinite(losses[-1]):
                    raise NotFiniteError(f"{model.name} gives NaN or infinity for images that are partly erased, so no mask can be learned")
            total = total + learned.masks / self.rounds
        return drawn_masks(total, images, self.edges)
