"""What explaining and measuring cost, against the model's own passes and against peers, in one run."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import psutil
import torch
from torch import Tensor, nn

from assay.bench import peers
from assay.core.progress import Progress, silent
from assay.explain.base import Explainer
from assay.explain.gradient import Gradient
from assay.explain.superpixels.segments import Quickshift
from assay.measure.base import Measure
from assay.models.case import Case
from assay.models.classifier import Classifier, Passes
from assay.study.audit.standard import EXPLAINERS, MEASURES

__all__ = ["CHUNKS", "Bench", "Timing", "best_chunks", "resident", "resnet18", "time_all"]

CHUNKS = (8, 16, 32, 64, 128)
_SHARE = 256
"""Passes that a timing of the bare model takes at the most; its cost is proportional to their number."""


@dataclass(frozen=True)
class Spread:
    """Minimum, median and maximum over the repeats."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of `values`."""
        return cls(min(values), statistics.median(values), max(values))


@dataclass(frozen=True)
class _Job:
    """What is timed: ours at a precision, and the same by a peer where one has it."""

    name: str
    kind: str
    run: Callable[[str], Any]
    peer: Callable[[], Any] | None
    peer_name: str


@dataclass(frozen=True)
class Timing:
    """One explainer or measure.

    Attributes:
        name: Its class.
        kind: "explainer" or "measure".
        precision: What the network ran in.
        forward: Images that went forward.
        backward: Images that went backward.
        images_per_second: Images explained or scored, at the median time.
        to_limit: Wall time over the time of the passes alone at the best chunk size, repeat by repeat; None without passes.
        peak: Memory above what was taken before, in MiB.
        peer: Captum or Quantus, where it was run.
        faster: The peer's wall time over ours, repeat by repeat.
    """

    name: str
    kind: str
    precision: str
    forward: int
    backward: int
    images_per_second: float
    to_limit: Spread | None
    peak: float
    peer: str | None
    faster: Spread | None


@dataclass(frozen=True)
class Bench:
    """Rows, and the chunk sizes at which the bare model was fastest (forward, forward and backward)."""

    rows: tuple[Timing, ...]
    chunks: Mapping[str, tuple[int, int]]


def resnet18(classes: int = 10, seed: int = 0) -> nn.Module:
    """An untrained torchvision ResNet-18 with a CIFAR stem (3 x 3, no pooling)."""
    from torchvision.models import resnet18 as make

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net: nn.Module = make(num_classes=classes)
        net.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    net.maxpool = nn.Identity()
    return net.eval()


