"""What explaining and measuring cost, against the model's own passes and against peers, in one run."""

from __future__ import annotations

import copy
import statistics
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import psutil
import torch
from torch import Tensor, nn

from assay.bench.peers import Peer, PeerInput, peers
from assay.bench.timings import Bench, Gain, Ratio, Seconds, Timing
from assay.core.precision import DTYPES, Precision, settled
from assay.core.progress import Progress, silent
from assay.errors import AssayError
from assay.explain.base import Explainer
from assay.explain.features.cam import GradCAM, GradCAMpp, LayerCAM, layer_for
from assay.explain.features.guided import GuidedBackprop
from assay.explain.gradient import Gradient
from assay.explain.occlusion import Occlusion
from assay.explain.superpixels.segments import Superpixels
from assay.measure.base import Measure
from assay.measure.contribution import MarginalContribution
from assay.measure.road import Road
from assay.measure.robustness import LocalLipschitz
from assay.measure.sanity import RandomTarget
from assay.models.case import Case
from assay.models.classifier import Classifier, Passes
from assay.models.sources.checkpoint import load
from assay.study.audit.standard import EXPLAINERS, MEASURES

__all__ = [
    "NETWORKS",
    "TIMED_EXPLAINERS",
    "TIMED_MEASURES",
    "best_chunks",
    "resident",
    "resnet18",
    "time_all",
]

TIMED_EXPLAINERS: tuple[Explainer, ...] = (*EXPLAINERS, Occlusion(), GradCAM(), GradCAMpp(), LayerCAM(), GuidedBackprop())
TIMED_MEASURES: tuple[Measure, ...] = (*MEASURES, LocalLipschitz(), Road(), MarginalContribution(), RandomTarget())
_CHUNKS, _PIXELS = (2, 4, 8, 16, 32, 64, 128), 2**20
"""Chunk sizes that are tried, and the most pixels of one chunk."""
_SHARE = 256
"""Passes that a timing of the bare model takes at the most; its cost is proportional to their number."""


@dataclass(frozen=True)
class _Job:
    """What is timed: ours at a precision, and the same by peers."""

    name: str
    kind: str
    run: Callable[[Precision], Any]
    peers: tuple[Peer, ...]


def resnet18(classes: int = 10, seed: int = 0) -> nn.Module:
    """An untrained torchvision ResNet-18 with a CIFAR stem (3 x 3, no pooling)."""
    from torchvision.models import resnet18 as make

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net: nn.Module = make(num_classes=classes)
        net.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    net.maxpool = nn.Identity()
    return net.eval()


def _untrained(name: str, seed: int) -> nn.Module:
    import timm

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return timm.create_model(name, pretrained=False, num_classes=1000).eval()


NETWORKS: dict[str, tuple[int, Callable[[int], nn.Module]]] = {
    "resnet18": (32, lambda seed: resnet18(seed=seed)),
    "hard-digits": (64, lambda _: load("hard-digits").module.requires_grad_(True)),  # As a network is that nobody froze.
    "resnet50": (224, partial(_untrained, "resnet50")),
    "vit-tiny": (224, partial(_untrained, "vit_tiny_patch16_224")),
}
"""What can be timed: the side of the images, and the network by a seed; all but the demo's, hard-digits, are untrained."""


