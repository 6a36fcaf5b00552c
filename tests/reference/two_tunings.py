"""What two processes under torchrun must agree on when they tune, printed as JSON by the first; see tests/tune/test_two_tunings.py."""

import dataclasses
import json

import torch
from torch import nn

from assay.core.ranks import Ranks, join
from assay.tune.diet import DiET
from assay.tune.schedules import Epochs, Falling
from reference.nets import plain, scramble_norms, seeded

COUNT = 13
LARGE = DiET(
    rounds=2,
    mask_lr=0.25,
    sparsity=Falling(),
    mask_stop=Epochs(3),
    model_stop=Epochs(2),
    batch_size=6,
    precision="float32",
)
# Some batches of two hold no image of one of the processes.
WAYS = {"batches": LARGE, "small batches": dataclasses.replace(LARGE, batch_size=2)}


def images():
    draw = torch.Generator().manual_seed(1)
    return torch.rand(COUNT, 3, 8, 8, generator=draw) * torch.rand(COUNT, 3, 1, 1, generator=draw)


def finished(way, ranks, stop=None):
    """The outcome, on one go or with a new start from the state after `stop` epochs."""
    tuning = way.begin(plain(), images(), images()[:4], seed=3, ranks=ranks)
    for number, _ in enumerate(tuning.epochs(), 1):
        if number == stop:
            again = way.begin(plain(), images(), images()[:4], seed=3, ranks=ranks)
            again.go_on(tuning.state())
            tuning = again
            break
    list(tuning.epochs())
    return way.finish(tuning)


def apart(one, other):
    weights = zip(one.model.state_dict().values(), other.model.state_dict().values(), strict=True)
    return {
        "masks": (one.masks - other.masks).abs().max().item(),
        "weights": max((a - b).abs().max().item() for a, b in weights),
        "loss": max(abs(a["loss"] - b["loss"]) for a, b in zip(one.epochs, other.epochs, strict=True)),
    }


def normed(ranks):
    """How far apart the processes' weights and statistics of a network with batch norm are, tuned in train mode."""
    net = scramble_norms(seeded(lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Flatten(), nn.Linear(216, 4))))
    with torch.no_grad():
        net[-1].bias.sub_(net.eval()(images()).mean(0))
    way = dataclasses.replace(LARGE, train_mode=True, batch_size=13)
    found = way(net, images(), seed=3, ranks=ranks)
    own = torch.cat([tensor.flatten().float() for tensor in found.model.state_dict().values()])
    every = ranks.gather(own)
    return max((one - own).abs().max().item() for one in every)


with join("cpu") as ranks:
    found = {"world": ranks.world}
    for name, way in WAYS.items():
        together, alone, resumed = finished(way, ranks), finished(way, Ranks()), finished(way, ranks, stop=4)
        found[name] = apart(together, alone) | {"moved": (alone.masks - 1).abs().max().item(), "resumed": apart(together, resumed)}
        found[name]["histories"] = max(
            abs(a[key] - b[key]) for a, b in zip(together.history, alone.history, strict=True) for key in a if key != "chosen"
        )
    found["train mode"] = normed(ranks)
    if ranks.first:
        print(json.dumps(found))  # noqa: T201
