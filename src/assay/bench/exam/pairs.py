"""The pairs of model and data that the exam is held on, each with its candidates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import nn

from assay.bench.exam.candidates import CELLS, PATH, Candidate, blind, flawed, foreign, worth
from assay.bench.exam.small_networks import Cells, Colours, Linear, cell_values, coloured, exact_pixel_values, fitted_network, textures
from assay.data import choose, load, read
from assay.data.base import Batch, Dataset
from assay.data.truth.plant import plant
from assay.data.truth.plant_marks import Patch
from assay.explain.base import Explainer
from assay.explain.gradient import Gradient, GradientXInput
from assay.explain.occlusion import Occlusion
from assay.explain.superpixels.segments import Grid
from assay.explain.superpixels.surrogate import KernelShap
from assay.models.classifier import Classifier
from assay.models.nets.resnet import SmallResNet
from assay.models.randomised import randomised
from assay.models.sources import checkpoint

__all__ = ["IMAGES", "PAIRS", "ExamPair", "Seat"]

IMAGES = 64
"""Of each draw."""
_EXACT = KernelShap(samples=512, segments=Grid(rows=3, columns=3))
"""All coalitions of nine cells: Shapley values without error."""
_FEWER = KernelShap(samples=256, segments=Grid(rows=2, columns=4))
"""The same of eight, for networks whose passes cost."""
_OTHER = 99


@dataclass(frozen=True, eq=False)
class Seat:
    """What one draw of a pair is examined on."""

    model: Classifier
    batch: Batch
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True)
class ExamPair:
    """A model and data.

    Attributes:
        name: What tables call it.
        make: Gives the seat of a draw, by its number and the seed.
        draws: How many disjoint sets of images there are.
        needs_data: Whether it needs data from ASSAY_DATA.
    """

    name: str
    make: Callable[[int, int], Seat]
    draws: int = 1
    needs_data: bool = False


def _right(explainer: Explainer, name: str) -> Candidate:
    return Candidate(name, lambda call: call.of(explainer), right=True)


def _wrong(explainer: Explainer, name: str) -> Candidate:
    return Candidate(name, lambda call: call.of(explainer))


def _closed(net: nn.Module, other: nn.Module, batch: Batch, right: Sequence[Candidate]) -> Seat:
    model, stranger = Classifier(net), Classifier(other)
    candidates = [
        *right,
        _right(CELLS, "occlusion"),
        _right(PATH, "integrated gradients"),
        _right(GradientXInput(), "gradient x input"),
        _right(_EXACT, "exact Shapley values of nine cells"),
        *blind(),
        *flawed(CELLS, "occlusion"),
        *flawed(PATH, "integrated gradients"),
        foreign(CELLS, "occlusion", stranger, "another model"),
        foreign(PATH, "integrated gradients", stranger, "another model"),
    ]
    return Seat(model, batch, tuple(candidates))


def _linear(draw: int, seed: int) -> Seat:
    return _closed(Linear(seed=seed), Linear(seed=_OTHER + seed), textures(IMAGES, 2 * seed + draw), [exact_pixel_values()])


def _cells(draw: int, seed: int) -> Seat:
    found = _closed(Cells(seed=seed), Cells(seed=_OTHER + seed), textures(IMAGES, 2 * seed + draw), [cell_values()])
    # A product of two cells has no gradient that is right away from the image.
    return replace(found, candidates=tuple(one for one in found.candidates if one.short_name != "gradient x input"))


def _colours(draw: int, seed: int) -> Seat:
    net, batch = Colours(), coloured(IMAGES, 5, 2 * seed + draw)
    assert batch.truth is not None
    other = Colours()
    with torch.no_grad():
        other.weight.copy_(net.weight.roll(2, 0))
    return _closed(net, other, batch, [exact_pixel_values(), worth(batch.truth, batch.index)])


def _trained(model: Classifier, batch: Batch, others: Sequence[tuple[Classifier, str]]) -> Seat:
    """The candidates of a trained network, for which no Shapley values of pixels are known."""
    left_out = ("white noise", "constant", "shuffled occlusion", "texture of occlusion")
    candidates = [
        _right(CELLS, "occlusion"),
        _right(_FEWER, "exact Shapley values of eight cells"),
        *([] if batch.truth is None else [worth(batch.truth, batch.index)]),
        *(one for one in (*blind(), *flawed(CELLS, "occlusion")) if one.short_name not in left_out),
        *flawed(PATH, "integrated gradients", ("signs", "texture")),
        *(foreign(CELLS, "occlusion", other, what) for other, what in others),
        foreign(CELLS, "occlusion", randomised(model, "all", _OTHER), "the model with random weights"),
    ]
    return Seat(model, batch, tuple(candidates))


def _drawn(data: Dataset, draw: int, draws: int, seed: int) -> Batch:
    return read(data, choose(data, draws * IMAGES, seed)[draw * IMAGES : (draw + 1) * IMAGES])


def _digits(draw: int, seed: int) -> Seat:
    batch = _drawn(load("hard-digits"), draw, 1, seed)
    return _trained(checkpoint.load("hard-digits"), batch, [(_shortcut_model(seed), "a network that sees only a shortcut")])


def _shortcut_data(split: str) -> Dataset:
    return plant(load("hard-digits", split=split), distractor=Patch(side=10))


@cache
def _shortcut_model(seed: int) -> Classifier:
    """A small network that tells digits by squares of their colour, on which it is trained."""
    shape = SmallResNet(widths=(16, 32), blocks=(1, 1), strides=(2, 2), stem=16, stem_stride=2)
    return fitted_network(shape, _shortcut_data("train"), 1024, seed)


def _shortcut(draw: int, seed: int) -> Seat:
    batch = _drawn(_shortcut_data("test"), draw, 2, seed)
    # The square is all that this network was taught to see.
    batch = replace(batch, truth=batch.distractor, distractor=None)
    return _trained(_shortcut_model(seed), batch, [(checkpoint.load("hard-digits"), "a network that sees the digits")])


def _cifar(name: str, other: str) -> Callable[[int, int], Seat]:
    def make(draw: int, seed: int) -> Seat:
        batch = _drawn(load("cifar10"), draw, 1, seed)
        return _trained(checkpoint.load(name), batch, [(checkpoint.load(other), "another network")])

    return make


def _xrays(draw: int, seed: int) -> Seat:
    shape = SmallResNet(classes=2, widths=(16, 32, 64), stem=16, stem_stride=2)
    model = fitted_network(shape, load("chest-xray", split="train", size=64), 1536, seed)
    return _trained(model, _drawn(load("chest-xray", size=64), draw, 1, seed), [])


def _untrained(draw: int, seed: int) -> Seat:
    """Nothing is to be trusted of a network that was never trained, the soundest maps least of all."""
    model = Classifier(SmallResNet(widths=(16, 32, 64), stem=16).make(seed).eval())
    own = {
        "occlusion": CELLS,
        "finer occlusion": Occlusion(),
        "integrated gradients": PATH,
        "gradient": Gradient(),
        "gradient x input": GradientXInput(),
        "exact Shapley values of eight cells": _FEWER,
    }
    candidates = [*(_wrong(one, name) for name, one in own.items()), *blind()]
    return Seat(model, textures(IMAGES, 2 * seed + draw), tuple(candidates))


PAIRS = (
    ExamPair("sums of pixels", _linear, 2),
    ExamPair("sums and products of cells", _cells, 2),
    ExamPair("a coloured square", _colours, 2),
    ExamPair("untrained network", _untrained),
    ExamPair("planted shortcut", _shortcut, 2),
    ExamPair("hard-digits", _digits),
    ExamPair("resnet-cifar10", _cifar("resnet-cifar10", "convmixer-cifar10"), needs_data=True),
    ExamPair("convmixer-cifar10", _cifar("convmixer-cifar10", "resnet-cifar10"), needs_data=True),
    ExamPair("resnet-cifar10-robust", _cifar("resnet-cifar10-robust", "convmixer-cifar10"), needs_data=True),
    ExamPair("chest X-rays", _xrays, needs_data=True),
)
