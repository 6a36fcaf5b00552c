"""One model in two number formats: the same network, settings and count of passes."""

from __future__ import annotations

import copy
from weakref import WeakKeyDictionary

import torch

from assay.core.chunk import Chunks
from assay.core.precision import DTYPES, Precision
from assay.core.surroundings import Alone
from assay.models.classifier import Classifier
from assay.models.preparation.prepare import converted
from assay.models.preparation.proof import NetworkForm

__all__ = ["exact", "in_precision", "noted"]

_EXACT: WeakKeyDictionary[Classifier, Classifier] = WeakKeyDictionary()
"""Models in 32 bits, by the model whose twin they are."""


def in_precision(model: Classifier, precision: Precision) -> Classifier:
    """The model in another precision, itself where it is in that one; the two share settings and the count of passes.

    A model in 16 bits that was made of one in 32 remembers it (`exact`); one that never was in 32 bits keeps its rounded weights.
    """
    if precision == model.precision:
        return model
    other = copy.copy(model)
    model.identity()  # Which hashes the weights as they were given, before they are rounded.
    other._own = model._own
    with model.plain():
        other.module = converted(copy.deepcopy(model.module), model.device, torch.float32)
    other.precision, other._dtype = precision, DTYPES[precision]
    other._form, other._bytes, other.alone = NetworkForm(), {}, Alone()
    other.chunks = Chunks(model.chunks.fixed, model.chunks.memory)
    other._run = other.module if model._run is model.module else torch.compile(other.module, dynamic=True)
    if other.precision != "float32":
        _EXACT[other] = model
    return other


def exact(model: Classifier) -> Classifier:
    """The model in 32 bits, for what 16 cannot bear: small differences of scores."""
    if model.precision == "float32":
        return model
    if model not in _EXACT:
        _EXACT[model] = in_precision(model, "float32")
    return _EXACT[model]


def noted(model: Classifier, sentence: str) -> None:
    """Tell a sentence among the model's findings, which reports and records repeat; the model has seen its first images."""
    if sentence not in model._form.findings:
        model._form.findings = (*model._form.findings, sentence)
