"""Whether 16 bits bear local Lipschitz constants: the same constants in float32 and bfloat16, per network and explainer.

python benchmarks/sixteen.py [IMAGES] [DRAWS]
"""

from __future__ import annotations

import sys

import assay
from assay.core.registry import short
from assay.data.known.cifar10 import CIFAR10
from assay.study.audit.standard import PAPER_EXPLAINERS


def main(images: int, draws: int) -> None:
    """Print a line for each network and explainer."""
    data = CIFAR10()
    batch = assay.data.read(data, assay.data.choose(data, images, 0))
    measure = assay.LocalLipschitz(draws=draws, sigma=0.03)
    print(f"{images} images, {draws} draws: mean constant in float32, in bfloat16, largest change of an image's constant")
    for name in ("resnet-cifar10", "resnet-cifar10-linf"):
        models = [assay.model(name, precision=one, output="probability") for one in ("float32", "bfloat16")]
        targets = models[0].predict(batch.images)
        for explainer in PAPER_EXPLAINERS:
            found = []
            for model in models:
                maps = explainer(model, batch.images, targets, index=batch.index)
                found.append(measure(model, batch.images, maps, targets, explainer=explainer, index=batch.index))
            change = ((found[1] - found[0]).abs() / found[0]).max()
            print(f"{name} {short(explainer)}: {found[0].mean():.4f} {found[1].mean():.4f} {change:.1%}", flush=True)


if __name__ == "__main__":
    given = [int(one) for one in sys.argv[1:]]
    main(*given, *(4, 8)[len(given) :])
