"""Whether memory stays flat when SmoothGrad takes ten times the samples, on each network of `assay bench`: `python benchmarks/memory.py`.

Each figure is the highest resident memory of a process of its own. Fewer copies than fill a chunk would tell nothing, so 32 of each of two
images are the least at 224 pixels, and of sixteen at fewer.
"""

from __future__ import annotations

import argparse
import multiprocessing

import assay
from assay.bench.speed import NETWORKS, resident
from assay.data import HardDigits, choose, read

FEW = 32


def peak(network: str, samples: int) -> float:
    """Highest resident memory, in MiB, of this process as it explains."""
    side, make = NETWORKS[network]
    data = HardDigits(size=side)
    images = read(data, choose(data, 2 if side > 100 else 16, 0)).images
    model = assay.Classifier(make(0))
    return resident(lambda: assay.SmoothGrad(samples=samples)(model, images))[1]


def main() -> None:
    """Print a line for each network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=NETWORKS, nargs="+", default=list(NETWORKS))
    parser.add_argument("--times", type=int, default=10, help="How many times the samples.")
    given = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    for network in given.network:
        found = []
        for samples in (FEW, FEW * given.times):
            with context.Pool(1) as pool:
                found.append(pool.apply(peak, (network, samples)))
        few, many = found
        print(f"{network}: {few:.0f} MiB for {FEW} samples, {many:.0f} for {FEW * given.times}: {many / few:.3f} times", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
