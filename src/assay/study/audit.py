"""`audit`: explain, measure against a random map, and judge."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import torch
from torch import Tensor

from assay.core.files import replacing
from assay.core.inputs import check_images, check_index, check_targets, check_truth
from assay.core.progress import Progress, silent
from assay.core.registry import build, short
from assay.data.base import Batch
from assay.errors import EmptyBatchError, SpecError
from assay.explain.base import Explainer, check_model
from assay.explain.gradient import Gradient, GradientXInput
from assay.explain.path import IntegratedGradients
from assay.explain.random import RandomMap
from assay.explain.smooth import SmoothGrad
from assay.explain.surrogate import KernelShap, Lime
from assay.measure.base import Case, Measure
from assay.measure.linearity import Infidelity, LocalLinearError
from assay.measure.localisation import MaskIoU
from assay.measure.perturbation import Deletion, Insertion
from assay.measure.robustness import MaxSensitivity
from assay.models.classifier import Classifier
from assay.report import Gallery, MeasureNote, Page, write
from assay.study.record import record
from assay.study.statistics import summarise
from assay.study.verdict import RULES, verdict

__all__ = ["EXPLAINERS", "MEASURES", "PAPER", "Audit", "audit", "audit_batches"]

EXPLAINERS: tuple[Explainer, ...] = (Gradient(), GradientXInput(), IntegratedGradients(), SmoothGrad(), Lime(), KernelShap())
PAPER: tuple[Explainer, ...] = (
    Gradient(),
    GradientXInput(),
    IntegratedGradients(rule="gauss_legendre", complete=False),
    SmoothGrad(antithetic=False),
    Lime(),
    KernelShap(sampling="independent"),
)
"""The same six as the robustness paper ran them, without what makes ours better at equal passes."""
MEASURES: tuple[Measure, ...] = (
    Deletion(),
    Insertion(),
    Infidelity(scaled=True, relative=True),
    LocalLinearError(scaled=True, relative=True),
    MaxSensitivity(),
    MaskIoU(),
)
FLOOR = RandomMap()
_BLOCK = 64


@dataclass(frozen=True, eq=False)
class Audit:
    """What an audit found.

    Attributes:
        scores: Long table: image (global number), explainer, measure, value, direction ("higher" or "lower" is better);
            the random map's rows included.
        summary: One row for each explainer and measure: mean and 95 % interval, the random map's, and the verdict.
        page: The report, ready to be written.
        record: The seven reproducibility answers.
        status: One row per image: image, name, status ("ok" or what was wrong).
    """

    scores: pl.DataFrame
    summary: pl.DataFrame
    status: pl.DataFrame
    record: Mapping[str, Any]
    page: Page

    def to_html(self, path: str | Path) -> Path:
        """Write the report as one self-contained HTML file; returns its path."""
        return write(self.page, path)

    def save(self, folder: str | Path) -> Path:
        """Write report.html, scores.parquet, summary.csv, status.csv and record.json; returns the folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / "scores.parquet") as draft:
            self.scores.write_parquet(draft)
        for name, table in (("summary", self.summary), ("status", self.status)):
            with replacing(folder / f"{name}.csv") as draft:
                table.write_csv(draft)
        with replacing(folder / "record.json") as draft:
            draft.write_text(json.dumps(self.record, indent=2) + "\n")
        self.to_html(folder / "report.html")
        return folder

    @property
    def verdict(self) -> tuple[str, ...]:
        """The verdict in plain words."""
        return tuple(sentence.text for sentence in self.page.verdict)


