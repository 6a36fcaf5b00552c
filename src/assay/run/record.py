"""The seven answers that make a run reproducible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from assay.core.environment import code, machine, packages
from assay.explain.base import Explainer
from assay.measure.base import Measure
from assay.models.classifier import Classifier

__all__ = ["record"]


def record(
    model: Classifier,
    explainers: Sequence[Explainer],
    measures: Sequence[Measure],
    data: Mapping[str, Any],
    index: Sequence[int],
    seed: int,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Algorithm, code, data, splits, machine, packages and every parameter of a run, as plain values.

    Args:
        model: The model that was explained.
        explainers: What explained it.
        measures: What measured the maps.
        data: The data set's name, content hash and split.
        index: Numbers of the images, in order.
        seed: The run's seed.
        settings: Every other parameter.

    Source: the seven items that reproducibility research scores a paper by.
    """
    return {
        "algorithm": {repr(one): one.reference for one in explainers} | {repr(one): one.reference for one in measures},
        "code": code(),
        "data": dict(data),
        "splits": {"count": len(index), "images": _ranges(index)},
        "machine": machine(model.device),
        "packages": packages(),
        "setup": {
            "seed": seed,
            "model": model.settings(),
            "explainers": [repr(one) for one in explainers],
            "measures": [repr(one) for one in measures],
            **settings,
        },
    }


def _ranges(index: Sequence[int]) -> str:
    """Numbers in order, runs of neighbours written as first-last."""
    runs: list[list[int]] = []
    for number in index:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return " ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in runs)
