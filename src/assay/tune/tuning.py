"""Distractor Erasure Tuning as it goes: epoch after epoch, with a state that can be kept and gone on from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn

from assay.core.noise import derive
from assay.core.progress import Progress
from assay.core.ranks import Ranks
from assay.errors import DataError, ModelError, NotFiniteError
from assay.models.classifier import Classifier
from assay.tune.drawn_backgrounds import Backdrop
from assay.tune.masks import Learned, MaskImages, MaskRule, Sums, batch_sizes, learn
from assay.tune.model import ModelImages, ModelRule, parallel, shuffled, tune
from assay.tune.network import wrapped
from assay.tune.predictions import agreement, probabilities
from assay.tune.schedules import Rounding, Sparsity, Stop
from assay.tune.simplify import drawn_masks, gap

__all__ = ["Plan", "Round", "Tuning"]

Row = dict[str, Any]
"""What an epoch or a round came to, as plain values."""


@dataclass(frozen=True)
class Plan:
    """Everything that decides a tuning but the network, the images and the seed; `needed` of the `rounds` are run."""

    rounds: int
    needed: int
    grid: tuple[int, int]
    masks: MaskRule
    model: ModelRule
    model_lr: float
    sparsity: Sparsity
    rounding: Rounding
    mask_stop: Stop
    model_stop: Stop
    edges: bool
    judges: tuple[Backdrop, ...]


@dataclass(frozen=True, eq=False)
class Round:
    """The end of a round.

    Attributes:
        masks: (n, 1, rows, columns) as learned, before rounding; this process's.
        weights: The model's state dict.
        facts: What it came to.
    """

    masks: Tensor
    weights: Mapping[str, Tensor]
    facts: Row


class Tuning:
    """A tuning under way.

    `for row in tuning.epochs(): ...` does the work; between two epochs `state()` is all that is needed to go on, in this or
    another process, to the bit-identical end: `go_on(state)` puts it back.

    Args:
        plan: What is done.
        net: f_v, changed in place.
        base: f_b.
        whole: (N, C, H, W) the images of all processes, bytes or floats; each has every `world`-th.
        validation: Images to measure the agreement of f_v with f_b on, or None.
        seed: Decides all randomness.
        progress: Told about every epoch's images.
        ranks: The processes.
    """

    def __init__(
        self,
        plan: Plan,
        net: nn.Module,
        base: Classifier,
        whole: Tensor,
        *,
        validation: Tensor | None,
        seed: int,
        progress: Progress,
        ranks: Ranks,
    ) -> None:
        self.plan, self.net, self.base, self.whole, self.total = plan, net, base, whole, len(whole)
        images = self.images = whole[ranks.rank :: ranks.world]
        self.validation, self.seed, self.progress, self.ranks = validation, seed, progress, ranks
        self.index = torch.arange(ranks.rank, len(whole), ranks.world, device=base.device)
        self.wanted = probabilities(base, images)
        self.validation_wanted = None if validation is None else probabilities(base, validation).argmax(1)
        self._check_classes()
        self.learned = Learned.whole(len(images), plan.grid, plan.masks, base.device)
        self.optimiser = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=plan.model_lr)
        self.pair = parallel(net, ranks)
        self.history: list[Row] = []
        self.rounds: list[Round] = []
        self.phase = "masks"
        self.losses: list[float] = []
        self.clock = 0

    def epochs(self) -> Iterator[Row]:
        """Do the epochs that are still to be done; after each, the row that it adds to the history.

        Raises:
            NotFiniteError: The loss is NaN or infinite.
        """
        while len(self.rounds) < self.plan.needed:
            fixed = self._begin()
            while True:
                row = self._epoch(fixed)
                over = (self.plan.mask_stop if self.phase == "masks" else self.plan.model_stop).reached(self.losses)
                if over:
                    self._end()
                self.history.append(row)
                yield row
                if over:
                    break

    def state(self) -> dict[str, Any]:
        """The state between two epochs: tensors and plain values by name; nothing of it changes later."""
        weights = {f"weights.{name}": tensor.detach().clone() for name, tensor in self.net.state_dict().items()}
        moments = {
            f"optimiser.{position}.{name}": value.clone()
            for position, values in self.optimiser.state_dict()["state"].items()
            for name, value in values.items()
        }
        masks = {"masks": self.learned.masks.clone()} | {f"moments.{n}": moment.clone() for n, moment in enumerate(self.learned.moments)}
        rounds = {
            f"rounds.{number}.{name}": tensor
            for number, one in enumerate(self.rounds)
            for name, tensor in ({"masks": one.masks} | {f"weights.{key}": value for key, value in one.weights.items()}).items()
        }
        plain = {"history": list(self.history), "facts": [one.facts for one in self.rounds], "losses": list(self.losses)}
        return {
            **{"phase": self.phase, "clock": self.clock, "steps": self.learned.steps},
            **plain,
            **masks,
            **weights,
            **moments,
            **rounds,
        }

    def go_on(self, state: Mapping[str, Any]) -> None:
        """Put a state back, as `state` gave it for the same network, images, plan and seed.

        Raises:
            DataError: The state is that of another tuning.
        """
        masks = state.get("masks")
        if not isinstance(masks, Tensor) or masks.shape != self.learned.masks.shape:
            found = tuple(masks.shape) if isinstance(masks, Tensor) else "none"
            raise DataError(f"this is the state of another tuning: its masks are {found}, not {tuple(self.learned.masks.shape)}")
        self.phase, self.clock = state["phase"], state["clock"]
        self.history, self.losses = list(state["history"]), list(state["losses"])
        device = self.base.device
        moments = tuple(state[f"moments.{number}"].to(device).clone() for number in range(len(self.learned.moments)))
        self.learned = Learned(masks.to(device).clone(), moments, state["steps"])
        self.net.load_state_dict(_under(state, "weights."))
        kept = self.optimiser.state_dict()
        kept["state"] = {}
        for name, value in _under(state, "optimiser.").items():
            position, _, key = name.partition(".")
            kept["state"].setdefault(int(position), {})[key] = value
        self.optimiser.load_state_dict(kept)
        self.rounds = []
        for number, facts in enumerate(state["facts"]):
            parts = _under(state, f"rounds.{number}.")
            self.rounds.append(Round(parts["masks"].to(device), _under(parts, "weights."), dict(facts)))

    def gathered(self, masks: Tensor) -> Tensor:
        """The masks of all processes' images, in order, from each process's own."""
        if self.ranks.world == 1:
            return masks
        whole = torch.zeros(self.total, *masks.shape[1:], device=masks.device)
        whole[self.ranks.rank :: self.ranks.world] = masks
        distributed.all_reduce(whole)
        return whole

    def _begin(self) -> tuple[Any, ...]:
        """What stays the same through a phase: for the masks the model and what it says of the images; for the model the masks."""
        number = len(self.rounds)
        if self.phase == "model":
            return (self._rounded(number),)
        if not self.losses:
            self.learned.forget()
        model = wrapped(self.net, self.base, self.plan.model.precision)
        own = probabilities(model, self.images)
        return model, own, self.plan.model.lambda_model * gap(own, self.wanted, self.plan.model.tolerance)

    def _epoch(self, fixed: Sequence[Any]) -> Row:
        number, seed = len(self.rounds), derive(self.seed, f"DiET epoch {self.clock}")
        stage = f"round {number + 1} of {self.plan.rounds}, {self.phase}"
        most = (self.plan.mask_stop if self.phase == "masks" else self.plan.model_stop).most
        done = len(self.losses)

        def tell(images: int) -> None:
            many = len(self.images) if self.phase == "masks" else self.total
            # Where epochs are not counted, each one is told by itself.
            self.progress(stage, *((images, many) if most is None else (done * many + images, most * many)))

        if self.phase == "masks":
            model, own, gap = fixed
            weight = self.plan.sparsity.weight(number, self.plan.rounds)
            batches = batch_sizes(self.total, self.plan.model.batch_size, shuffled(self.total, seed))[self.index.cpu()]
            on = MaskImages(self.images, self.wanted, own, self.index, batches)
            sums = learn(model, on, self.learned, self.plan.masks, weight, seed, tell=tell)
            sums.values["loss"] += float(gap.double().sum())
        else:
            part = ModelImages(self.images, self.wanted, fixed[0], self.total)
            sums = tune(self.pair, self.optimiser, part, self.plan.model, seed=seed, ranks=self.ranks, tell=tell)
        means = self._mean(sums)
        self.losses.append(means["loss"])
        self.clock += 1
        row = {"round": number + 1, "phase": self.phase, "epoch": len(self.losses), **means}
        if not math.isfinite(means["loss"]):
            raise NotFiniteError(f"the loss of {stage} is {means['loss']} in epoch {row['epoch']}; lower mask_lr or model_lr")
        return row

    def _end(self) -> None:
        """Close the phase: masks are followed by the model, the model by the next round."""
        self.losses = []
        if self.phase == "masks":
            self.phase = "model"
            return
        number = len(self.rounds)
        masks = self.learned.masks.clone()
        weights = {name: tensor.detach().clone() for name, tensor in self.net.state_dict().items()}
        self.rounds.append(Round(masks, weights, self._judge(number)))
        if not self.plan.rounding.carried:
            self.learned.masks.copy_(self.plan.rounding.rounded(masks, number, self.plan.rounds))
        self.phase = "masks"

    def _rounded(self, number: int) -> Tensor:
        """The masks as the model meets them: on their grid, or at the images' size where they are drawn along edges."""
        masks = drawn_masks(self.learned.masks, self.images, True) if self.plan.edges else self.learned.masks
        return self.plan.rounding.rounded(masks, number, self.plan.rounds)

    def _judge(self, number: int) -> Row:
        """What a round came to, as far as it can be known without ground truth."""
        model = wrapped(self.net, self.base)
        rounded = self._rounded(number)
        seed = derive(self.seed, f"DiET round {number}")
        sums = Sums()
        sums.add(
            len(self.images),
            kept=rounded.mean((1, 2, 3)),
            size=self.learned.masks.mean((1, 2, 3)),
            on_images=(probabilities(model, self.images).argmax(1) == self.wanted.argmax(1)).float(),
            simplified=agreement(model, self.wanted, self.images, rounded, [self.plan.masks.background], self.index, seed),
            elsewhere=agreement(model, self.wanted, self.images, rounded, self.plan.judges, self.index, derive(seed, "judges")),
            base=agreement(self.base, self.wanted, self.images, rounded, [self.plan.masks.background], self.index, seed),
        )
        facts = {"round": number + 1, **self._mean(sums)}
        if self.validation is not None and self.validation_wanted is not None:
            found = probabilities(model, self.validation).argmax(1)
            facts["validation"] = float(torch.eq(found, self.validation_wanted).double().mean())
        return facts

    def _mean(self, sums: Sums) -> dict[str, float]:
        """Means over the images of all processes."""
        names = sorted(sums.values)
        packed = torch.tensor([sums.count, *(sums.values[name] for name in names)], dtype=torch.float64, device=self.base.device)
        if self.ranks.world > 1:
            distributed.all_reduce(packed)
        count, *values = packed.tolist()
        return {name: value / count for name, value in zip(names, values, strict=True)}

    def _check_classes(self) -> None:
        """One class throughout would make every mask empty and the agreement perfect, which would prove nothing."""
        if self.base.head != "softmax":
            raise ModelError(
                f"DiET tunes networks with a logit for each of some classes that exclude each other; {self.base.name} is {self.base.head}"
            )
        found = torch.zeros(self.wanted.shape[1], device=self.wanted.device)
        found[self.wanted.argmax(1)] = 1
        if self.ranks.world > 1:
            distributed.all_reduce(found)
        if int((found > 0).sum()) < 2:
            only = int(found.argmax())
            raise DataError(f"the model puts all {self.total} images into class {only}; DiET needs images of at least two classes")


def _under(state: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
