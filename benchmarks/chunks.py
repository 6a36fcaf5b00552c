"""What chunk sizes cost: time of a network's passes by the clock and of the processors, for several sizes in turn.

    python benchmarks/chunks.py --network hard-digits --images 960 --sizes 30 60 120 240 480 --threads 2
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from assay import Classifier
from assay.bench.speed import NETWORKS


def main() -> None:
    """Time them and print a line for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=NETWORKS, default="hard-digits")
    parser.add_argument("--images", type=int, default=960)
    parser.add_argument("--sizes", type=int, nargs="+", default=[30, 60, 120, 240, 480])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    side, make = NETWORKS[given.network]
    model = Classifier(make(0))
    pixels = torch.rand(given.images, 3, side, side, generator=torch.Generator().manual_seed(0))
    model.try_on(pixels)
    for backward in (False, True):
        found: dict[int, list[tuple[float, float]]] = {size: [] for size in given.sizes}
        for _ in range(given.repeats):
            for size, times in found.items():
                times.append(timed(model, pixels, size, backward))
        for size, times in found.items():
            wall, processor = (statistics.median(one) for one in zip(*times, strict=True))
            print(f"{'back' if backward else 'forward'}, {size} at once: {wall:.2f} s by the clock, {processor:.2f} s of processor time", flush=True)


def timed(model: Classifier, pixels: torch.Tensor, size: int, backward: bool) -> tuple[float, float]:
    """Seconds of one go over all images, by the clock and of the processors."""
    clock, processor = time.perf_counter(), time.process_time()
    for chunk in pixels.split(size):
        if backward:
            leaf = chunk.detach().requires_grad_()
            torch.autograd.grad(model.forward(leaf)[:, 0].sum(), leaf)
        else:
            with torch.no_grad():
                model.forward(chunk)
    return time.perf_counter() - clock, time.process_time() - processor


if __name__ == "__main__":
    main()
