"""What two processes under torchrun must agree on, printed as JSON after what `assay train` prints; see test_two_processes.py."""

import dataclasses
import json
import sys
from contextlib import nullcontext

import torch
from torch import distributed, nn

import assay.cli.commands.data  # noqa: F401  (two commands, for one alone takes no name)
from assay.attack.predictions.pgd_training import PGDTraining
from assay.cli.app import app
from assay.cli.studies import add_studies
from assay.core import ranks as core_ranks
from assay.core.ranks import Ranks, join
from assay.models.nets.architectures import SmallResNet, ViT
from assay.models.training.fitting import Examples, Fitting
from assay.models.training.recipe import Flip, Recipe, Shift

add_studies(["train"])
TOKENS = ViT(classes=3, size=8, width=8, depth=1, heads=2)
NORMED = SmallResNet(classes=3, widths=(4,), blocks=(1,), strides=(2,), stem=4)
PLAIN = Recipe(
    epochs=2,
    batch_size=8,
    lr=0.5,
    warmup=0.0,
    augment=(Shift(2), Flip()),
    precision="float32",
    adversary=PGDTraining(eps=0.5, norm="l2"),
)


def examples():
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (24, 3, 8, 8), dtype=torch.uint8, generator=draw)
    return Examples(images, torch.arange(24) % 3, (0.5,) * 3, (0.3,) * 3)


def fitting(architecture, recipe, ranks):
    return Fitting(architecture.make(1), examples(), recipe, 5, ranks)


def weights(fitted):
    return nn.utils.parameters_to_vector(fitted.net.parameters()).detach()


def gradient(ranks):
    """Of the first batch: what one step of plain descent did, over its rate."""
    recipe = dataclasses.replace(PLAIN, epochs=1, batch_size=24, momentum=0.0, weight_decay=0.0)
    fitted = fitting(TOKENS, recipe, ranks)
    before = weights(fitted).clone()
    fitted.epoch()
    return (before - weights(fitted)) / recipe.rate(0, 1)


def trained(architecture, ranks, stop=False):
    """The weights after two epochs, on one go or with a new start after the first."""
    fitted = fitting(architecture, PLAIN, ranks)
    fitted.epoch()
    if stop:
        state = ranks.told(fitted.state() if ranks.first else None)
        fitted = fitting(architecture, PLAIN, ranks)
        fitted.restore(state)
    fitted.epoch()
    return fitted


def spread(tensor, ranks):
    """The largest difference between the processes."""
    return max(float((tensor - other).abs().max()) for other in ranks.gather(tensor))


def main():
    torch.set_num_threads(1)
    with join("cpu") as ranks:
        # Processes can join once: in a second round they may find each other's addresses of the first. So the command gets this one.
        core_ranks.join = lambda _: nullcontext(ranks)
        app(["train", *sys.argv[1:]], standalone_mode=False)
        alone = Ranks()
        whole, halves = gradient(alone), gradient(ranks)
        many, one = trained(TOKENS, ranks), trained(TOKENS, alone)
        norms = trained(NORMED, ranks)
        again = trained(NORMED, ranks, stop=True)
        found = {
            "world": distributed.get_world_size(),
            "gradient size": float(whole.abs().max()),
            "gradient difference": float((whole - halves).abs().max()),
            "loss difference": max(abs(a.loss - b.loss) for a, b in zip(many.history, one.history, strict=True)),
            "accuracies": [[epoch.accuracy for epoch in each.history] for each in (many, one)],
            "weights apart": spread(weights(norms), ranks),
            "running means apart": spread(norms.net.bn1.running_mean, ranks),
            "resumed the same": all(
                torch.equal(a, b) for a, b in zip(norms.net.state_dict().values(), again.net.state_dict().values(), strict=True)
            ),
        }
        if ranks.first:
            sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
