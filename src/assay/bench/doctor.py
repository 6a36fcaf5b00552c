"""What this machine has and what it is good for, and known answers that an installation must give."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import torch

from assay.core.environment import code, machine
from assay.core.precision import settled
from assay.core.progress import Progress, silent
from assay.data import CIFAR10, CelebA, ChestXray, HardMNIST, load, read
from assay.data.root import VARIABLE
from assay.errors import DataError
from assay.explain.controls import RandomMap
from assay.explain.gradient import Gradient
from assay.explain.path import IntegratedGradients
from assay.measure.localisation import MaskIoU
from assay.measure.perturbation import Deletion
from assay.models.sources.checkpoint import load as shipped
from assay.models.training.training import pick_device

__all__ = ["KnownAnswer", "examine", "self_test"]

_PACKAGES = ("torch", "torchvision", "timm", "numpy", "polars", "scikit-image", "matplotlib")
_EXTRAS = ("captum", "zennit", "grad-cam", "pydicom", "ray", "gradio", "transformers", "pandas", "xarray")
_IMAGES = 16


@dataclass(frozen=True)
class KnownAnswer:
    """One known answer: whether it came out, and what was measured."""

    name: str
    passed: bool
    told: str


def examine(device: str | None = None) -> dict[str, Mapping[str, str]]:
    """Versions, the machine, data sets: titles of tables with their lines.

    Args:
        device: As on the command line; a GPU when there is one.

    Raises:
        AssayError: There is no such device.
    """
    place = pick_device(device)
    fast = settled("auto", place)
    pays = "bfloat16: this device has instructions for it" if fast == "bfloat16" else "float32: this device would emulate bfloat16"
    return {
        "Versions": code() | {name: _version(name) or "MISSING" for name in _PACKAGES},
        "Extras": {name: _version(name) or "not installed" for name in _EXTRAS},
        "Machine": machine(place) | {"precision that pays": pays},
        "Data": {VARIABLE: os.environ.get(VARIABLE) or "not set", "hard-digits": "built in", **_sets()},
    }


def self_test(device: str | None = None, progress: Progress = silent) -> tuple[KnownAnswer, ...]:
    """Known answers on the shipped Hard Digits network, some 10 s on two cores.

    Args:
        device: Where.
        progress: Told after each test.
    """
    batch = read(load("hard-digits"), range(_IMAGES))
    model, images, labels = shipped("hard-digits", device=pick_device(device)), batch.images, batch.labels
    assert labels is not None
    maps = Gradient()(model, images)

    def right() -> KnownAnswer:
        share = float((model.predict(images).cpu() == labels).float().mean())
        return KnownAnswer("the shipped network knows its digits", share > 0.9, f"{share:.0%} of {_IMAGES} right, more than 90% expected")

    def alone() -> KnownAnswer:
        apart = float((Gradient()(model, images[3:4]) - maps[3:4]).abs().max() / maps[3].abs().max())
        return KnownAnswer(
            "an image's map does not depend on its company", apart < 1e-4, f"relative difference {apart:.1e}, below 1e-4 expected"
        )

    def complete() -> KnownAnswer:
        some, targets = images[:4], model.predict(images[:4])
        sums = IntegratedGradients(steps=100, complete=False)(model, some, targets).flatten(1).sum(1)
        logits = model.logits(some) - model.logits(torch.zeros_like(some))
        wanted = logits.gather(1, targets[:, None])[:, 0]
        gap = float((sums - wanted).abs().max() / wanted.abs().max())
        return KnownAnswer("integrated gradients add up to the logit", gap < 0.1, f"relative gap {gap:.1e}, below 1e-1 expected")

    def finds() -> KnownAnswer:
        scores = [
            float(MaskIoU(order="magnitude")(model, images, one, truth=batch.truth).mean()) for one in (maps, RandomMap()(model, images))
        ]
        return KnownAnswer(
            "gradients find the digit, noise does not", scores[0] > 2 * scores[1], f"MaskIoU {scores[0]:.2f}, of noise {scores[1]:.2f}"
        )

    def deletes() -> KnownAnswer:
        scores = [float(Deletion()(model, images, one).mean()) for one in (maps, RandomMap()(model, images))]
        return KnownAnswer(
            "deleting what gradients name hurts more", scores[0] < scores[1], f"Deletion {scores[0]:.3f}, of noise {scores[1]:.3f}"
        )

    tests: tuple[Callable[[], KnownAnswer], ...] = (right, alone, complete, finds, deletes)
    found: list[KnownAnswer] = []
    for test in tests:
        start = time.perf_counter()
        one = test()
        found.append(KnownAnswer(one.name, one.passed, f"{one.told} ({time.perf_counter() - start:.1f} s)"))
        progress("self-test", len(found), len(tests))
    return tuple(found)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _sets() -> dict[str, str]:
    """Where each data set of the catalogue lies, or that it is not there."""
    found = {}
    for kind in (CIFAR10, HardMNIST, ChestXray, CelebA):
        try:
            found[str(kind.name)] = f"{len(kind('test')):,} test images"
        except (DataError, OSError) as error:
            found[str(kind.name)] = f"not found: {str(error).partition(':')[0]}"
    return found
