"""Certified against attacked robustness of many images over the radius: a table, a summary, one figure and a report."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl
import torch
from torch import Tensor

from assay.attack.base import Attack
from assay.attack.distances import Cosine, TopK
from assay.attack.goals import MaximiseDistance
from assay.attack.map_attack import MapAttack
from assay.bounds.certificate import Certificate, sentence, top_share
from assay.bounds.certify import certify_case, check_certifiable
from assay.core.registry import changed, short
from assay.errors import SpecError
from assay.explain.base import Explainer
from assay.explain.smooth import Smoothed, SmoothGrad, with_copies
from assay.explain.sparse import Sparsified
from assay.measure.attacked import blind_like
from assay.models.case import Case
from assay.report.figures.plots import FIGURE_FORMS, DrawnCurve, FigureForm, curves, to_bytes
from assay.report.page import Sentence
from assay.report.render import render
from assay.report.text import plural
from assay.run.arrays import Keeping, as_kept
from assay.stats.intervals import means
from assay.study.certify_page import Certified, certified_page, unrelated
from assay.study.study import Asked, Block, Done, Kept, Report, Study, Tell, TerminalTable

__all__ = ["CertifyStudy", "certified_figure", "certified_summary", "certified_table"]

_MEANS = ("cosine", "seen", "overlap", "top", "out", "attacked_cosine", "attacked_overlap")
_REPORT = "report.html"
_JUDGED = 32
"""Copies per image that an attack's candidates are judged by at most; the one that it ends with is explained in full."""
_USUAL = MapAttack(0, "l2", 10, MaximiseDistance(distance=Cosine()), restarts=1, judge_every=10)
"""One start suffices to see that a bound is not reached, and each judgement costs a map."""


