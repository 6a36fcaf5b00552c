"""`audit`: explain, measure against a random map, and judge."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
import torch
from torch import Tensor

from assay.core.files import replacing
from assay.core.inputs import check_images, check_index, check_masks, check_targets
from assay.core.progress import Progress, silent
from assay.core.registry import build, short
from assay.data.base import Batch
from assay.errors import DataError, EmptyBatchError, NotFiniteError, ShapeError, SpecError
from assay.explain.base import Explainer, check_model
from assay.explain.gradient import Gradient, GradientXInput
from assay.explain.path import IntegratedGradients
from assay.explain.smooth import SmoothGrad
from assay.explain.surrogate import KernelShap, Lime
from assay.measure.base import Measure
from assay.measure.linearity import Infidelity, LocalLinearError
from assay.measure.localisation import MaskIoU
from assay.measure.perturbation import Deletion, Insertion
from assay.measure.robustness import MaxSensitivity
from assay.models.classifier import Classifier
from assay.report import MeasureNote, Page, write
from assay.study.labels import Labels, match
from assay.study.record import record
from assay.study.statistics import summarise
from assay.study.verdict import RULES, verdict
from assay.study.work import FLOOR, OK, Work

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

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Audit:
    """What an audit found.

    Attributes:
        scores: Long table: image (global number), explainer, measure, value, direction ("higher" or "lower" is better);
            the random map's rows included.
        summary: One row for each explainer and measure: mean and 95 % interval, the random map's, and the verdict.
        page: The report, ready to be written.
        record: The seven reproducibility answers.
        status: One row per image: image, name, status ("ok" or what was wrong); a file that cannot be read has no number.
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
        """Write report.html, scores.parquet, summary.csv, status.csv and record.json; returns the folder.

        Raises:
            DataError: The folder cannot be made or written.
        """
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with replacing(folder / "scores.parquet") as draft:
                self.scores.write_parquet(draft)
            for name, table in (("summary", self.summary), ("status", self.status)):
                with replacing(folder / f"{name}.csv") as draft:
                    table.write_csv(draft)
            with replacing(folder / "record.json") as draft:
                draft.write_text(json.dumps(self.record, indent=2) + "\n")
        except OSError as error:
            raise DataError(f"cannot write the audit to {folder}: {error.strerror or error}") from error
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
        index: (N,) the images' global numbers, all different; 0..N-1 when None.
        truth: (N, 1, H, W) masks of the known evidence.
        distractor: (N, 1, H, W) masks of what must not matter, outlined in the report.
        labels: (N,) true classes, by the model's numbers, shown in the report.
        names: The images' names, shown in the report.
        gallery: Images shown in the report; those of other than 1 or 3 channels as the channels' mean.
        progress: Called as work goes on.

    Returns:
        Scores, summary and report.

    Raises:
        AssayError: A wrong input, named in the message, before work starts.
    """
    check_model(model)
    images = check_images(images)
    count = len(images)
    numbers = check_index(index, count, images.device)
    if len(numbers.unique()) < count:
        raise ShapeError("index gives two images the same number; each needs its own")
    if names is not None and len(names) != count:
        raise ShapeError(f"names holds {len(names)} names for {count} images; give one for each")
    batch = Batch(
        images=images,
        labels=None if labels is None else check_targets(labels, count, None, images.device),
        truth=None if truth is None else check_masks(truth, images, "truth"),
        distractor=None if distractor is None else check_masks(distractor, images, "distractor"),
        index=numbers,
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
    classes: Sequence[str] = (),
    targets: Tensor | None = None,
    data: Mapping[str, Any] | None = None,
    name: str | None = None,
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
        classes: Names of the labels' classes; none when labels are the model's own class numbers.
        targets: One class id for each image that can be read, in order; None for the predicted classes.
        data: The data set's name, hash and split, for the record.
        name: What the reader calls the model; the network's class when None.
        gallery: Images shown in the report.
        progress: Called as work goes on.

    Raises:
        SpecError: Explainers, measures or `gallery` make no audit; said before work starts.
        EmptyBatchError: No image can be read.
        NotFiniteError: The model gives NaN or infinity for every image.
    """
    chosen = [one for one in _built("explainer", explainers, Explainer) if one != FLOOR]  # type: ignore[type-abstract]
    allowed = [one for one in MEASURES if has_truth or "truth" not in one.needs] if measures is None else measures
    rated = _built("measure", allowed, Measure)  # type: ignore[type-abstract]
    if not chosen or not rated:
        raise SpecError("an audit needs at least one explainer, beside the random map, and one measure")
    for one in rated:
        if "truth" in one.needs and not has_truth:
            raise SpecError(f"{short(one)} needs masks of the known evidence, which these images do not have; leave it out or give truth=")
    if gallery < 1:
        raise SpecError(f"gallery must be at least 1, not {gallery}: the report shows some images")
    work = Work(model, chosen, rated, seed, targets, gallery, count, progress)
    for batch in batches:
        work.add(batch)
    return _finish(work, data or {"name": "images given as a tensor"}, name or model.name, classes)