def time_all(
    net: nn.Module,
    images: Tensor,
    explainers: Sequence[Explainer] = EXPLAINERS,
    measures: Sequence[Measure] = MEASURES,
    repeats: int = 5,
    seed: int = 0,
    progress: Progress = silent,
) -> Bench:
    """Time everything side by side: the bare passes, ours in float32 and bfloat16, and the peer, in turn, `repeats` times.

    Args:
        net: The network; peers run it as it is.
        images: (N, C, H, W), pixels in [0, 1].
        explainers: What to time.
        measures: What to time, on the gradient's maps.
        repeats: How often.
        seed: Decides all randomness.
        progress: Called as work goes on.
    """
    models = {"float32": Classifier(net), "bfloat16": Classifier(net, precision="bfloat16")}
    best = {name: best_chunks(model, images) for name, model in models.items()}
    targets = models["float32"].predict(images)
    index = torch.arange(len(images))
    maps = Gradient()(models["float32"], images, targets)
    truth = torch.zeros(len(images), 1, *images.shape[2:], dtype=torch.bool)
    truth[:, :, : images.shape[2] // 2] = True
    cases = {name: Case(model, images, targets, index, seed, truth) for name, model in models.items()}
    captum = peers.captum(net, images, targets, Quickshift().labels(images))
    measured = {name: ("Quantus", job) for name, job in peers.quantus(net, images, targets, maps).items()}
    measured |= {name: ("Captum", job) for name, job in peers.captum_measures(net, images, targets, maps).items()}

    def explained(one: Explainer, precision: str) -> object:
        return one(models[precision], images, targets, seed=seed)

    def scored(one: Measure, precision: str) -> object:
        return one.compare(_fresh(cases[precision]), [maps], [Gradient()])

    rows: list[Timing] = []
    work: list[_Job] = []
    for one in explainers:
        name = type(one).__name__
        work.append(_Job(name, "explainer", partial(explained, one), captum.get(name), "Captum"))
    for rated in measures:
        name = type(rated).__name__
        peer_name, peer = measured.get(name, ("", None))
        work.append(_Job(name, "measure", partial(scored, rated), peer, peer_name))
    for place, job in enumerate(work):
        progress("bench", place, len(work))
        rows += _time(job, models, best, images, repeats)
    progress("bench", len(work), len(work))
    return Bench(tuple(rows), best)


def best_chunks(model: Classifier, images: Tensor) -> tuple[int, int]:
    """The chunk sizes at which the bare model is fastest: forward, and forward with backward."""
    found = []
    for backward in (False, True):
        seconds = {}
        for size in CHUNKS:
            _passes(model, images, 1, backward, size)
            seconds[size] = min(_passes(model, images, 2 * max(CHUNKS), backward, size) for _ in range(2))
        found.append(min(seconds, key=seconds.__getitem__))
    return found[0], found[1]


def _time(job: _Job, models: Mapping[str, Classifier], best: Mapping[str, tuple[int, int]], images: Tensor, repeats: int) -> list[Timing]:
    used: dict[str, Passes] = {}
    peaks: dict[str, float] = {}
    for precision, model in models.items():
        before = model.passes.copy()
        low, high = resident(partial(job.run, precision))
        peaks[precision] = high - low
        used[precision] = model.passes - before
    seconds: dict[str, list[float]] = {precision: [] for precision in models}
    limits: dict[str, list[float]] = {precision: [] for precision in models}
    theirs: list[float] = []
    for _ in range(repeats):
        for precision, model in models.items():
            # The limit is taken before and after, so that a machine that changes its speed weighs on both alike.
            first = _limit(model, used[precision], best[precision], images)
            seconds[precision].append(_clock(partial(job.run, precision)))
            limits[precision].append((first + _limit(model, used[precision], best[precision], images)) / 2)
        if job.peer is not None:
            theirs.append(_clock(job.peer))
    return [
        Timing(
            name=job.name,
            kind=job.kind,
            precision=precision,
            forward=used[precision].forward,
            backward=used[precision].backward,
            images_per_second=len(images) / statistics.median(seconds[precision]),
            to_limit=(
                Spread.of([ours / least for ours, least in zip(seconds[precision], limits[precision], strict=True)])
                if used[precision].forward
                else None
            ),
            peak=peaks[precision],
            peer=job.peer_name if theirs else None,
            faster=Spread.of([t / ours for t, ours in zip(theirs, seconds[precision], strict=True)]) if theirs else None,
        )
        for precision in models
    ]


def _limit(model: Classifier, used: Passes, best: tuple[int, int], images: Tensor) -> float:
    """Seconds that the passes alone take at the best chunk sizes."""
    total = 0.0
    for passes, backward, size in ((used.forward - used.backward, False, best[0]), (used.backward, True, best[1])):
        if passes:
            run = min(passes, max(_SHARE, size))
            total += _passes(model, images, run, backward, size) * passes / run
    return total


def _passes(model: Classifier, images: Tensor, passes: int, backward: bool, size: int) -> float:
    """Seconds for that many passes of the bare model in chunks of `size`, inputs made beforehand."""
    inputs = images.repeat(-(-min(size, passes) // len(images)), 1, 1, 1)[: min(size, passes)]
    started = time.perf_counter()
    with model.passes.uncounted():
        for start in range(0, passes, size):
            chunk = inputs[: passes - start]
            if backward:
                pixels = chunk.detach().requires_grad_()
                torch.autograd.grad(model.forward(pixels)[:, 0].sum(), pixels)
            else:
                with torch.no_grad():
                    model.forward(chunk)
    return time.perf_counter() - started


def _clock(job: Callable[[], Any]) -> float:
    started = time.perf_counter()
    job()
    return time.perf_counter() - started


def resident(job: Callable[[], Any]) -> tuple[float, float]:
    """Resident memory of this process before `job` and at its highest while it runs, in MiB; sampled every 2 ms.

    The system's own high-water mark will not do: Linux hands it on to new processes.
    """
    process = psutil.Process()
    before = highest = process.memory_info().rss
    done = threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.002):
            highest = max(highest, process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        job()
    finally:
        done.set()
        watcher.join()
    return before / 2**20, max(highest, process.memory_info().rss) / 2**20


def _fresh(case: Case) -> Case:
    """The case without its kept passes, so that every timing pays for them."""
    return replace(case, outputs=None)
