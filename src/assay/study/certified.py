"""Certified against attacked robustness over the radius, in a run folder: a table, a summary and one figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from assay.attack.base import Attack
from assay.attack.distances import Cosine, TopK
from assay.bounds.certificate import Certificate
from assay.bounds.certify import certify, check_certifiable
from assay.core.progress import Progress, silent
from assay.data.base import Batch
from assay.errors import EmptyBatchError, SpecError
from assay.explain.base import Explainer
from assay.explain.smooth import Smoothed
from assay.explain.sparse import Sparsified
from assay.measure.attacked import blind_like
from assay.models.classifier import Classifier
from assay.report.plots import Curve, curves, to_bytes
from assay.study.findings import few, tally
from assay.study.record import record
from assay.study.run import Run
from assay.study.source import Source, placed
from assay.study.statistics import bootstrap
from assay.study.targeting import PREDICTED, Targeting
from assay.study.work import OK, lines_of, lines_of_unread, status_table

__all__ = ["Certified", "Certifying", "certified_figure", "certified_run", "certified_summary", "certified_table"]

_TABLE, _CSV, _SUMMARY, _STATUS, _FIGURE = "certificates.parquet", "certificates.csv", "summary.csv", "status.csv", "certified.svg"
_MEANS = ("cosine", "seen", "overlap", "attacked_cosine", "attacked_overlap")


@dataclass(frozen=True, eq=False)
class Certifying:
    """The plan of certificates for many images.

    Attributes:
        model: The model.
        smoothing: What is certified.
        eps: L2 radii, ascending.
        confidence: Of each image's bounds.
        samples: See `certify`.
        attack: What attacks within each radius, an L2 attack whose own radius does not count; None for no attack.
        seed: Decides all randomness, together with the images' numbers.
        targets: What is explained of each image.

    Raises:
        SpecError: There is no certificate for these, or the attack is in another norm.
        ModelError: The model explains something else than a probability where that is needed.
    """

    model: Classifier
    smoothing: Explainer
    eps: tuple[float, ...]
    confidence: float = 0.99
    samples: int | None = None
    attack: Attack | None = None
    seed: int = 0
    targets: Targeting = PREDICTED

    def __post_init__(self) -> None:
        check_certifiable(self.model, self.smoothing, self.eps, self.confidence, self.samples, self.targets.sample)
        if self.attack is not None and self.attack.norm != "l2":
            raise SpecError(f"certificates hold in L2 balls; the attack must be in norm l2, not {self.attack.norm}")

    def attack_at(self, eps: float) -> Attack:
        """The attack within `eps`, or a black-box one with the same goal where that cannot be made."""
        assert self.attack is not None
        chosen: Attack = replace(self.attack, eps=eps)  # type: ignore[type-var]
        return chosen if chosen.can(self.smoothing) else blind_like(chosen)

    def record(self, data: Mapping[str, Any], indices: Sequence[int]) -> dict[str, Any]:
        """The seven reproducibility answers, of images with those numbers in those data."""
        told = {
            "targets": self.targets.name,
            "eps": list(self.eps),
            "confidence": self.confidence,
            "samples": self.samples,
            "attack": repr(self.attack),
        }
        return record(self.model, [self.smoothing], (), data, indices, self.seed, told)


@dataclass(frozen=True, eq=False)
class Certified:
    """How certificates for many images ended: see `certified_summary`, and where the figure is."""

    summary: pl.DataFrame
    problems: int
    figure: Path


def certified_table(plan: Certifying, images: Tensor, targets: Tensor, index: Tensor, logits: Tensor) -> pl.DataFrame:
    """A row for each image and radius: the certificate, and what is left of the seen map under attack; NaN for what there is not.

    Args:
        plan: What to do.
        images: (N, C, H, W).
        targets: (N,) explained classes.
        index: (N,) the images' numbers.
        logits: (N, K) of the images.
    """
    found = certify(plan.model, images, plan.smoothing, plan.eps, plan.confidence, targets, plan.samples, plan.seed, index=index)
    cosine, overlap = torch.full_like(found.cosine, torch.nan), torch.full_like(found.cosine, torch.nan)
    for row, eps in enumerate(plan.eps if plan.attack is not None else ()):
        result = plan.attack_at(eps).run(plan.model, plan.smoothing, images, targets, index, plan.seed, logits, found.maps)
        cosine[row] = 1 - Cosine()(found.maps, result.attacked_maps).double()
        overlap[row] = 1 - TopK(_fraction(found))(found.maps, result.attacked_maps).double()
    columns = {name: getattr(found, name) for name in ("cosine", "seen", "overlap", "needed")}
    if not isinstance(found.smoothing.explainer, Sparsified):
        columns["overlap"] = torch.full_like(found.overlap, torch.nan)
    columns |= {"attacked_cosine": cosine, "attacked_overlap": overlap}
    many = len(plan.eps)
    return pl.DataFrame(
        {
            "image": index.cpu().repeat(many).numpy(),
            "eps": np.repeat(plan.eps, len(index)),
            **{name: value.flatten().cpu().numpy() for name, value in columns.items()},
            **{name: getattr(found, name).repeat(many).cpu().numpy() for name in ("norm", "radius")},
            "samples": [found.samples] * (many * len(index)),
        }
    )


def certified_summary(table: pl.DataFrame, seed: int) -> pl.DataFrame:
    """One row for each radius: share of images of which something is certified, means with 95 % intervals, and the copies needed.

    A bound that says nothing counts as 0 in the means. `needed` is the median over the images for which some number of copies would
    certify something, infinite without any; `reachable` is their share.

    Args:
        table: As `certified_table` makes it.
        seed: Decides the bootstrap's resamples.
    """
    rows = []
    for (eps,), part in table.group_by("eps", maintain_order=True):
        values = part.select(pl.col(_MEANS).clip(lower_bound=0.0)).to_numpy()
        row: dict[str, Any] = {
            "eps": eps,
            "images": len(part),
            "certified": float(np.mean(((part["cosine"] > 0) | (part["overlap"].fill_nan(0.0) > 0)).to_numpy())),
        }
        for name, one in zip(_MEANS, bootstrap(values, seed), strict=True):
            row |= {name: one.mean, f"{name}_low": one.low, f"{name}_high": one.high}
        enough = part["needed"].filter(part["needed"].is_finite())
        needed = {"needed": enough.median() if len(enough) else math.inf, "reachable": len(enough) / len(part)}
        rows.append(row | needed | {"samples": part["samples"][0]})
    return pl.DataFrame(rows)


def certified_figure(summary: pl.DataFrame, confidence: float) -> bytes:
    """Certified and attacked means over the radius with their 95 % intervals, and the median copies needed, as an SVG file.

    Args:
        summary: As `certified_summary` makes it.
        confidence: Of the certificates.
    """
    bound, attacked = f"certified, {confidence:.4g}", "attacked, seen maps"
    wanted = {
        "cosine to the map there": {"cosine": bound, "seen": f"{bound}, seen map", "attacked_cosine": attacked},
        "top pixels kept": {"overlap": bound, "attacked_overlap": attacked},
    }
    panels = {
        title: [_curve(summary, name, label) for name, label in names.items() if summary[name].is_finite().any()]
        for title, names in wanted.items()
    }
    finite = summary.filter(pl.col("needed").is_finite())
    panels["copies needed, median"] = [
        Curve("needed", tuple(finite["eps"]), tuple(finite["needed"])),
        Curve("taken", tuple(summary["eps"]), tuple(map(float, summary["samples"]))),
    ]
    return to_bytes(lambda: curves({title: group for title, group in panels.items() if group}, "L2 distance eps"), "svg")


def certified_run(run: Run, plan: Certifying, source: Source, *, progress: Progress = silent) -> Certified | None:
    """Do what is left of the certificates, and write the results when all is done.

    The folder gets `certificates.parquet` and `certificates.csv` (a row per image and radius), `summary.csv`, `status.csv` and
    `certified.svg`.

    Args:
        run: The run folder.
        plan: What to do.
        source: The images.
        progress: Called as work goes on.

    Returns:
        The outcome in the first process, None in the others.

    Raises:
        EmptyBatchError: No image could be read and certified.
        DataError: The disk is full or the folder cannot be written.
    """
    share = run.share()
    total, done = sum(len(run.blocks.rows(block)) for block in share), 0
    for block, batch in zip(share, source.read(map(run.blocks.rows, share)), strict=True):
        rows = run.blocks.rows(block)
        run.write(block, _block(plan, source, rows, batch))
        done += len(rows)
        progress("certify", done, total)
    with run.ranks.together():
        if not run.ranks.first:
            return None
        counted = tally(run)
        if not counted.sound:
            raise EmptyBatchError(f"no image could be certified: {few(counted)}")
        summary = certified_summary(pl.concat(list(run.tables("certificates"))).sort("eps", maintain_order=True), plan.seed)
        if not run.over:
            for target in (_TABLE, _CSV):
                run.merge("certificates", target)
            run.merge("status", _STATUS)
            run.put(_SUMMARY, summary.write_csv())
            run.put(_FIGURE, certified_figure(summary, plan.confidence).decode())
            run.finish([_TABLE, _CSV, _SUMMARY, _STATUS, _FIGURE])
        return Certified(summary, counted.troubled, run.folder / _FIGURE)


def _block(plan: Certifying, source: Source, rows: range, batch: Batch) -> dict[str, pl.DataFrame]:
    """Tables of one block; images whose output is not finite are left out and named in the status."""
    at, unread = placed(source, rows, batch)
    lines, tables = lines_of_unread(unread), {}
    if at:
        images, index = batch.images.to(plan.model.device), batch.index.to(plan.model.device)
        logits = plan.model.unchecked_logits(images)
        targets = plan.targets.of(plan.model, logits, batch, at)
        told = lines_of(batch, plan.model.decide(logits, targets), {})
        lines |= zip(at, told, strict=True)
        fine = torch.tensor([place for place, (_, state, _, _) in enumerate(told) if state == OK], dtype=torch.int64)
        if len(fine):
            tables["certificates"] = certified_table(plan, images[fine], targets[fine], index[fine], logits[fine])
    return {**tables, "status": status_table(source, rows, lines)}


def _fraction(found: Certificate) -> float:
    """The share of the pixels that counts as top: the certificate's own, or the usual tenth."""
    smoothing: Smoothed = found.smoothing
    return smoothing.explainer.fraction if isinstance(smoothing.explainer, Sparsified) else TopK().fraction


def _curve(summary: pl.DataFrame, name: str, label: str) -> Curve:
    return Curve(label, *(tuple(summary[column]) for column in ("eps", name, f"{name}_low", f"{name}_high")))
