"""Error against passes of Shapley values, deletion and infidelity, drawn: `python benchmarks/passes.py` writes docs/images/passes.svg.

Truth is what the same quantity comes to with very many passes: all 2^12 coalitions of a grid of 3 x 4, a curve of 256 equal parts, 2000
antithetic changes. An error is the root of the mean square over images, maps and seeds, relative to the truth's (Shapley values: of the
norm of an image's values). CIFAR-10 is found by the environment variable ASSAY_DATA.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import assay
from assay.data import choose, load, read
from assay.explain.superpixels.posterior import Estimator
from assay.measure.curves import Placing

GRID = assay.Grid(3, 4)
MAPS = (assay.Gradient(), assay.IntegratedGradients(steps=8), assay.RandomMap())
NETWORKS = (("cifar10", "resnet-cifar10"), ("hard-digits", "hard-digits"))
Lines = dict[str, list[tuple[int, float]]]


def far(found: Tensor, truth: Tensor) -> float:
    """Root of the mean square of the difference, relative to that of the truth."""
    return float((found - truth).square().mean().sqrt() / truth.square().mean().sqrt())


def shapley(model: assay.Classifier, images: Tensor, seeds: int) -> Lines:
    """KernelShap by each of its estimators, and sampled orders."""
    exact = assay.KernelShap(2**12, GRID)(model, images)
    lines: Lines = {}
    for passes in (26, 50, 100, 200, 400):
        estimators: tuple[Estimator, ...] = ("auto", "process", "regression")
        ways: dict[str, assay.Explainer] = {name: assay.KernelShap(passes, GRID, estimator=name) for name in estimators}
        ways |= {"sampled orders": assay.ShapleySampling(max(1, (passes - 1) // 11), GRID)}
        for name, way in ways.items():
            errors = [
                ((way(model, images, seed=seed) - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)).mean()
                for seed in range(seeds)
            ]
            lines.setdefault(name, []).append((passes, float(torch.stack(errors).mean())))
    return lines


def deletion(model: assay.Classifier, images: Tensor, _seeds: int) -> Lines:
    """Cuts where the curve moves, and equal ones."""
    maps = [one(model, images) for one in MAPS]

    def area(steps: int, cuts: Placing) -> Tensor:
        return torch.stack([assay.Deletion(steps, cuts=cuts)(model, images, one) for one in maps])

    truth = area(256, "equal")
    ways: tuple[Placing, ...] = ("moving", "equal")
    return {f"{cuts} cuts": [(steps, far(area(steps, cuts), truth)) for steps in (8, 16, 32, 64)] for cuts in ways}


def infidelity(model: assay.Classifier, images: Tensor, seeds: int) -> Lines:
    """Antithetic and independent changes, scaled and relative as in an audit; the error is of the share that the map explains."""
    maps = [one(model, images) for one in MAPS[:2]]

    def share(samples: int, antithetic: bool, seed: int) -> Tensor:
        measure = assay.Infidelity(samples=samples, scaled=True, relative=True, antithetic=antithetic)
        return 1 - torch.stack([measure(model, images, one, seed=seed) for one in maps])

    truth = share(2000, True, seeds)
    return {
        name: [
            (samples, far(torch.stack([share(samples, way, seed) for seed in range(seeds)]), truth.expand(seeds, -1, -1)))
            for samples in (16, 32, 64, 128)
        ]
        for name, way in (("antithetic", True), ("independent", False))
    }


def main() -> None:
    """Draw, and print what is drawn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("docs/images/passes.svg"))
    args = parser.parse_args()
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "assay"
    from matplotlib import pyplot as plt

    asked: dict[str, Callable[[assay.Classifier, Tensor, int], Lines]] = {
        "Shapley values": shapley,
        "Deletion": deletion,
        "Infidelity": infidelity,
    }
    figure, axes = plt.subplots(len(NETWORKS), len(asked), figsize=(11, 6), layout="constrained")
    for row, (data, network) in zip(axes, NETWORKS, strict=True):
        model, held = assay.load(network), load(data)
        images = read(held, choose(held, args.count, 0)).images
        for axis, (what, work) in zip(row, asked.items(), strict=True):
            for name, points in work(model, images, args.seeds).items():
                axis.loglog(*zip(*points, strict=True), marker="o", markersize=3, label=name)
                told = ", ".join(f"{error:.3g} at {passes}" for passes, error in points)
                print(f"{network}, {what}, {name}: {told}", flush=True)  # noqa: T201
            axis.set_title(f"{what}, {network}", fontsize=9)
            axis.set_xlabel("passes", fontsize=8)
            # What was run stands at the axis, and plain numbers, where a logarithmic axis has powers of ten that run into each other.
            axis.set_xticks([passes for passes, _ in points], labels=[str(passes) for passes, _ in points], fontsize=8)
            axis.yaxis.set_major_formatter("{x:g}")
            axis.minorticks_off()
            axis.tick_params(axis="y", labelsize=8)
            axis.legend(fontsize=7, frameon=False)
        row[0].set_ylabel("relative error", fontsize=8)
    figure.savefig(args.out, metadata={"Date": None})


if __name__ == "__main__":
    main()
