"""`DiET`: Distractor Erasure Tuning, from a network and images to a tuned model and one mask per image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from assay.core.display import Shown
from assay.core.inputs import check_images
from assay.core.precision import AnyPrecision, Precision, settled
from assay.core.progress import Progress, silent
from assay.core.ranks import Ranks
from assay.core.registry import check_at_least, check_positive, register
from assay.errors import EmptyBatchError, ImageTypeError, ShapeError
from assay.explain.backgrounds import Background, Blur
from assay.models.classifier import Classifier
from assay.tune.amortised import MaskTraining, PredictedMask
from assay.tune.choice import Choice, LastSound, RoundK
from assay.tune.drawn_backgrounds import Backdrop, GaussianNoise, RandomColour, fit_background, keep_background
from assay.tune.explainer import LearnedMask
from assay.tune.masks import MaskRule
from assay.tune.model import ModelRule
from assay.tune.network import original, trainable, wrapped
from assay.tune.schedules import Carried, Converged, Epochs, Falling, Rounded, Rounding, Sparsity, Stop
from assay.tune.simplify import TOLERANCE, drawn_masks, grid_cells, upsampling
from assay.tune.tuning import Plan, Round, Row, Tuning

__all__ = ["PAPER", "DiET", "Tuned"]

_FAINT = 0.05
"""Standard deviation of the colours with which the authors learn masks of new images."""


@register
class DiET:
    """Tune a model until erasing what its masks leave out changes nothing, and learn those masks.

    Calling it gives a `Tuned`; `begin` gives the `Tuning` under way, for work that is to be interrupted and gone on with.

    Args:
        upsample: Pixels along a mask cell's side; None for a grid of about 30 cells along the shorter side.
        rounds: Rounds of a mask phase and a model phase.
        mask_lr: Step size of the masks; see `mask_optimiser`.
        model_lr: Step size of Adam on the model.
        batch_size: Images per step of the model, over all processes.
        lambda_model: Weight of the distance of the tuned model from the given one on the images.
        lambda_data: Weight of the distance of its predictions on simplified images from those on the images.
        background: What erased pixels are replaced by, drawn anew for each image and epoch; a registered background or any
            callable `(images, index, seed) -> backgrounds`.
        mask_optimiser: "adam"; "sgd" with steps scaled by image and mask size; "paper" for SGD on the actual batch's mean loss, where
            `mask_lr` is the paper's literal rate and the size is that of the enlarged mask, whose slope is 0 where it is 0.
        sparsity: Weight of the masks' size, round by round.
        rounding: How masks become zeros and ones for the model.
        mask_stop: When a mask phase is over.
        model_stop: When a model phase is over.
        smoothness: Weight of differences between neighbouring mask cells.
        train_mode: Whether the model is tuned in train mode (batch statistics, dropout); False freezes the statistics.
        precision: "bfloat16" learns masks through a 16-bit copy of the model and tunes it under autocast; "float32" neither; "auto" is
            the faster one on the model's device.
        judges: Backgrounds that no mask or model is tuned with, under which every round's agreement is measured.
        choice: Which round is taken.
        average: Whether the masks are the mean over the rounds up to the one taken, or that round's alone, as the authors take them.
        tolerance: What of a difference of probabilities does not count, see `assay.tune.simplify.gap`; the authors' script has 0.
        edges: Whether masks are drawn along the images' edges, as `assay.Refined` does, before they are rounded for the model and wherever
            they are shown. Right where evidence is a whole thing; the model learns to bear the erasure by that very mask.

    Source: Bhalla, Srinivas, Lakkaraju, Discriminative Feature Attributions, NeurIPS 2023, Algorithm 1 (`PAPER` is its recipe).
    """

    upsample: int | None = None
    rounds: int = 6
    mask_lr: float = 0.03
    model_lr: float = 3e-4
    batch_size: int = 16
    lambda_model: float = 1.0
    lambda_data: float = 1.0
    background: Backdrop = RandomColour()
    mask_optimiser: Literal["adam", "sgd", "paper"] = "adam"
    sparsity: Sparsity = Falling(start=10.0)
    rounding: Rounding = Carried()
    mask_stop: Stop = Epochs(15)
    model_stop: Stop = Epochs(8)
    smoothness: float = 0.0
    train_mode: bool = False
    precision: AnyPrecision = "auto"
    judges: tuple[Background, ...] = (GaussianNoise(), Blur())
    choice: Choice = LastSound()
    average: bool = True
    tolerance: float = TOLERANCE
    edges: bool = False
    reference: ClassVar[str] = "Bhalla, Srinivas, Lakkaraju: Discriminative Feature Attributions, NeurIPS 2023"

    def __post_init__(self) -> None:
        check_at_least(self, 1, "upsample", "rounds", "batch_size")
        check_positive(self, "mask_lr", "model_lr")
        check_at_least(self, 0, "lambda_model", "lambda_data", "smoothness", "tolerance")
        self.choice.needed(self.rounds)

    def __call__(
        self,
        net: nn.Module | Classifier,
        images: Tensor,
        validation: Tensor | None = None,
        seed: int = 0,
        progress: Progress = silent,
        *,
        ranks: Ranks | None = None,
    ) -> Tuned:
        """Tune a copy of the network; the network given is not changed.

        Args:
            net: Takes pixels in [0, 1] and gives logits, or a Classifier, whose normalisation becomes part of the tuned model.
            images: (N, C, H, W), pixels in [0, 1] or bytes; labels are not needed.
            validation: Further images, on which each round's agreement of the tuned model with the given one is measured.
            seed: Decides all randomness.
            progress: Told about every epoch.
            ranks: The processes of the run (see `assay.core.ranks.join`), each called with all images; None for one.

        Raises:
            AssayError: A wrong input, images that all fall into one class, an output or loss that is not finite.
        """
        tuning = self.begin(net, images, validation, seed, progress, ranks=ranks)
        for _ in tuning.epochs():
            pass
        return self.finish(tuning)

    def begin(
        self,
        net: nn.Module | Classifier,
        images: Tensor,
        validation: Tensor | None = None,
        seed: int = 0,
        progress: Progress = silent,
        *,
        ranks: Ranks | None = None,
    ) -> Tuning:
        """A tuning before its first epoch; see `__call__` and `Tuning`."""
        ranks = ranks or Ranks()
        images = _checked(images, "images")
        validation = None if validation is None else _checked(validation, "validation images")
        if len(images) < ranks.world:
            raise ShapeError(f"{len(images)} images cannot be shared by {ranks.world} processes")
        copied, base = trainable(net), original(net)
        plan = self.plan(images, settled(self.precision, base.device))
        return Tuning(plan, copied, base, images, validation=validation, seed=seed, progress=progress, ranks=ranks)

    def plan(self, images: Tensor, precision: Precision) -> Plan:
        """What is done with these images."""
        height, width = images.shape[2:]
        background = keep_background(fit_background(self.background, images))
        return Plan(
            rounds=self.rounds,
            needed=self.choice.needed(self.rounds),
            grid=grid_cells(height, width, upsampling(height, width, self.upsample)),
            masks=MaskRule(self.mask_lr, self.mask_optimiser, self.lambda_data, self.smoothness, background, self.tolerance),
            model=ModelRule(self.batch_size, self.lambda_model, self.lambda_data, background, precision, self.train_mode, self.tolerance),
            model_lr=self.model_lr,
            sparsity=self.sparsity,
            rounding=self.rounding,
            mask_stop=self.mask_stop,
            model_stop=self.model_stop,
            edges=self.edges,
            judges=tuple(fit_background(judge, images) for judge in self.judges),
        )

    def grid(self, masks: Sequence[Tensor], chosen: int) -> Tensor:
        """What is made of the masks of all rounds when one was chosen; see `Tuned.grid`."""
        return torch.stack([*masks[0 if self.average else chosen : chosen + 1]]).mean(0)

    def explainer(self) -> LearnedMask:
        """An explainer that learns masks for new images with the model fixed, by the same rules.

        For the paper's steps as the authors' script does: one round at the first round's weight, colours of standard deviation 0.05, until
        the mean loss of the call's images stays within 0.998 to 1.002 of that two epochs before.

        Use it on the tuned model: `tuned.explainer()(tuned.classifier(), images)`.
        """
        literal = self.mask_optimiser == "paper"
        stop, rounds, background = self.mask_stop, self.rounds, self.background
        if literal:
            # As the authors' script for new images: one round, so that the weight is the first round's, and fainter colours.
            stop, rounds = Converged(low=0.998, high=1.002), 1
            background = RandomColour(background.mean, (_FAINT,)) if isinstance(background, RandomColour) else background
        elif not isinstance(stop, Epochs):
            # An image's mask must not depend on the company of others: where epochs are not counted, until a cell can go twice
            # through [0, 1].
            stop = Epochs(math.ceil(2 / (self.mask_lr * rounds)))
        return LearnedMask(
            upsample=self.upsample,
            rounds=rounds,
            stop=stop,
            lr=self.mask_lr,
            optimiser=self.mask_optimiser,
            batch_size=self.batch_size if literal else None,
            lambda_data=self.lambda_data,
            smoothness=self.smoothness,
            background=background,
            sparsity=self.sparsity,
            tolerance=self.tolerance,
            edges=self.edges,
        )

    def finish(self, tuning: Tuning) -> Tuned:
        """The outcome of a tuning that has done all its epochs."""
        facts = [one.facts for one in tuning.rounds]
        chosen = self.choice.pick(facts)
        tuning.net.load_state_dict(tuning.rounds[chosen].weights)
        rounds = tuple(Round(tuning.gathered(one.masks).cpu(), one.weights, one.facts) for one in tuning.rounds)
        return Tuned(tuning.net.eval(), self, rounds, chosen, tuple(tuning.history), tuning.whole, tuning.base)


@dataclass(frozen=True, eq=False)
class Tuned(Shown):
    """A tuned model and the masks it was tuned with.

    Attributes:
        model: f_v, in eval mode; takes the same inputs as the network given, or pixels where that was a Classifier.
        settings: The `DiET` that made it.
        rounds: Masks (N, 1, rows, columns), weights and facts of every round.
        chosen: Number of the round that was taken, from 0.
        epochs: One row per epoch: round, phase, epoch, mean loss and its parts.
        images: (N, C, H, W) what it was tuned on, as given.
        base: The model f_b that was tuned.
    """

    model: nn.Module
    settings: DiET
    rounds: tuple[Round, ...]
    chosen: int
    epochs: tuple[Row, ...]
    images: Tensor
    base: Classifier

    face: ClassVar[str] = "assay.report.faces:tuned_face"

    def __repr__(self) -> str:
        height, width = self.images.shape[2:]
        rounds = f"round {self.chosen + 1} of {len(self.rounds)} taken"
        return f"Tuned({len(self.grid)} masks of {height} x {width}, {rounds}, mean size {float(self.grid.mean()):.3f})"

    @property
    def grid(self) -> Tensor:
        """Mean of the masks of all rounds up to the chosen one, (N, 1, rows, columns) in [0, 1]; without `DiET.average` the chosen round's.

        Masks shrink from round to round, so the mean ranks the cells by how long they were kept, also those that one round's mask no
        longer tells apart.
        """
        return self.settings.grid([one.masks for one in self.rounds], self.chosen)

    @property
    def masks(self) -> Tensor:
        """`grid` at the images' size, (N, 1, H, W) in [0, 1], along their edges with `DiET.edges`; see `rounded` for what the model met."""
        return drawn_masks(self.grid, self.images, self.settings.edges)

    @property
    def rounded(self) -> Tensor:
        """The chosen round's rounded masks, with which the model was tuned, at the images' size."""
        rule, masks = self.settings.rounding, self.rounds[self.chosen].masks
        if self.settings.edges:
            return rule.rounded(drawn_masks(masks, self.images, True), self.chosen, self.settings.rounds)
        return drawn_masks(rule.rounded(masks, self.chosen, self.settings.rounds), self.images, False)

    @property
    def history(self) -> tuple[Row, ...]:
        """What each round came to, and which was chosen: share kept, agreements with f_b on images and on simplified ones."""
        return tuple({**one.facts, "chosen": number == self.chosen} for number, one in enumerate(self.rounds))

    def classifier(self, precision: Precision = "float32") -> Classifier:
        """The tuned model in pixel space."""
        return wrapped(self.model, self.base, precision)

    def explainer(self) -> LearnedMask:
        """See `DiET.explainer`."""
        return self.settings.explainer()

    def amortised(self, images: Tensor, training: MaskTraining | None = None, seed: int = 0, progress: Progress = silent) -> PredictedMask:
        """A small network trained on `grid`, as an explainer that takes one pass.

        Args:
            images: Those that the model was tuned on, in the same order.
            training: How it is trained; None for `MaskTraining()`.
            seed: Decides its initial weights and the order.
            progress: Told about every epoch.

        Raises:
            ShapeError: There are more or fewer images than masks, or of another size.
        """
        images = _checked(images, "images")
        training = training or MaskTraining()
        cell = upsampling(int(images.shape[2]), int(images.shape[3]), self.settings.upsample)
        return replace(training(images, self.grid.to(images.device), cell, seed, progress), edges=self.settings.edges)


