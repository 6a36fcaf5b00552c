"""What MapAttack on Gradient costs beyond its own passes: `python benchmarks/attack_cost.py CHECKPOINT [IMAGES] [STEPS]`.

The same number of forward and double-backward passes on the same softplus copy, and of judgements on the model, is timed bare, in turns
with the attack, and the ratio of processor times printed for both norms.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable

import torch

import assay
from assay.attack.forms.softened import Softened

ROUNDS = 3
JUDGEMENTS = 2
"""Those of the beginning, beside one in ten steps and the clean image's."""


def clock(work: Callable[[], object]) -> float:
    """Seconds of processor time."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def bare(model: assay.Classifier, images: torch.Tensor, targets: torch.Tensor, steps: int, judgements: int) -> None:
    """The attack's passes and nothing else."""
    soft = Softened(model, 10.0)

    def step(start: int, stop: int) -> None:
        pixels = images[start:stop].clone().requires_grad_()
        _, slopes = soft.slopes(pixels, targets[start:stop])
        torch.autograd.grad(slopes.sum(), pixels)

    for _ in range(steps):
        soft.run_groups(len(images), 1, images.shape[1:], step)
    for _ in range(judgements):
        model.unchecked_logits(images)
        assay.Gradient()(model, images, targets)


def main(checkpoint: str, count: int = 64, steps: int = 20) -> None:
    """Print the ratio for each norm."""
    model = assay.load(checkpoint)
    images = torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    targets = model.predict(images)
    for norm, eps in (("linf", 8 / 255), ("l2", 0.5)):
        attack = assay.MapAttack(eps, norm, steps)
        pairs = []
        for turn in range(ROUNDS + 1):
            own = clock(functools.partial(bare, model, images, targets, steps + 1, JUDGEMENTS + steps // attack.judge_every + 1))
            whole = clock(functools.partial(attack, model, assay.Gradient(), images, targets))
            if turn:  # The first warms up.
                pairs.append((whole, own))
        ratios = sorted(whole / own for whole, own in pairs)
        print(f"{norm}: {ratios[len(ratios) // 2]:.3f} of its own passes ({ratios[0]:.3f} to {ratios[-1]:.3f}), {pairs[0][0]:.1f} s")  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