@dataclass(frozen=True)
class CertifyStudy(Study):
    """Bound how far smoothed explanations can be moved, with proof, and attack them: tables, arrays and a report in a run folder.

    Attributes:
        smoothing: "SmoothGrad(sigma=0.25, samples=200)" with --output probability, or "Smoothed(Sparsified(...), Gaussian(0.25), 1000)".
        eps: L2 radius, of pixels in [0, 1]; may be given several times.
        confidence: Of each image's bounds.
        samples: Passes per image for a gradient's certificate; 1000 by default.
        attack: Spec of an attack to compare with, its eps replaced, or none.
        gallery: Images shown in the report.
        keep_maps: How exactly maps are kept: whole, or rounded to 11 bits; what is certified is the whole map either way.
    """

    smoothing: Explainer
    eps: tuple[float, ...]
    confidence: float = 0.99
    samples: int | None = None
    attack: Attack | Literal["none"] = _USUAL
    gallery: int = 4
    keep_maps: Keeping = "whole"

    command: ClassVar[str] = "certify"
    keeps_arrays: ClassVar[bool] = True

    @property
    def radii(self) -> tuple[float, ...]:
        """The radii in ascending order, each once."""
        return tuple(sorted(set(self.eps)))

    def check(self, asked: Asked) -> None:
        """See `Study.check`.

        Raises:
            SpecError: There is no certificate for these, or the attack is in another norm.
            ModelError: The model explains something else than a probability where that is needed.
        """
        check_certifiable(asked.model, self.smoothing, self.radii, self.confidence, self.samples, asked.targets.sample)
        if self.attack != "none" and self.attack.norm != "l2":
            raise SpecError(f"certificates hold in L2 balls; the attack must be in norm l2, not {self.attack.norm}")
        if self.gallery < 0:
            raise SpecError(f"gallery must be at least 0, not {self.gallery}")

    @property
    def attacked(self) -> Explainer:
        """What is attacked: the smoothed explainer with few copies, without the marks of top pixels, which have no slope."""
        smoothed = self.smoothing.smoothed if isinstance(self.smoothing, SmoothGrad) else self.smoothing
        assert isinstance(smoothed, Smoothed)
        if isinstance(smoothed.explainer, Sparsified):
            smoothed = replace(smoothed, explainer=smoothed.explainer.explainer)
        return with_copies(smoothed, min(smoothed.count, _JUDGED))

    def attack_at(self, eps: float) -> Attack | None:
        """The attack within `eps`, or a black-box one with the same goal where that cannot be made."""
        if self.attack == "none":
            return None
        chosen = changed(self.attack, eps=eps)
        return chosen if chosen.can(self.attacked) else blind_like(chosen)

    def block(self, asked: Asked, block: Block, tell: Tell) -> Kept:
        """See `Study.block`; images whose output is not finite are left out. `maps.zarr` has the seen maps, and of top pixels `pixels`."""
        fine = block.fine({})
        if not fine:
            return Kept()
        case = block.case.part(torch.tensor(fine, dtype=torch.int64))
        found = _certified(self, case)
        tell(len(block.batch) // 2)
        arrays = {"maps": block.spread(as_kept(found.maps.cpu().numpy(), self.keep_maps, None), fine)}
        if isinstance(found.smoothing.explainer, Sparsified):
            # Half floats, so that what there is not can be NaN.
            arrays["pixels"] = block.spread(found.pixels.transpose(0, 1).cpu().numpy().astype(np.float16), fine)
        rounded = frozenset({"maps"} if self.keep_maps == "rounded" else ())
        return Kept({"certificates": certified_table(self, case, found)}, arrays=arrays, rounded=rounded)

    def conclude(self, asked: Asked, done: Done) -> Report:
        """`certificates.parquet` and `.csv` (a row per image and radius), `summary.csv`, `status.csv`, the figure and `report.html`."""
        done.require_sound("certified")
        assert done.folder is not None
        table = done.table("certificates").sort("eps", maintain_order=True)
        summary, apart = certified_summary(table), unrelated(done.folder, done.blocks)
        troubled, grid = done.tally.troubled, _grid(summary)
        verdict = Sentence("note", _told(self, table, apart))

        def page() -> bytes:
            found = Certified(self.smoothing, self.radii, grid, verdict, certified_figure(summary, self.confidence), apart)
            return render(certified_page(found, asked, done, self.gallery)).encode()

        return Report(
            found=lambda: summary,
            merged={"certificates.parquet": "certificates", "certificates.csv": "certificates", "status.csv": "status"},
            files={
                "summary.csv": lambda: summary.write_csv().encode(),
                **{f"certified.{form}": partial(certified_figure, summary, self.confidence, form) for form in FIGURE_FORMS},
                _REPORT: page,
            },
            grids=(grid,),
            sentences=(verdict,),
            said=(f"{plural(troubled, 'image')} had problems; status.csv lists them.",) if troubled else (),
            main=("report", _REPORT),
        )

    def record(self, asked: Asked) -> dict[str, Any]:
        """The seven reproducibility answers."""
        told: dict[str, Any] = {"eps": list(self.radii), "confidence": self.confidence, "samples": self.samples}
        told["keep_maps"] = self.keep_maps
        told["attack"] = repr(None if self.attack == "none" else self.attack)
        return asked.record([self.smoothing], (), told)


def certified_table(study: CertifyStudy, case: Case, found: Certificate | None = None) -> pl.DataFrame:
    """A row for each image and radius: the certificate, and what is left of the seen map under attack; NaN for what there is not.

    Args:
        study: What to do.
        case: The images, their targets and logits.
        found: Their certificate, where it is known.
    """
    found, index = found or _certified(study, case), case.index
    cosine, overlap = torch.full_like(found.cosine, torch.nan), torch.full_like(found.cosine, torch.nan)
    for row, moved in enumerate(_attacked(study, case)):
        cosine[row] = 1 - Cosine()(found.maps, moved).double()
        overlap[row] = 1 - TopK(_fraction(found))(found.maps, moved).double()
    columns = {name: getattr(found, name) for name in ("cosine", "seen", "overlap", "needed")} | found.shares
    if not isinstance(found.smoothing.explainer, Sparsified):
        columns |= dict.fromkeys(("overlap", *found.shares), torch.full_like(found.overlap, torch.nan))
    columns |= {"attacked_cosine": cosine, "attacked_overlap": overlap}
    many = len(study.radii)
    return pl.DataFrame(
        {
            "image": index.cpu().repeat(many).numpy(),
            "eps": np.repeat(study.radii, len(index)),
            **{name: value.flatten().cpu().numpy() for name, value in columns.items()},
            **{name: getattr(found, name).repeat(many).cpu().numpy() for name in ("norm", "radius")},
            "samples": [found.samples] * (many * len(index)),
        }
    )


def _certified(study: CertifyStudy, case: Case) -> Certificate:
    return certify_case(case, study.smoothing, study.radii, study.confidence, study.samples)


def _attacked(study: CertifyStudy, case: Case) -> Iterator[Tensor]:
    """Maps (N, C, H, W) of the images attacked at each radius, by the explainer that is certified; nothing without an attack."""
    if study.attack == "none":
        return
    quick, given = study.attacked, (case.targets, case.index, case.seed)
    clean = quick.attribute(case.model, case.images, *given)
    for eps in study.radii:
        attack = study.attack_at(eps)
        assert attack is not None
        images = attack.run(case, quick, clean).images
        yield study.smoothing.attribute(case.model, images, *given)


def certified_summary(table: pl.DataFrame) -> pl.DataFrame:
    """One row for each radius: share of images of which something is certified, means with 95% intervals, and the copies needed.

    A bound that says nothing counts as 0 in the means. `needed` is the median over the images for which some number of copies would
    certify something, infinite without any; `reachable` is their share.

    Args:
        table: As `certified_table` makes it.
    """
    rows = []
    for (eps,), part in table.group_by("eps", maintain_order=True):
        values = part.select(pl.col(_MEANS).clip(lower_bound=0.0)).to_numpy()
        row: dict[str, Any] = {
            "eps": eps,
            "images": len(part),
            "certified": float(np.mean(((part["cosine"] > 0) | (part["overlap"].fill_nan(0.0) > 0)).to_numpy())),
        }
        for name, one in zip(_MEANS, means(values), strict=True):
            row |= {name: one.mean, f"{name}_low": one.low, f"{name}_high": one.high}
        enough = part["needed"].filter(part["needed"].is_finite())
        needed = {"needed": enough.median() if len(enough) else math.inf, "reachable": len(enough) / len(part)}
        rows.append(row | needed | {"samples": part["samples"][0]})
    return pl.DataFrame(rows)


def certified_figure(summary: pl.DataFrame, confidence: float, form: FigureForm = "svg") -> bytes:
    """Certified and attacked means over the radius with their 95% intervals, and the median copies needed, as a file of this form.

    Args:
        summary: As `certified_summary` makes it.
        confidence: Of the certificates.
        form: Of the file.
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
        DrawnCurve("needed", tuple(finite["eps"]), tuple(finite["needed"])),
        DrawnCurve("taken", tuple(summary["eps"]), tuple(map(float, summary["samples"]))),
    ]
    return to_bytes(lambda: curves({title: group for title, group in panels.items() if group}, "L2 distance eps"), form)


def _grid(summary: pl.DataFrame) -> TerminalTable:
    shown = [name for name in _MEANS if summary[name].is_finite().any()]
    return TerminalTable(
        "certified and attacked: means; a bound that says nothing counts as 0",
        ("eps", "certified", *(name.replace("_", " ") for name in shown), "copies needed (images)"),
        tuple(
            (
                f"{row['eps']:g}",
                f"{row['certified']:.1%}",
                *(f"{row[name]:.3f}" for name in shown),
                f"{row['needed']:.0f} ({row['reachable']:.0%})" if row["reachable"] else "none would do",
            )
            for row in summary.iter_rows(named=True)
        ),
    )


def _told(study: CertifyStudy, table: pl.DataFrame, apart: float) -> str:
    """The certificate in words, at the smallest radius."""
    rows = table.filter(pl.col("eps") == study.radii[0])
    cosine, overlap = (rows[name].fill_nan(0.0).to_list() for name in ("cosine", "overlap"))
    top, out = (float(np.nan_to_num(rows[name].to_numpy()).mean()) for name in ("top", "out"))
    head = f"{short(study.smoothing)} within L2 distance {study.radii[0]:g}, at {study.confidence:.4g} confidence for each image"
    copies = rows["samples"][0], rows["needed"].to_list()
    return sentence(head, cosine, overlap, (top, out), copies, (apart, top_share(study.smoothing)))


def _fraction(found: Certificate) -> float:
    """The share of the pixels that counts as top: the certificate's own, or the usual tenth."""
    smoothing: Smoothed = found.smoothing
    return smoothing.explainer.fraction if isinstance(smoothing.explainer, Sparsified) else TopK().fraction


def _curve(summary: pl.DataFrame, name: str, label: str) -> DrawnCurve:
    return DrawnCurve(label, *(tuple(summary[column]) for column in ("eps", name, f"{name}_low", f"{name}_high")))