PAPER = DiET(
    upsample=8,
    rounds=5,
    mask_lr=300.0,
    model_lr=1e-4,
    batch_size=128,
    mask_optimiser="paper",
    sparsity=Falling(),
    rounding=Rounded(),
    mask_stop=Converged(),
    model_stop=Converged(low=0.97, below=0.025),
    train_mode=True,
    precision="float32",
    choice=RoundK(1),
    average=False,
    tolerance=0.0,
)
"""The paper's recipe as its authors run it: phases without a limit to their epochs, the model and masks of round k = 1.

Their script uses mask_lr 2000 to 5000 and upsample 4 for Hard MNIST at 224 pixels.
"""


def _checked(images: Any, what: str) -> Tensor:
    """Images as bytes or float32 (N, C, H, W).

    Raises:
        AssayError: See `check_images`.
    """
    if isinstance(images, Tensor) and images.dtype == torch.uint8:
        if images.ndim != 4:
            raise ShapeError(f"{what} must have shape (N, C, H, W), not {tuple(images.shape)}")
        if len(images) == 0:
            raise EmptyBatchError(f"there are no {what}: their shape is {tuple(images.shape)}")
        return images
    if not isinstance(images, Tensor):
        raise ImageTypeError(f"{what} must be a torch tensor (N, C, H, W), not {type(images).__name__}")
    return check_images(images)
