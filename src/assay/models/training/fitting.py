"""The training loop, an epoch at a time, on one process or several.

What an epoch does depends on the seed, its number and the state before it alone, so a run that stops can go on from the
state after its last epoch and end in the same bits.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from assay.core.noise import derive
from assay.core.precision import settled
from assay.core.progress import Progress, silent
from assay.core.ranks import Ranks
from assay.errors import ModelError, SpecError
from assay.models.seeded import seeded
from assay.models.training.draws import Draws
from assay.models.training.muon import Muon
from assay.models.training.recipe import Recipe

__all__ = ["Epoch", "Examples", "Fitting", "State", "batch_size", "memory_format", "optimiser"]

State = tuple[dict[str, Tensor], dict[str, Any]]
"""Tensors, on the CPU, and plain values, by name."""

_NET, _OPTIMISER = "net/", "optimiser/"


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training images came to."""

    number: int
    loss: float
    """Mean training loss, with label smoothing; under adversarial training on the changed images."""
    accuracy: float
    """Share of the images trained on that were classified correctly while training, in [0, 1]."""


@dataclass(frozen=True, eq=False)
class Examples:
    """What is learnt from, on the device of the network.

    Args:
        images: (N, C, H, W) uint8.
        labels: (N,) int64.
        mean: Per channel, for pixels in [0, 1].
        std: Likewise.
    """

    images: Tensor
    labels: Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Fitting:
    """A network on its way; it is trained in place.

    Each step's batch is split evenly over the processes. What is drawn for an image depends on the image and the epoch, so
    all splits see the same batches; only dropout differs. Gradients are averaged by DistributedDataParallel. Batch norm
    takes its statistics over the whole batch on GPUs; torch cannot on CPUs, where each process takes its own share's, and
    the running statistics are their mean.

    Args:
        net: In train mode, on the device of the examples, the same on every process.
        examples: What is learnt from.
        recipe: How.
        seed: Decides order, augmentation, dropout and adversarial starts.
        ranks: The processes that train together.
        progress: Told about steps.

    Raises:
        SpecError: The batch cannot be split evenly.
    """

    def __init__(
        self, net: nn.Module, examples: Examples, recipe: Recipe, seed: int, ranks: Ranks | None = None, progress: Progress = silent
    ) -> None:
        self.recipe, self.seed, self.progress = recipe, seed, progress
        self.ranks = ranks or Ranks()
        self.labels = examples.labels
        self.device = examples.images.device
        self._format = memory_format(net, self.device)
        # Pixels of one image side by side: augmentation copies whole pixels, and batches come out channels last.
        self.pixels = examples.images.permute(0, 2, 3, 1).contiguous()
        self.precision = settled(recipe.precision, self.device)
        self.batch_size = batch_size(recipe, len(self.pixels), self.ranks)
        self.steps = len(self.pixels) // self.batch_size
        centre, spread = (torch.tensor(each, device=self.device).view(-1, 1, 1) for each in (examples.mean, examples.std))
        self._shift, self._scale = -centre / spread, 1 / spread
        self.net = net
        self.optimiser = optimiser(net, recipe)
        self.history: tuple[Epoch, ...] = ()
        self._parallel = self._wrapped()

    def epoch(self) -> Epoch:
        """Go over the images once more.

        Raises:
            ModelError: The loss is no longer finite.
        """
        number = len(self.history)
        place = torch.Generator().manual_seed(derive(self.seed, f"order of epoch {number}"))
        order = torch.randperm(len(self.pixels), generator=place)
        share = self.batch_size // self.ranks.world
        total = torch.zeros(2, device=self.device, dtype=torch.float64)
        self.net.train()
        with seeded(derive(self.seed, f"layers in epoch {number}, process {self.ranks.rank}"), self.device):
            for step in range(self.steps):
                first = step * self.batch_size + self.ranks.rank * share
                total += self._step(order[first : first + share].to(self.device), number, number * self.steps + step)
                self.progress("training", number * self.steps + step + 1, self.recipe.epochs * self.steps)
        if self.ranks.world > 1:
            distributed.all_reduce(total)
        loss, right = (total / (self.steps * self.batch_size)).tolist()
        with self.ranks.together():
            if not math.isfinite(loss):
                raise ModelError(
                    f"training diverged in epoch {number + 1}: the loss is {loss}; "
                    f"lower the recipe's lr (now {self.recipe.lr:g}) or raise its warmup"
                )
        done = Epoch(number + 1, loss, right)
        self.history = (*self.history, done)
        return done

    def state(self) -> State:
        """All that the next epochs depend on beside the arguments; a copy."""
        tensors = {_NET + name: tensor.detach().cpu().clone() for name, tensor in self.net.state_dict().items()}
        for number, parameter in enumerate(self._parameters()):
            for name, value in self.optimiser.state[parameter].items():
                tensors[f"{_OPTIMISER}{number}/{name}"] = value.detach().cpu().clone()
        return tensors, {"losses": [one.loss for one in self.history], "accuracies": [one.accuracy for one in self.history]}

    def restore(self, state: State) -> None:
        """Go on from what `state` returned under the same arguments."""
        tensors, values = state
        reached = enumerate(zip(values["losses"], values["accuracies"], strict=True))
        self.history = tuple(Epoch(number + 1, loss, right) for number, (loss, right) in reached)
        self.net.load_state_dict({name.removeprefix(_NET): tensor for name, tensor in tensors.items() if name.startswith(_NET)})
        for number, parameter in enumerate(self._parameters()):
            prefix = f"{_OPTIMISER}{number}/"
            held = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
            # A moment laid out in memory as before takes the same way through the arithmetic, to the last bit.
            self.optimiser.state[parameter] = {
                name: torch.empty_like(parameter).copy_(tensor) if tensor.shape == parameter.shape else tensor.clone()
                for name, tensor in held.items()
            }

    def _step(self, chosen: Tensor, epoch: int, step: int) -> Tensor:
        """One change of the weights by this process's share of a batch; the sums of losses and of right answers before it."""
        batch = self.pixels[chosen]
        for number, change in enumerate(self.recipe.augment):
            batch = change(batch, Draws(self.seed, f"augmentation {number}", chosen, epoch))
        pixels, labels = batch.permute(0, 3, 1, 2).float().div_(255), self.labels[chosen]
        if self.recipe.adversary is not None:
            pixels = self._attacked(pixels, labels, Draws(self.seed, "adversary", chosen, epoch))
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.rate(step, self.recipe.epochs * self.steps)
        logits = self._logits(self._parallel, pixels)
        loss = cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self._share_statistics()
        return torch.stack([loss.detach() * len(labels), (logits.detach().argmax(1) == labels).sum()]).double()

    def _attacked(self, pixels: Tensor, labels: Tensor, draws: Draws) -> Tensor:
        """The adversary's images. In eval mode, as when attacked later: an image's change does not depend on the batch around it."""
        assert self.recipe.adversary is not None
        self.net.eval()
        try:
            return self.recipe.adversary(
                lambda changed: cross_entropy(self._logits(self.net, changed), labels, reduction="none"), pixels, draws
            ).detach()
        finally:
            self.net.train()

    def _logits(self, net: nn.Module, pixels: Tensor) -> Tensor:
        with self._autocast():
            logits: Tensor = net(torch.addcmul(self._shift, pixels, self._scale).contiguous(memory_format=self._format))
        return logits.float()

    def _autocast(self) -> AbstractContextManager[None]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def _parameters(self) -> list[nn.Parameter]:
        return [parameter for group in self.optimiser.param_groups for parameter in group["params"]]

    def _wrapped(self) -> nn.Module:
        if self.ranks.world == 1:
            return self.net
        places = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(self.net, device_ids=places)

    def _share_statistics(self) -> None:
        """Give every process the mean of all processes' running statistics, which attacks and the saved network use."""
        if self.ranks.world == 1:
            return
        norms = [module for module in self.net.modules() if isinstance(module, _BatchNorm)]
        held = [buffer for norm in norms for buffer in norm.buffers() if buffer.is_floating_point()]
        if not held:
            return
        mean = torch.cat([buffer.flatten() for buffer in held])
        distributed.all_reduce(mean)
        for buffer, part in zip(held, (mean / self.ranks.world).split([buffer.numel() for buffer in held]), strict=True):
            buffer.copy_(part.view_as(buffer))