def audit(
    model: Classifier,
    images: Tensor,
    targets: Tensor | None = None,
    explainers: Sequence[Explainer | str] = EXPLAINERS,
    measures: Sequence[Measure | str] | None = None,
    seed: int = 0,
    *,
    index: Tensor | None = None,
    truth: Tensor | None = None,
    distractor: Tensor | None = None,
    labels: Tensor | None = None,
    names: Sequence[str] | None = None,
    gallery: int = 8,
    progress: Progress = silent,
) -> Audit:
    """Explain images by several explainers and measure the maps, with a random map as the floor.

    Args:
        model: The model to explain.
        images: (N, C, H, W), pixels in [0, 1].
        targets: (N,) class ids; None for the predicted classes.
        explainers: Explainers or their specs; by default the six of the robustness paper.
        measures: Measures or their specs; by default all that the data allow.
        seed: Decides all randomness, together with `index`.
        index: (N,) the images' global numbers; 0..N-1 when None.
        truth: (N, 1, H, W) masks of the known evidence.
        distractor: (N, 1, H, W) masks of what must not matter, outlined in the report.
        labels: (N,) true classes, shown in the report.
        names: The images' names, shown in the report.
        gallery: Images shown in the report.
        progress: Called as work goes on.

    Returns:
        Scores, summary and report.

    Raises:
        AssayError: A wrong input, named in the message, before work starts.
    """
    check_model(model)
    images = check_images(images)
    count = len(images)
    batch = Batch(
        images=images,
        labels=None if labels is None else check_targets(labels, count, None, images.device),
        truth=None if truth is None else check_truth(truth, images),
        distractor=None if distractor is None else check_truth(distractor, images),
        index=check_index(index, count, images.device),
        names=tuple(names) if names is not None else tuple(f"image {number}" for number in range(count)),
    )
    if targets is not None:
        targets = check_targets(targets, count, model.count_classes(images.shape[1:]), images.device)
    return audit_batches(
        model, [batch], count, explainers, measures, seed, targets=targets, has_truth=truth is not None, gallery=gallery, progress=progress
    )


def audit_batches(
    model: Classifier,
    batches: Iterable[Batch],
    count: int,
    explainers: Sequence[Explainer | str] = EXPLAINERS,
    measures: Sequence[Measure | str] | None = None,
    seed: int = 0,
    *,
    has_truth: bool,
    targets: Tensor | None = None,
    data: Mapping[str, Any] | None = None,
    title: str = "Which explanations of this model can be trusted?",
    gallery: int = 8,
    progress: Progress = silent,
) -> Audit:
    """`audit` of images that come in batches, so that they need not fit into memory.

    Args:
        model: The model to explain.
        batches: The images.
        count: How many there are in all, files that cannot be read included.
        explainers: See `audit`.
        measures: See `audit`.
        seed: See `audit`.
        has_truth: Whether the batches bring masks of the known evidence.
        targets: (count,) class ids; None for the predicted classes.
        data: The data set's name, hash and split, for the record.
        title: Heading of the report.
        gallery: Images shown in the report.
        progress: Called as work goes on.
    """
    chosen = [build(one, Explainer) if isinstance(one, str) else one for one in explainers]  # type: ignore[type-abstract]
    rated = [build(one, Measure) if isinstance(one, str) else one for one in _allowed(measures, has_truth)]  # type: ignore[type-abstract]
    _check_distinct("explainer", chosen)
    _check_distinct("measure", rated)
    if not chosen or not rated:
        raise SpecError("an audit needs at least one explainer and one measure")
    work = _Work(model, [one for one in chosen if one != FLOOR], rated, seed, targets, gallery, count, progress)
    for batch in batches:
        work.add(batch)
    if not work.numbers:
        raise EmptyBatchError("no image could be read, so there is nothing to audit")
    return work.finish(data or {"name": "images given as a tensor"}, title)


