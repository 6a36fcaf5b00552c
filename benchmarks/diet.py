"""One epoch of DiET's masks, and one of its model, against the authors' formulation, in turn, in one process.

python benchmarks/diet.py [--images 256] [--size 64] [--repeats 5]

The authors' formulation: for each batch, the model as it is forward on the images and on the simplified images, and backward
with gradients of all parameters, in float32. Ours, of masks: the folded, frozen model forward on the simplified images and backward to
the pixels; its predictions on the images are made once for a whole phase of epochs. Ours, of the model: both passes in one, channels
last, in float32 or under autocast.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time

import torch
from torch import Tensor, nn

from assay.core.noise import derive
from assay.core.ranks import Ranks
from assay.models.classifier import Classifier
from assay.models.nets.architectures import SmallResNet
from assay.tune.drawn_backgrounds import RandomColour
from assay.tune.masks import Learned, MaskImages, MaskRule, batch_sizes, learn
from assay.tune.model import ModelImages, ModelRule, parallel, shuffled, tune
from assay.tune.predictions import probabilities
from assay.tune.simplify import enlarge_masks, grid_cells, upsampling

BATCH, LR, WEIGHT, SEED = 128, 2000.0, 1.0, 0


def authors(net: nn.Module, images: Tensor, wanted: Tensor, masks: Tensor, epoch: int) -> None:
    """One epoch of masks as the authors' script does it, on our backgrounds; `masks` change in place."""
    masks.requires_grad_()
    optimiser = torch.optim.SGD([masks], lr=LR)
    index = torch.arange(len(images))
    for rows in index.split(BATCH):
        behind = RandomColour().fill(images[rows], rows, derive(SEED, str(epoch)))
        large = enlarge_masks(masks[rows], *images.shape[2:])
        says = net(images[rows]).softmax(1)
        simplified = net(large * images[rows] + (1 - large) * behind).softmax(1)
        first, second = (wanted[rows] - says).abs().sum(), (says - simplified).abs().sum()
        loss = (WEIGHT * large.abs().sum() / images[0, 0].numel() + first + second) / len(rows)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            masks.clamp_(0, 1)
    masks.requires_grad_(False)


def authors_model(net: nn.Module, optimiser: torch.optim.Optimizer, images: Tensor, wanted: Tensor, masks: Tensor, epoch: int) -> None:
    """One epoch of the model as the authors' script does it, on our backgrounds."""
    for rows in shuffled(len(images), derive(SEED, str(epoch))).split(BATCH):
        behind = RandomColour().fill(images[rows], rows, derive(SEED, str(epoch)))
        large = enlarge_masks(masks[rows], *images.shape[2:])
        says = net(images[rows]).softmax(1)
        simplified = net(large * images[rows] + (1 - large) * behind).softmax(1)
        loss = ((wanted[rows] - says).abs().sum() + (says - simplified).abs().sum()) / len(rows)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def model_epochs(net: nn.Module, images: Tensor, wanted: Tensor, masks: Tensor, repeats: int) -> None:
    """Print seconds of an epoch of the model, and ratios."""
    rules = {name: ModelRule(BATCH, 1.0, 1.0, RandomColour(), name, False, 0.0) for name in ("float32", "bfloat16")}
    nets = {name: copy.deepcopy(net).requires_grad_(True) for name in ("authors", *rules)}
    pairs = {name: parallel(nets[name], Ranks()) for name in rules}
    optimisers = {name: torch.optim.Adam(one.parameters(), lr=1e-4) for name, one in nets.items()}
    on = ModelImages(images, wanted, masks, len(images))
    seconds: dict[str, list[float]] = {name: [] for name in nets}
    for epoch in range(repeats + 1):
        began = time.perf_counter()
        authors_model(nets["authors"], optimisers["authors"], images, wanted, masks, epoch)
        seconds["authors"].append(time.perf_counter() - began)
        for name, rule in rules.items():
            began = time.perf_counter()
            tune(pairs[name], optimisers[name], on, rule, seed=derive(SEED, str(epoch)), ranks=Ranks(), tell=lambda _: None)
            seconds[name].append(time.perf_counter() - began)
    told("model", seconds, dict.fromkeys(seconds, ""))


def told(what: str, seconds: dict[str, list[float]], more: dict[str, str]) -> None:
    """Print medians; the first epoch also measures memory and warms caches."""
    for name, times in seconds.items():
        ratios = [a / b for a, b in zip(seconds["authors"][1:], times[1:], strict=True)]
        print(f"{what}, {name}: {statistics.median(times[1:]):.3f} s, {statistics.median(ratios):.2f} times as fast{more[name]}")  # noqa: T201


def main() -> None:
    """Print seconds and ratios, and how far the masks are apart after as many epochs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    images = torch.rand(given.images, 3, given.size, given.size, generator=torch.Generator().manual_seed(SEED))
    net = SmallResNet(widths=(32, 64, 128), blocks=(2, 2, 2), strides=(1, 2, 2), stem=32, stem_stride=2).make(SEED).eval()
    with torch.no_grad():
        net.fc.weight.mul_(20)
    grid = grid_cells(given.size, given.size, upsampling(given.size, given.size, None))
    rule = MaskRule(LR, "paper", 1.0, 0.0, RandomColour(), 0.0)
    models = {precision: Classifier(net, precision=precision) for precision in ("float32", "bfloat16")}
    known = {name: (probabilities(models["float32"], images), probabilities(model, images)) for name, model in models.items()}
    index = torch.arange(given.images)
    batches = batch_sizes(given.images, BATCH, index)
    learned = {name: Learned.whole(len(images), grid, rule, images.device) for name in models}
    theirs = torch.ones(len(images), 1, *grid)
    seconds: dict[str, list[float]] = {"authors": [], **{name: [] for name in models}}
    for epoch in range(given.repeats + 1):
        began = time.perf_counter()
        authors(net, images, known["float32"][0], theirs, epoch)
        seconds["authors"].append(time.perf_counter() - began)
        for name, model in models.items():
            began = time.perf_counter()
            learn(model, MaskImages(images, *known[name], index, batches), learned[name], rule, WEIGHT, derive(SEED, str(epoch)))
            seconds[name].append(time.perf_counter() - began)
    apart = {name: f", masks {(one.masks - theirs).abs().mean():.4f} apart on average" for name, one in learned.items()}
    told("masks", seconds, {"authors": ""} | apart)
    model_epochs(net, images, known["float32"][0], theirs.round(), given.repeats)
    print(f"{given.images} images of {given.size} pixels, {torch.get_num_threads()} threads, size {theirs.mean():.3f} at the end")  # noqa: T201


if __name__ == "__main__":
    main()