def memory_format(net: nn.Module, device: torch.device) -> torch.memory_format:
    """How a network's weights and images lie in memory while it is trained: channels last, which is the fastest.

    But not on CPUs where a 1x1 convolution with a stride has fewer than 8 input channels: the gradient of its weights would be
    written past the end of oneDNN's memory on processors with AVX2 only.

    Source: uxlfoundation/oneDNN issue 6035.
    """
    narrow = any(
        isinstance(one, nn.Conv2d) and one.kernel_size == (1, 1) and one.stride != (1, 1) and one.in_channels // one.groups < 8
        for one in net.modules()
    )
    return torch.contiguous_format if narrow and device.type == "cpu" else torch.channels_last


def batch_size(recipe: Recipe, images: int, ranks: Ranks) -> int:
    """Images of a step, over all processes: the recipe's, or all where there are fewer.

    Raises:
        SpecError: They cannot be split evenly.
    """
    size = min(recipe.batch_size, images)
    if size % ranks.world:
        raise SpecError(f"batches of {size} images cannot be split evenly over {ranks.world} processes; change the recipe's batch_size")
    return size


def optimiser(net: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser; biases, normalisation and what the network names in `no_weight_decay` have no decay."""
    named_by = getattr(net, "no_weight_decay", None)
    spared: set[str] = named_by() if callable(named_by) else set()
    named = [(name, parameter) for name, parameter in net.named_parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for name, p in named if p.ndim > 1 and name not in spared], "weight_decay": recipe.weight_decay},
        {"params": [p for name, p in named if p.ndim <= 1 or name in spared], "weight_decay": 0.0},
    ]
    if recipe.optimiser == "muon":
        # The last matrix gives the logits, whose rows are not to be made orthogonal to each other.
        matrices, others = groups
        *inner, last = matrices["params"]
        split = [{**matrices, "params": inner, "orthogonal": True}, {**matrices, "params": [last], "orthogonal": False}]
        return Muon([*split, {**others, "orthogonal": False}], recipe.lr, recipe.momentum)
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.lr, betas=(recipe.momentum, 0.999))
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0)
