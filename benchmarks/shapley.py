"""Error of Shapley values against passes: our estimators, Captum's KernelShap and shapiq's approximators, on shipped networks.

Run as `python benchmarks/shapley.py --network hard-digits --segments 25`; shapiq is taken where it is installed (`pip install shapiq lightgbm`).
An error is the norm of the difference over the norm of the true values, averaged over images and seeds. The truth of 12 segments is all
2^12 coalitions, of more segments `ShapleySampling` of `--orders` orders; half of them against the other half tells its own error.
Each approximator is given what its authors advise: shapiq's KernelSHAP in pairs, once by the weights it was published with and once by
leverage scores (every size of coalition as often), kADDSHAP, and ProxySPEX, which fits trees.
"""

from __future__ import annotations

import argparse
import importlib.util
import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

import assay
from assay.data import choose, load, read

GRIDS = {12: assay.Grid(3, 4), 25: assay.Grid(5, 5), 49: assay.Grid(7, 7)}
Way = Callable[[int, int], Tensor]
"""From passes and a seed to Shapley values (N, segments)."""


def error(found: Tensor, truth: Tensor) -> float:
    """Mean relative error of values (N, segments)."""
    return float(((found - truth).norm(dim=1) / truth.norm(dim=1)).mean())


def by_segment(maps: Tensor, labels: Tensor, segments: int) -> Tensor:
    """The segments' values (N, segments), which every pixel of a segment bears in maps (N, 1, H, W)."""
    flat, where = maps[:, 0].flatten(1), labels.flatten(1)
    return torch.zeros(len(maps), segments).scatter_(1, where, flat)


class Game:
    """One image as a game of its segments, as shapiq wants it: coalitions (M, n) of bool to scores (M,)."""

    def __init__(self, model: assay.Classifier, image: Tensor, target: int, labels: Tensor) -> None:
        self.model, self.image, self.target, self.labels = model, image, target, labels

    def __call__(self, coalitions: np.ndarray) -> np.ndarray:
        """The target's logit with absent segments black."""
        kept = torch.from_numpy(np.asarray(coalitions, bool))[:, self.labels]
        found = torch.cat([self.model.forward(self.image * part[:, None]).detach() for part in kept.split(256)])
        return found[:, self.target].double().numpy()


def ours(model: assay.Classifier, images: Tensor, targets: Tensor, grid: assay.Grid, labels: Tensor, segments: int) -> dict[str, Way]:
    """KernelShap by each of its estimators."""

    def way(name: str) -> Way:
        def run(passes: int, seed: int) -> Tensor:
            explainer = assay.KernelShap(passes, grid, estimator=name)  # type: ignore[arg-type]
            return by_segment(explainer(model, images, targets, seed=seed), labels, segments)

        return run

    return {name: way(name) for name in ("auto", "process", "regression")}


def inside(model: assay.Classifier, images: Tensor, targets: Tensor, grid: assay.Grid, truth: Tensor, passes: int, seed: int) -> float:
    """Share of the segments whose true value is inside the 95 % interval of our default estimator."""
    low, high = assay.KernelShap(passes, grid).posterior(model, images, targets, seed=seed).interval()
    return float(((low <= truth) & (truth <= high)).float().mean())


def captum(model: assay.Classifier, images: Tensor, targets: Tensor, labels: Tensor, segments: int) -> dict[str, Way]:
    """Captum's KernelShap."""
    from captum.attr import KernelShap

    def run(passes: int, seed: int) -> Tensor:
        torch.manual_seed(seed)
        method = KernelShap(lambda x: model.forward(x).detach())
        found = [
            method.attribute(one[None], target=int(target), feature_mask=label[None, None], n_samples=passes, perturbations_per_eval=50)
            for one, target, label in zip(images, targets, labels, strict=True)
        ]
        return by_segment(torch.cat(found)[:, :1], labels, segments)

    return {"Captum": run}


def shapiq(model: assay.Classifier, images: Tensor, targets: Tensor, labels: Tensor, segments: int) -> dict[str, Way]:
    """shapiq's approximators, where it is installed."""
    if importlib.util.find_spec("shapiq") is None:
        print("shapiq is not installed: left out", flush=True)  # noqa: T201
        return {}
    from shapiq import approximator as peers

    level = np.ones(segments + 1)
    made = {
        "shapiq KernelSHAP": lambda seed: peers.KernelSHAP(segments, pairing_trick=True, random_state=seed),
        "shapiq leverage": lambda seed: peers.KernelSHAP(segments, pairing_trick=True, sampling_weights=level, random_state=seed),
        "shapiq kADDSHAP": lambda seed: peers.kADDSHAP(segments, max_order=2, pairing_trick=True, random_state=seed),
    }
    if importlib.util.find_spec("lightgbm") is not None:
        made["shapiq ProxySPEX"] = lambda seed: peers.ProxySPEX(n=segments, index="SV", max_order=1, random_state=seed)
    else:
        print("lightgbm is not installed: ProxySPEX is left out", flush=True)  # noqa: T201

    def way(make: Callable[[int], object]) -> Way:
        def run(passes: int, seed: int) -> Tensor:
            rows = []
            for one, target, label in zip(images, targets, labels, strict=True):
                found = make(seed).approximate(budget=passes, game=Game(model, one, int(target), label))  # type: ignore[attr-defined]
                rows.append([float(found[(player,)]) for player in range(segments)])
            return torch.tensor(rows)

        return run

    return {name: way(make) for name, make in made.items()}


def main() -> None:
    """Print one row of a table for each number of passes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="hard-digits")
    parser.add_argument("--data", default="hard-digits")
    parser.add_argument("--segments", type=int, choices=list(GRIDS), default=12)
    parser.add_argument("--count", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--chosen", type=int, default=0, help="Decides which images.")
    parser.add_argument("--orders", type=int, default=400)
    parser.add_argument("--passes", type=int, nargs="+", default=[26, 50, 100, 200, 400])
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    model, data, grid = assay.load(args.network), load(args.data), GRIDS[args.segments]
    images = read(data, choose(data, args.count, args.chosen)).images
    targets, labels = model.predict(images), grid.labels(images)
    if args.segments == 12:
        truth = by_segment(assay.KernelShap(2**12, grid)(model, images, targets), labels, 12)
    else:
        half, other = (
            by_segment(assay.ShapleySampling(args.orders, grid)(model, images, targets, seed=1000 + seed), labels, args.segments)
            for seed in (0, 1)
        )
        truth = (half + other) / 2
        print(f"The truth's own error is about {error(half, other) / 2:.3f}.\n", flush=True)  # noqa: T201
    at = (model, images, targets)
    ways = ours(*at, grid, labels, args.segments) | captum(*at, labels, args.segments) | shapiq(*at, labels, args.segments)
    print("| passes | " + " | ".join(ways) + " | inside 95 % |\n|---|---" + "|---" * len(ways) + "|", flush=True)  # noqa: T201
    for passes in args.passes:
        cells = []
        for way in ways.values():
            try:
                cells.append(f"{np.mean([error(way(passes, seed), truth) for seed in range(args.seeds)]):.3f}")
            except Exception as wrong:  # A peer that cannot do with so few passes says so in its own way.
                cells.append(type(wrong).__name__)
        held = np.mean([inside(*at, grid, truth, passes, seed) for seed in range(args.seeds)])
        print(f"| {passes} | " + " | ".join(cells) + f" | {held:.3f} |", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
