"""Where the time goes in the rows of `assay bench` that miss a target: the operators of the network, and all the rest.

python benchmarks/where.py [NAME ...]
"""

from __future__ import annotations

import sys
from collections import Counter
from functools import partial

import torch
from torch.profiler import ProfilerActivity, profile

import assay
from assay.bench.speed import resnet18
from assay.explain.gradient import Gradient, GradientXInput
from assay.measure.linearity import Infidelity, LocalLinearError

JOBS = (
    ("Gradient", Gradient(), "float32"),
    ("GradientXInput", GradientXInput(), "float32"),
    ("Gradient", Gradient(), "bfloat16"),
    ("Infidelity", Infidelity(scaled=True, relative=True), "bfloat16"),
    ("LocalLinearError", LocalLinearError(scaled=True, relative=True), "bfloat16"),
)
NETWORK = ("conv", "addmm", "relu", "threshold", "mean", "batch_norm", "add_", "clamp_min")
"""What the bare passes run too, by parts of the operators' names."""


def main(wanted: list[str]) -> None:
    """Print each job's share of time in the network's operators and the five largest of the others."""
    images = torch.rand(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    net = resnet18()
    for name, job, precision in JOBS:
        if wanted and name not in wanted:
            continue
        model = assay.Classifier(net, precision=precision)
        targets = model.predict(images)
        maps = Gradient()(model, images, targets)

        if isinstance(job, Gradient | GradientXInput):
            run = partial(job, model, images, targets)
        else:
            run = partial(job, model, images, maps, targets)
        run()
        with profile(activities=[ProfilerActivity.CPU]) as found:
            for _ in range(5):
                run()
        spent: Counter[str] = Counter()
        for event in found.key_averages():
            spent[event.key] += event.self_cpu_time_total
        total = sum(spent.values())
        inside = sum(time for key, time in spent.items() if any(part in key for part in NETWORK))
        print(f"{name}, {precision}: {inside / total:.1%} of {total / 5e3:.1f} ms in the network's convolutions, products and activations")  # noqa: T201
        for key, time in spent.most_common(12):
            print(f"  {time / total:6.1%}  {key}")  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
