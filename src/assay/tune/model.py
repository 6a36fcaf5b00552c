"""The step that tunes the model with the masks fixed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from assay.core.noise import derive
from assay.core.precision import Precision
from assay.core.ranks import Ranks
from assay.models.seeded import seeded
from assay.models.training.fitting import memory_format
from assay.tune.drawn_backgrounds import Backdrop, fill
from assay.tune.masks import Sums
from assay.tune.network import logits_of
from assay.tune.simplify import gap, pixels, simplify

__all__ = ["ModelImages", "ModelRule", "Pair", "parallel", "shuffled", "tune"]


@dataclass(frozen=True)
class ModelRule:
    """How the model is tuned.

    Args:
        batch_size: Images per step, over all processes.
        lambda_model: Weight of the distance of f_v from f_b on the images.
        lambda_data: Weight of the distance of f_v on the simplified images from f_v on the images.
        background: What erased pixels are replaced by.
        precision: What the model computes in, "bfloat16" under autocast.
        train_mode: Whether batch norm uses the batch's statistics, and dropout is on.
        tolerance: What of a difference of probabilities does not count.
    """

    batch_size: int
    lambda_model: float
    lambda_data: float
    background: Backdrop
    precision: Precision
    train_mode: bool
    tolerance: float


class Pair(nn.Module):
    """Logits of images and of simplified images: one pass where that is the same as two."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, clean: Tensor, simple: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (n, K) of both."""
        if self.training:  # each with its own batch's statistics
            return logits_of(self.net(clean)), logits_of(self.net(simple))
        both = logits_of(self.net(torch.cat([clean, simple])))
        return both[: len(clean)], both[len(clean) :]


def parallel(net: nn.Module, ranks: Ranks) -> nn.Module:
    """The network as a `Pair`, whose gradients are the mean over all processes; its weights lie as `memory_format` says."""
    place = next(net.parameters(), torch.empty(0)).device
    pair = Pair(net.to(memory_format=memory_format(net, place)))
    return DistributedDataParallel(pair) if ranks.world > 1 else pair


def shuffled(total: int, seed: int) -> Tensor:
    """The order in which an epoch takes the images."""
    return torch.randperm(total, generator=torch.Generator().manual_seed(derive(seed, "order")))


@dataclass(frozen=True, eq=False)
class ModelImages:
    """One process's share of the images that the model is tuned on.

    Attributes:
        images: (n, C, H, W), bytes or floats.
        wanted: (n, K) the probabilities of f_b on them.
        masks: (n, 1, rows, columns) rounded masks.
        total: Images of all processes.
    """

    images: Tensor
    wanted: Tensor
    masks: Tensor
    total: int


def tune(
    pair: nn.Module,
    optimiser: torch.optim.Optimizer,
    on: ModelImages,
    rule: ModelRule,
    *,
    seed: int,
    ranks: Ranks,
    tell: Callable[[int], None],
) -> Sums:
    """One epoch of the model: `lambda_model |f_b(x) - f_v(x)|_1 + lambda_data |f_v(x) - f_v(m x + (1 - m) q)|_1`, of class probabilities.

    The order and the batches are those of all images, of which each process has the share `rank::world`.

    Args:
        pair: f_v as a `Pair`; changed in place.
        optimiser: Of its parameters.
        on: This process's images.
        rule: How the model is tuned.
        seed: Decides the order and the backgrounds.
        ranks: The processes.
        tell: Told the number of images done, over all processes.
    """
    sums, device, total = Sums(), on.wanted.device, on.total
    layout = memory_format(pair, device)
    order = shuffled(total, seed)
    pair.train(rule.train_mode)
    with seeded(derive(seed, "layers"), device):
        for start in range(0, total, rule.batch_size):
            batch = order[start : start + rule.batch_size]
            own = batch[batch % ranks.world == ranks.rank]
            # A process without an image in the batch takes part with one of weight 0, since all must.
            share = ranks.world / len(batch) if len(own) else 0.0
            own = own if len(own) else torch.tensor([ranks.rank])
            rows = own // ranks.world
            clean, masked = pixels(on.images[rows.to(on.images.device)], device), on.masks[rows.to(device)]
            clean = clean.contiguous(memory_format=layout)
            simple = simplify(clean, masked, fill(rule.background, clean, own.to(device), seed))
            with torch.autocast(device.type, torch.bfloat16, enabled=rule.precision == "bfloat16"):
                logits = pair(clean, simple)
            now, then = (one.float().softmax(1) for one in logits)
            model_gap, data_gap = (gap(now, one, rule.tolerance) for one in (on.wanted[rows.to(device)], then))
            losses = rule.lambda_model * model_gap + rule.lambda_data * data_gap
            optimiser.zero_grad(set_to_none=True)
            (losses.sum() * share).backward()
            optimiser.step()
            if share:
                same = then.detach().argmax(1) == on.wanted[rows.to(device)].argmax(1)
                sums.add(len(own), loss=losses.detach(), model=model_gap.detach(), distance=data_gap.detach(), agreement=same)
            tell(min(start + rule.batch_size, total))
    pair.eval()
    if rule.train_mode and ranks.world > 1:
        for buffer in pair.buffers():  # each process took the statistics of its own part of the last batch
            distributed.broadcast(buffer, 0)
    return sums
