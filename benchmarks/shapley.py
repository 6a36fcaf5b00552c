"""Error of Shapley values against passes, for each estimator and for Captum's KernelShap, on shipped networks.

Run as `python benchmarks/shapley.py --data hard-digits --network hard-digits`. Exact values come from all 2^12 coalitions of a grid of
3 x 4; an error is the norm of the difference over the norm of the exact values, averaged over images and seeds.
"""

from __future__ import annotations

import argparse
import warnings

import torch
from torch import Tensor

import assay
from assay.data import choose, load, read

GRID = assay.Grid(3, 4)


def error(maps: Tensor, exact: Tensor) -> float:
    """Mean relative error of maps (N, 1, H, W)."""
    return float(((maps - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)).mean())


def peer(model: assay.Classifier, images: Tensor, targets: Tensor, passes: int) -> Tensor:
    """Captum's KernelShap in as many passes."""
    from captum.attr import KernelShap

    labels = GRID.labels(images)
    method = KernelShap(lambda x: model.forward(x).detach())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [
            method.attribute(
                images[i : i + 1], target=int(targets[i]), feature_mask=labels[i : i + 1, None], n_samples=passes, perturbations_per_eval=50
            )
            for i in range(len(images))
        ]
    return torch.cat(found)[:, :1]


def main() -> None:
    """Print one row of a table for each number of passes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="hard-digits")
    parser.add_argument("--data", default="hard-digits")
    parser.add_argument("--count", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--passes", type=int, nargs="+", default=[26, 50, 100, 200, 400])
    args = parser.parse_args()
    model, data = assay.load(args.network), load(args.data)
    images = read(data, choose(data, args.count, 0)).images
    targets = model.predict(images)
    exact = assay.KernelShap(2**12, GRID)(model, images, targets)
    print("| passes | auto | process | regression | Captum | inside 95 % |\n|---|---|---|---|---|---|")  # noqa: T201
    for passes in args.passes:
        rows: dict[str, list[float]] = {name: [] for name in ("auto", "process", "regression", "Captum", "inside")}
        for seed in range(args.seeds):
            for name in ("auto", "process", "regression"):
                explainer = assay.KernelShap(passes, GRID, estimator=name)  # type: ignore[arg-type]
                found = explainer.posterior(model, images, targets, seed=seed)
                rows[name].append(error(found.maps, exact))
                if name == "auto":
                    low, high = found.interval()
                    truth = torch.stack([exact[:, 0][found.labels == k].view(len(images), -1)[:, 0] for k in range(12)], 1)
                    rows["inside"].append(float(((low <= truth) & (truth <= high)).float().mean()))
            torch.manual_seed(seed)
            rows["Captum"].append(error(peer(model, images, targets, passes), exact))
        print(f"| {passes} | " + " | ".join(f"{sum(row) / len(row):.3f}" for row in rows.values()) + " |", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
