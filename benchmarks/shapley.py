"""Error of Shapley values against passes: our estimators, Captum's KernelShap and shapiq's approximators, on shipped networks.

Run as `python benchmarks/shapley.py --network hard-digits --segments 25`; shapiq is taken where it is installed (`pip install shapiq lightgbm`).
An error is the norm of the difference over the norm of the true values, averaged over images and seeds. The truth of 12 segments is all
2^12 coalitions, of more segments `ShapleySampling` of `--orders` orders; half of them against the other half tells its own error.
Each approximator is given what its authors advise (`assay.bench.shapley_peers`).
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
from torch import Tensor

import assay
from assay.bench.shapley_peers import Way, by_segment, captum_shapley, missing, relative_error, shapiq_shapley
from assay.data import choose, load, read

GRIDS = {12: assay.Grid(3, 4), 25: assay.Grid(5, 5), 49: assay.Grid(7, 7)}


def ours(model: assay.Classifier, images: Tensor, targets: Tensor, grid: assay.Grid, labels: Tensor) -> dict[str, Way]:
    """KernelShap by each of its estimators."""

    def way(name: str) -> Way:
        def run(passes: int, seed: int) -> Tensor:
            explainer = assay.KernelShap(passes, grid, estimator=name)  # type: ignore[arg-type]
            return by_segment(explainer(model, images, targets, seed=seed), labels)

        return run

    return {name: way(name) for name in ("auto", "process", "regression")}


def inside(model: assay.Classifier, images: Tensor, targets: Tensor, grid: assay.Grid, truth: Tensor, passes: int, seed: int) -> float:
    """Share of the segments whose true value is inside the 95 % interval of our default estimator."""
    low, high = assay.KernelShap(passes, grid).posterior(model, images, targets, seed=seed).interval()
    return float(((low <= truth) & (truth <= high)).float().mean())


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
    for name in missing():
        print(f"{name} is not installed: left out\n", flush=True)  # noqa: T201
    model, data, grid = assay.load(args.network), load(args.data), GRIDS[args.segments]
    images = read(data, choose(data, args.count, args.chosen)).images
    targets, labels = model.predict(images), grid.labels(images)
    if args.segments == 12:
        truth = by_segment(assay.KernelShap(2**12, grid)(model, images, targets), labels)
    else:
        half, other = (
            by_segment(assay.ShapleySampling(args.orders, grid)(model, images, targets, seed=1000 + seed), labels) for seed in (0, 1)
        )
        truth = (half + other) / 2
        print(f"The truth's own error is about {relative_error(half, other) / 2:.3f}.\n", flush=True)  # noqa: T201
    at = (model, images, targets)
    ways = ours(*at, grid, labels) | captum_shapley(*at, labels) | {f"shapiq {name}": way for name, way in shapiq_shapley(*at, labels).items()}
    print("| passes | " + " | ".join(ways) + " | inside 95 % |\n|---|---" + "|---" * len(ways) + "|", flush=True)  # noqa: T201
    for passes in args.passes:
        cells = []
        for way in ways.values():
            try:
                cells.append(f"{np.mean([relative_error(way(passes, seed), truth) for seed in range(args.seeds)]):.3f}")
            except Exception as wrong:  # A peer that cannot do with so few passes says so in its own way.
                cells.append(type(wrong).__name__)
        held = np.mean([inside(*at, grid, truth, passes, seed) for seed in range(args.seeds)])
        print(f"| {passes} | " + " | ".join(cells) + f" | {held:.3f} |", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