def _finish(work: Work, data: Mapping[str, Any], name: str, classes: Sequence[str]) -> Audit:
    """Tables, verdict, report and record of all that was added."""
    problems = work.problems
    if not work.numbers:
        raise EmptyBatchError(f"no image could be read, so there is nothing to audit: {_first(problems)}")
    if not work.shown:
        raise NotFiniteError(f"the model gives NaN or infinity for every image, so there is nothing to audit: {_first(problems)}")
    measures = _labels(work.measures)
    scores = _long(work, measures)
    summary = summarise(scores, short(FLOOR), work.seed)
    notes = {
        name: MeasureNote(one.category, "higher is better" if one.higher_is_better else "lower is better", one.meaning, one.reference)
        for name, one in zip(measures, work.measures, strict=True)
    }
    targets = "given" if work.targets is not None else "predicted"
    answers = record(work.model, work.everyone, work.measures, data, work.numbers, work.seed, {"targets": targets})
    labels = match(classes, work.model.classes)
    page = Page(
        title="Which explanations of this model can be trusted?",
        model=f"{name}, its {work.model.output.replace('_', ' ')}, in {work.model.precision} on {work.model.device.type}",
        data=str(data.get("name")),
        verdict=verdict(summary, notes, work.status.count(OK)),
        summary=summary,
        measures=notes,
        gallery=work.gallery(measures, labels),
        settings=_settings(work, targets) | _accuracy(work, labels),
        record=answers,
        problems=problems,
    )
    unread = len(work.unread)
    status = pl.DataFrame(
        {
            "image": [*work.numbers, *[None] * unread],
            "name": [*work.names, *[name for name, _ in work.unread]],
            "status": [*work.status, *[f"cannot be read: {text}" for _, text in work.unread]],
        },
        schema={"image": pl.Int64, "name": pl.String, "status": pl.String},
    )
    return Audit(scores, summary, status, answers, page)


def _long(work: Work, measures: list[str]) -> pl.DataFrame:
    """All scores, a row each."""
    everyone = [short(one) for one in work.everyone]
    total = len(work.numbers)
    return pl.DataFrame(
        {
            "image": work.numbers * (len(everyone) * len(measures)),
            "explainer": [name for _ in measures for name in everyone for _ in range(total)],
            "measure": [name for name in measures for _ in range(len(everyone) * total)],
            "value": torch.cat(work.values, 2).flatten().double().numpy(),
            "direction": ["higher" if one.higher_is_better else "lower" for one in work.measures for _ in range(len(everyone) * total)],
        }
    )


def _settings(work: Work, targets: str) -> dict[str, str]:
    total = len(work.numbers)
    return {
        "images": f"{total}" + (f" of {work.count}; the others could not be read" if total < work.count else ""),
        "explained": f"the {work.model.output.replace('_', ' ')} of the {targets} class",
        "precision": work.model.precision,
        "seed": str(work.seed),
        "explainers": "; ".join(map(short, work.everyone)),
        "measures": "; ".join(map(short, work.measures)),
        "rules of the verdict": RULES,
    }


def _accuracy(work: Work, labels: Labels) -> dict[str, str]:
    if not work.labels:
        return {}
    share, known = labels.accuracy(work.labels, work.predicted)
    if not known:
        return {"accuracy": "unknown: the labels' classes are not the model's"}
    return {"accuracy": f"{share:.1%} of {known} labelled images"}


def _labels(measures: Sequence[Measure]) -> list[str]:
    """The measures' class names, with parameters only where one class stands twice."""
    names = [type(one).__name__ for one in measures]
    return [name if names.count(name) == 1 else short(one) for name, one in zip(names, measures, strict=True)]


def _built(kind: str, given: Sequence[T | str], base: type[T]) -> list[T]:
    """Objects from objects or specs, all of the right kind and different."""
    if isinstance(given, str):
        raise SpecError(f"give the {kind}s as a list, such as [{given!r}]")
    made: list[T] = []
    for one in given:
        found = build(one, base) if isinstance(one, str) else one
        if not isinstance(found, base):
            raise SpecError(f"{kind}s must be {base.__name__} objects or specs, not {found!r}")
        if found in made:
            raise SpecError(f"the {kind} {short(found)} is given twice; give each once")
        made.append(found)
    return made


def _first(problems: Sequence[tuple[str, str]], most: int = 3) -> str:
    """The first few problems in words."""
    more = f"; and {len(problems) - most} more" if len(problems) > most else ""
    return "; ".join(f"{name}: {text}" for name, text in problems[:most]) + more
