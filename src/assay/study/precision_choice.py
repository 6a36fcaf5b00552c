"""Whether a study is computed in 16 bits: one probe of its first images, on this device, by its own explainers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from assay.core.order import correlation, mean_ranks
from assay.core.precision import Precision, settled
from assay.core.registry import short
from assay.core.surroundings import undisturbed
from assay.errors import AssayError
from assay.explain.base import Explainer, is_fixed
from assay.measure.base import pixel_values
from assay.models.case import Case
from assay.models.classifier import Classifier, Output
from assay.models.formats import in_precision, noted
from assay.models.passes import gradients
from assay.study.asked import Asked

__all__ = ["ALIKE", "FASTER", "LEAST", "MOVED", "Chosen", "choose_precision", "told_apart", "with_precision"]

LEAST = 32
"""Images below which a study stays in 32 bits: trying 16 would cost what they save."""
FASTER = 1.2
"""How many times as fast a pass in 16 bits has to be."""
ALIKE = 0.95
"""The least mean rank correlation over images of an explainer's maps in 16 and 32 bits, pixels that may as well be 0 being 0."""
MOVED = 0.02
"""The largest change of a probability from 32 to 16 bits."""
_LOOKED_AT, _TIMED, _TURNS = 4, 32, 3


@dataclass(frozen=True)
class Chosen:
    """A precision, and why; no reason where nothing was tried."""

    precision: Precision
    why: str = ""


def with_precision(asked: Asked, chosen: Chosen) -> Asked:
    """The same, of the model in the precision that was chosen, whose record and reports say why."""
    model = in_precision(asked.model, chosen.precision)
    if chosen.why:
        first = asked.first(_LOOKED_AT).batch
        if len(first):
            model.try_on(first.images)
        noted(model, chosen.why)
    return replace(asked, model=model, chosen=chosen.why)


@undisturbed()
def choose_precision(asked: Asked, explainers: Sequence[Explainer]) -> Chosen:
    """Bfloat16 where it is faster here and the answers stay: maps of the first images by all explainers, and their probabilities.

    Args:
        asked: What the study is about; none of the passes counts.
        explainers: What explains.
    """
    model = asked.model
    if model.precision != "float32":
        return Chosen(model.precision)
    if asked.images < LEAST or not model.differentiable or settled("auto", model.device) == "float32":
        return Chosen("float32")
    block = asked.first(_LOOKED_AT)
    if not block.at:
        return Chosen("float32")
    with model.passes.uncounted():
        case = block.case
        half = in_precision(model, "bfloat16")
        found = _kept(case, half, explainers)
        faster = 0.0 if isinstance(found, str) else _faster(model, half, case)
    if isinstance(found, str):
        return Chosen("float32", f"Computed in float32: in bfloat16 {found}.")
    if faster < FASTER:
        return Chosen("float32", "Computed in float32: bfloat16 is hardly faster here.")
    alike = "" if found is None else f"maps of the explainers tried rank pixels as in float32 (rank correlation {found:.2f} or more), and "
    still = (
        f"no value moves by more than {MOVED:g} of their range"
        if model.head == "scalar"
        else f"no probability moves by more than {MOVED:g}"
    )
    kept = f"on the first {len(case.images)} images {alike}{still}"
    return Chosen("bfloat16", f"Computed in bfloat16, which is faster here: {kept}.")


def _kept(case: Case, half: Classifier, explainers: Sequence[Explainer]) -> float | str | None:
    """The smallest mean rank correlation of an explainer's maps in both precisions, None where none was tried, or what changes too much."""
    model = case.model
    outputs: Output = "logit" if model.head == "scalar" else "probability"
    both = [model.transform(one.unchecked_logits(case.images), outputs) for one in (model, half)]
    scale = _spread(both[0]) if model.head == "scalar" else 1.0
    moved = float((both[0] - both[1]).abs().max()) / scale
    if not moved <= MOVED:
        return f"outputs move by {moved:.2g}"
    least: float | None = None
    for explainer in dict.fromkeys(explainers):
        if is_fixed(explainer) or explainer.category == "control":
            continue
        try:
            maps = [told_apart(explainer, one, case.images, case.targets, case.index, case.seed) for one in (model, half)]
        except AssayError:
            continue  # Which the study will tell in its place.
        one, two = (mean_ranks(pixel_values(each, "signed").flatten(1)).double() for each in maps)
        alike = float(correlation(one, two).mean())
        if not alike >= ALIKE:
            return f"maps of {short(explainer)} rank pixels otherwise (rank correlation {alike:.2f})"
        least = alike if least is None else min(least, alike)
    return least


def told_apart(explainer: Explainer, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:
    """Maps in which pixels are 0 that the explainer cannot tell from 0, whose order says nothing."""
    maps, doubt = explainer.with_doubt(model, images, targets, index, seed)
    return maps if doubt is None else maps.masked_fill(doubt, 0.0)


def _spread(outputs: Tensor) -> float:
    return max(float(outputs.max() - outputs.min()), 1e-12)


def _faster(model: Classifier, half: Classifier, case: Case) -> float:
    """How many times as fast passes forward and backward are in 16 bits: the least of several turns of either."""
    times: tuple[list[float], list[float]] = ([], [])
    rows = torch.arange(len(case.images), device=model.device).repeat_interleave(-(-_TIMED // len(case.images)))
    for turn in range(_TURNS + 1):
        for one, spent in zip((model, half), times, strict=True):
            start = _clock(model.device)
            gradients(one, case.targets, rows, case.images.shape[1:], lambda start, stop: case.images[rows[start:stop]], _dropped)
            if turn:
                spent.append(_clock(model.device) - start)
    return min(times[0]) / min(times[1])


def _dropped(_start: int, _stop: int, _scores: Tensor, _slopes: Tensor) -> None:
    pass


def _clock(device: torch.device) -> float:
    """Seconds: of the processor, so that other programs do not count, or of a GPU that has done its work."""
    if device.type == "cpu":
        return time.process_time()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