@dataclass(eq=False)
class _Work:
    """An audit while it goes on: one block of images after another, scores kept, maps only for the gallery."""

    model: Classifier
    explainers: list[Explainer]
    measures: list[Measure]
    seed: int
    targets: Tensor | None
    wanted: int
    count: int
    progress: Progress
    numbers: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    status: list[str] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    shown: list[dict[str, Any]] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    seen: int = 0

    def add(self, batch: Batch) -> None:
        """Explain and measure one batch."""
        self.problems += [(error.name, error.message) for error in batch.errors]
        self.seen += len(batch.errors)
        for rows in _blocks(len(batch)):
            self._block(batch, rows)

    def _block(self, batch: Batch, rows: slice) -> None:
        images = batch.images[rows].to(self.model.device)
        index = batch.index[rows].to(images.device)
        logits = self.model.unchecked_logits(images)
        targets = logits.argmax(1) if self.targets is None else self.targets[self.seen : self.seen + len(images)].to(images.device)
        bad = ~logits.isfinite().all(1)
        truth = None if batch.truth is None else batch.truth[rows].to(images.device)
        case = Case(self.model, images, targets, index, self.seed, truth)
        case.__dict__["logits"] = logits

        everyone = [*self.explainers, FLOOR]
        steps = len(everyone) + len(self.measures)
        maps = []
        for place, explainer in enumerate(everyone):
            self._tell(len(images), place, steps)
            found = explainer.attribute(self.model, images, targets, index, self.seed)
            bad |= ~found.flatten(1).isfinite().all(1)
            maps.append(found.nan_to_num(0.0, 0.0, 0.0))
        scored = []
        for place, measure in enumerate(self.measures):
            self._tell(len(images), len(everyone) + place, steps)
            scored.append(measure.evaluate(case, maps, everyone))
        values = torch.stack(scored).cpu()
        values[:, :, bad.cpu()] = math.nan
        self._keep(batch, rows, logits.cpu(), bad.cpu(), values, [one.cpu() for one in maps])
        self.seen += len(images)
        self._tell(len(images), 0, steps)

    def _keep(self, batch: Batch, rows: slice, logits: Tensor, bad: Tensor, values: Tensor, maps: list[Tensor]) -> None:
        names = batch.names[rows]
        self.numbers += batch.index[rows].tolist()
        self.names += names
        self.status += ["the model's output or a map is NaN or infinite" if wrong else "ok" for wrong in bad.tolist()]
        self.problems += [(name, self.status[-1]) for name, wrong in zip(names, bad.tolist(), strict=True) if wrong]
        self.values.append(values)
        if batch.labels is not None:
            self.right += (logits.argmax(1) == batch.labels[rows].cpu()).tolist()
        for place in range(len(names)):
            if len(self.shown) >= self.wanted or bool(bad[place]):
                continue
            at = range(rows.start, rows.stop)[place]
            self.shown.append(
                {
                    "image": batch.images[at].cpu(),
                    "name": names[place],
                    "label": None if batch.labels is None else int(batch.labels[at]),
                    "probabilities": logits[place].softmax(0),
                    "truth": None if batch.truth is None else batch.truth[at].cpu(),
                    "distractor": None if batch.distractor is None else batch.distractor[at].cpu(),
                    "maps": [one[place] for one in maps],
                    "values": values[:, :, place],
                }
            )

    def _tell(self, images: int, step: int, steps: int) -> None:
        self.progress("audit", min(self.seen * steps + images * step, self.count * steps), self.count * steps)

    def finish(self, data: Mapping[str, Any], title: str) -> Audit:
        """Tables, verdict, report and record of all that was added."""
        everyone = [*map(short, self.explainers), short(FLOOR)]
        measures = _labels(self.measures)
        values = torch.cat(self.values, 2)
        total = len(self.numbers)
        scores = pl.DataFrame(
            {
                "image": self.numbers * (len(everyone) * len(measures)),
                "explainer": [name for _ in measures for name in everyone for _ in range(total)],
                "measure": [name for name in measures for _ in range(len(everyone) * total)],
                "value": values.flatten().double().numpy(),
                "direction": ["higher" if one.higher_is_better else "lower" for one in self.measures for _ in range(len(everyone) * total)],
            }
        )
        summary = summarise(scores, short(FLOOR), self.seed)
        notes = {
            name: MeasureNote(one.category, "higher is better" if one.higher_is_better else "lower is better", one.meaning, one.reference)
            for name, one in zip(measures, self.measures, strict=True)
        }
        answers = record(
            self.model,
            [*self.explainers, FLOOR],
            self.measures,
            data,
            self.numbers,
            self.seed,
            {"targets": "given" if self.targets is not None else "predicted"},
        )
        settings = {
            "images": f"{total}" + (f" of {self.count}; the others could not be read" if total < self.count else ""),
            "explained": f"the {self.model.output.replace('_', ' ')} of the {'given' if self.targets is not None else 'predicted'} class",
            "precision": self.model.precision,
            "seed": str(self.seed),
            "explainers": "; ".join(everyone),
            "measures": "; ".join(map(short, self.measures)),
            "rules of the verdict": RULES,
        }
        if self.right:
            settings["accuracy"] = f"{sum(self.right) / len(self.right):.1%} of {len(self.right)} labelled images"
        good = self.status.count("ok")
        page = Page(
            title=title,
            model=repr(self.model),
            data=str(data.get("name")),
            verdict=verdict(summary, notes, good),
            summary=summary,
            measures=notes,
            gallery=self._gallery(everyone[:-1], measures),
            settings=settings,
            record=answers,
            problems=tuple(self.problems),
        )
        status = pl.DataFrame({"image": self.numbers, "name": self.names, "status": self.status})
        return Audit(scores, summary, status, answers, page)

    def _gallery(self, explainers: list[str], measures: list[str]) -> Gallery:
        shown = self.shown
        if not shown:
            raise EmptyBatchError("every image gave NaN or infinity, so there is nothing to report; look at the model's outputs")
        predicted = [int(one["probabilities"].argmax()) for one in shown]
        names = self.model.classes

        def masks(kind: str) -> Tensor | None:
            return None if shown[0][kind] is None else torch.stack([one[kind] for one in shown])

        return Gallery(
            images=torch.stack([one["image"] for one in shown]),
            names=tuple(one["name"] for one in shown),
            labels=tuple("" if one["label"] is None else _named(names, one["label"]) for one in shown),
            predictions=tuple(names[one] for one in predicted),
            probabilities=tuple(float(one["probabilities"][best]) for one, best in zip(shown, predicted, strict=True)),
            maps={name: torch.stack([one["maps"][place] for one in shown]) for place, name in enumerate(explainers)},
            truth=masks("truth"),
            distractor=masks("distractor"),
            scores={
                name: {measure: tuple(float(one["values"][line, place]) for one in shown) for line, measure in enumerate(measures)}
                for place, name in enumerate(explainers)
            },
        )