def time_all(
    network: str,
    net: nn.Module,
    images: Tensor,
    explainers: Sequence[Explainer] = TIMED_EXPLAINERS,
    measures: Sequence[Measure] = TIMED_MEASURES,
    repeats: int = 5,
    seed: int = 0,
    progress: Progress = silent,
) -> Bench:
    """Time everything side by side: the bare passes, ours in float32 and bfloat16, and peers, in turn, `repeats` times.

    Peers run the network as it is: with their defaults, and with the arguments that make them fastest, these also in bfloat16.
    Where the device has no instructions for bfloat16, nothing is timed in it.

    Args:
        network: What it is called.
        net: The network.
        images: (N, C, H, W), pixels in [0, 1].
        explainers: What to time.
        measures: What to time, on the gradient's maps.
        repeats: How often.
        seed: Decides all randomness.
        progress: Called as work goes on.
    """
    models = {precision: Classifier(net, precision=precision) for precision in _precisions(images)}
    best = {name: best_chunks(model, images) for name, model in models.items()}
    targets = models["float32"].predict(images)
    index = torch.arange(len(images))
    maps = Gradient()(models["float32"], images, targets)
    truth = torch.zeros(len(images), 1, *images.shape[2:], dtype=torch.bool)
    truth[:, :, : images.shape[2] // 2] = True
    cases = {name: Case(model, images, targets, index, seed, truth) for name, model in models.items()}
    rivals = _rivals(
        net, PeerInput(net, images, targets, Superpixels().labels(images), maps, _layer(models["float32"], images), "float32", None), best
    )

    def explained(one: Explainer, precision: Precision) -> object:
        return one(models[precision], images, targets, seed=seed)

    def scored(one: Measure, precision: Precision) -> object:
        return one.compare(_fresh(cases[precision]), [maps], [Gradient()])

    jobs = [(type(one).__name__, "explainer", partial(explained, one)) for one in explainers]
    jobs += [(type(one).__name__, "measure", partial(scored, one)) for one in measures]
    rows: list[Timing] = []
    left_out = {} if "bfloat16" in models else {"bfloat16": "this processor has no instructions for it, and emulates it many times slower"}
    for place, (name, kind, run) in enumerate(jobs):
        progress(f"bench {network}", place, len(jobs))
        sound = []
        for peer in rivals.get(name, ()):
            failed = _failure(peer)
            if failed:
                left_out[f"{peer.library}'s {name} in {peer.precision}, {peer.settings} settings"] = failed
            else:
                sound.append(peer)
        try:
            rows += _time(_Job(name, kind, run, tuple(sound)), models, best, images, repeats)
        except AssayError as error:
            left_out[name] = str(error)
    progress(f"bench {network}", len(jobs), len(jobs))
    return Bench(network, (images.shape[2], images.shape[3]), len(images), tuple(rows), best, left_out)


def _precisions(images: Tensor) -> tuple[Precision, ...]:
    """Those that the images' device computes in by itself."""
    return ("float32", "bfloat16") if settled("auto", images.device) == "bfloat16" else ("float32",)


def _layer(model: Classifier, images: Tensor) -> str:
    """The layer that GradCAM takes; nothing where there is none."""
    try:
        return layer_for(model, images.shape[1:])
    except AssayError:
        return ""


def _rivals(net: nn.Module, given: PeerInput, best: Mapping[Precision, tuple[int, int]]) -> dict[str, list[Peer]]:
    """Peers with their defaults, and at their best in both precisions."""
    found: dict[str, list[Peer]] = {}
    inputs = [given]
    for precision in best:
        dtype, chunk = DTYPES[precision], best[precision][0]
        layout = min((torch.contiguous_format, torch.channels_last), key=lambda one: _plain_seconds(net, given.images, chunk, dtype, one))
        inputs.append(
            replace(
                given,
                net=_as(net, dtype, layout),
                images=given.images.to(dtype, memory_format=layout),
                precision=precision,
                chunks=best[precision],
            )
        )
    for one in inputs:
        for name, jobs in peers(one).items():
            found.setdefault(name, []).extend(jobs)
    return found


def _as(net: nn.Module, dtype: torch.dtype, layout: torch.memory_format) -> nn.Module:
    copied = copy.deepcopy(net).to(dtype).requires_grad_(False)  # Which spares peers graphs of the weights.
    return copied.to(memory_format=layout)


def _plain_seconds(net: nn.Module, images: Tensor, chunk: int, dtype: torch.dtype, layout: torch.memory_format) -> float:
    """Seconds that a chunk takes in the plain network, in this format and layout; the better of two tries after a first."""
    run = _as(net, dtype, layout)
    batch = images.repeat(-(-chunk // len(images)), 1, 1, 1)[:chunk].to(dtype, memory_format=layout)
    with torch.no_grad():
        return min([_clock(partial(run, batch)).cpu for _ in range(3)][1:])


def _failure(peer: Peer) -> str:
    """Why a peer cannot do it, if it cannot; whatever it raises."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            peer.run()
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]
    return ""


def best_chunks(model: Classifier, images: Tensor) -> tuple[int, int]:
    """The chunk sizes at which the bare model is fastest: forward, and forward with backward."""
    area = images.shape[2] * images.shape[3]
    sizes = [size for size in _CHUNKS if size * area <= _PIXELS] or [1]
    found = []
    for backward in (False, True):
        seconds = {}
        for size in sizes:
            _passes(model, images, 1, backward, size)
            seconds[size] = min(_passes(model, images, max(sizes), backward, size).cpu for _ in range(2))
        found.append(min(seconds, key=seconds.__getitem__))
    return found[0], found[1]


def _time(
    job: _Job, models: Mapping[Precision, Classifier], best: Mapping[Precision, tuple[int, int]], images: Tensor, repeats: int
) -> list[Timing]:
    used: dict[Precision, Passes] = {}
    peaks: dict[Precision, float] = {}
    for precision, model in models.items():
        before = model.passes.copy()
        low, high = resident(partial(job.run, precision))
        peaks[precision] = high - low
        used[precision] = model.passes - before
    ours: dict[Precision, list[Seconds]] = {precision: [] for precision in models}
    limits: dict[Precision, list[Seconds]] = {precision: [] for precision in models}
    theirs: list[list[Seconds]] = [[] for _ in job.peers]
    for _ in range(repeats):
        for precision, model in models.items():
            # The limit is taken before and after, so that a machine that changes its speed weighs on both alike.
            first = _limit(model, used[precision], best[precision], images)
            ours[precision].append(_clock(partial(job.run, precision)))
            last = _limit(model, used[precision], best[precision], images)
            limits[precision].append(Seconds((first.wall + last.wall) / 2, (first.cpu + last.cpu) / 2))
        for peer, times in zip(job.peers, theirs, strict=True):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                times.append(_clock(peer.run))
    return [
        Timing(
            name=job.name,
            kind=job.kind,
            precision=precision,
            forward=used[precision].forward,
            backward=used[precision].backward,
            images_per_second=len(images) / statistics.median(one.wall for one in ours[precision]),
            to_limit=Ratio.of(ours[precision], limits[precision]) if used[precision].forward else None,
            peak=peaks[precision],
            gains=tuple(
                Gain(peer.library, peer.settings, peer.precision, Ratio.of(times, ours[precision]))
                for peer, times in zip(job.peers, theirs, strict=True)
            ),
        )
        for precision in models
    ]


def _limit(model: Classifier, used: Passes, best: tuple[int, int], images: Tensor) -> Seconds:
    """What the passes alone take at the best chunk sizes."""
    wall = cpu = 0.0
    for passes, backward, size in ((used.forward - used.backward, False, best[0]), (used.backward, True, best[1])):
        if passes:
            run = min(passes, max(_SHARE, size))
            found = _passes(model, images, run, backward, size)
            wall, cpu = wall + found.wall * passes / run, cpu + found.cpu * passes / run
    return Seconds(wall, cpu)


def _passes(model: Classifier, images: Tensor, passes: int, backward: bool, size: int) -> Seconds:
    """What that many passes of the bare model take in chunks of `size`, inputs made beforehand."""
    inputs = images.repeat(-(-min(size, passes) // len(images)), 1, 1, 1)[: min(size, passes)]

    def run() -> None:
        for start in range(0, passes, size):
            chunk = inputs[: passes - start]
            if backward:
                pixels = chunk.detach().requires_grad_()
                torch.autograd.grad(model.forward(pixels)[:, 0].sum(), pixels)
            else:
                with torch.no_grad():
                    model.forward(chunk)

    with model.passes.uncounted():
        return _clock(run)


def _clock(job: Callable[[], Any]) -> Seconds:
    wall, cpu = time.perf_counter(), time.process_time()
    job()
    return Seconds(time.perf_counter() - wall, time.process_time() - cpu)


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