def _labels(measures: Sequence[Measure]) -> list[str]:
    """The measures' class names, with parameters only where one class stands twice."""
    names = [type(one).__name__ for one in measures]
    return [name if names.count(name) == 1 else short(one) for name, one in zip(names, measures, strict=True)]


def _named(names: Sequence[str], label: int) -> str:
    return names[label] if label < len(names) else str(label)


def _blocks(count: int) -> Iterator[slice]:
    """Even blocks of images, so that each explainer's chunks are full and its maps take bounded memory."""
    if count:
        size = math.ceil(count / math.ceil(count / _BLOCK))
        for start in range(0, count, size):
            yield slice(start, min(start + size, count))


def _allowed(measures: Sequence[Measure | str] | None, has_truth: bool) -> Sequence[Measure | str]:
    if measures is None:
        return [one for one in MEASURES if has_truth or "truth" not in one.needs]
    for one in measures:
        made = build(one, Measure) if isinstance(one, str) else one  # type: ignore[type-abstract]
        if "truth" in made.needs and not has_truth:
            raise SpecError(f"{short(made)} needs masks of the known evidence, which these images do not have; leave it out or give truth=")
    return measures


def _check_distinct(kind: str, chosen: Sequence[object]) -> None:
    names = [short(one) for one in chosen]
    for name in names:
        if names.count(name) > 1:
            raise SpecError(f"the {kind} {name} is given twice; give each once")
