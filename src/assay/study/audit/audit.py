"""`audit`: explain, measure against a random map, and judge."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
from torch import Tensor

from assay.attack.base import Attack
from assay.core.files import replacing
from assay.core.inputs import check_images, check_index, check_masks, check_seed
from assay.core.listed import built
from assay.core.progress import Progress, silent
from assay.core.registry import short
from assay.core.surroundings import undisturbed
from assay.data.base import Batch
from assay.data.files.convert import as_batch
from assay.errors import DataError, ShapeError, SpecError
from assay.explain.adapters.given import Given, given_maps
from assay.explain.base import Explainer, check_explains, check_model, is_fixed
from assay.explain.gradient import Gradient, GradientXInput
from assay.explain.path import IntegratedGradients
from assay.explain.smooth import SmoothGrad
from assay.explain.superpixels.segments import Quickshift
from assay.explain.superpixels.surrogate import KernelShap, Lime
from assay.measure.attacked import with_floor
from assay.measure.base import Measure
from assay.measure.linearity import Infidelity, LocalLinearError
from assay.measure.localisation import MaskIoU
from assay.measure.perturbation import Deletion, Insertion
from assay.measure.robustness import MaxSensitivity
from assay.models.classifier import Classifier
from assay.models.heads import HEADS
from assay.models.targets import Targets, check_labels
from assay.report import Page, write
from assay.run.blocks import BLOCK, Blocks
from assay.run.sink import Memory, Sink
from assay.study.audit.answers import SMALLEST, Answers
from assay.study.audit.findings import findings
from assay.study.audit.work import FLOOR, Work
from assay.study.source import Held, Source
from assay.study.targeting import Targeting, given_targets

__all__ = ["EXPLAINERS", "MEASURES", "PAPER", "Audit", "audit", "audit_blocks", "audit_source", "plan"]

EXPLAINERS: tuple[Explainer, ...] = (Gradient(), GradientXInput(), IntegratedGradients(), SmoothGrad(), Lime(), KernelShap())
PAPER: tuple[Explainer, ...] = (
    Gradient(),
    GradientXInput(),
    IntegratedGradients(rule="gauss_legendre", complete=False),
    SmoothGrad(antithetic=False),
    Lime(segments=Quickshift()),
    KernelShap(segments=Quickshift(), sampling="independent"),
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

_MASKS = frozenset({"truth", "distractor"})


@dataclass(frozen=True, eq=False)
class Audit:
    """What an audit found.

    Attributes:
        scores: Long table: image (global number), explainer, measure, value, direction ("higher" or "lower" is better);
            the random map's rows included.
        summary: One row for each explainer and measure: mean and 95 % interval, the random map's, and the verdict.
        page: The report, ready to be written.
        record: The seven reproducibility answers.
        status: One row per image: image, name, status ("ok" or what was wrong), label, predicted class.
    """

    scores: pl.DataFrame
    summary: pl.DataFrame
    status: pl.DataFrame
    record: Mapping[str, Any]
    page: Page
    _answers: Answers

    @property
    def answers(self) -> pl.DataFrame:
        """Table: explainer, question, measure, difference, low, high, effect, p, holds.

        A question ("where", "this image", "this model", "more than the image") is what the explainer's maps were held against; `difference`
        is theirs less the null's, positive being better; low and high are its corrected interval, `effect` is in standard deviations, p is
        one-sided and corrected; `holds` is empty where it is undecided, could not be asked, or the measure is silent.
        """
        return self._answers.table

    @property
    def trusted(self) -> tuple[str, ...]:
        """Names of the explainers that pass every question."""
        return self._answers.trusted

    @property
    def recommended(self) -> str | None:
        """The trusted explainer that was chosen on one half of the images and confirmed on the other, or None."""
        return self._answers.recommended

    @property
    def silent(self) -> tuple[str, ...]:
        """Names of the measures that tell nothing on these images."""
        return self._answers.silent

    def to_html(self, path: str | Path) -> Path:
        """Write the report as one self-contained HTML file; returns its path."""
        return write(self.page, path)

    def save(self, folder: str | Path) -> Path:
        """Write report.html, scores.parquet, summary.csv, answers.csv, status.csv and environment.json; returns the folder.

        Raises:
            DataError: The folder cannot be made or written.
        """
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with replacing(folder / "scores.parquet") as draft:
                self.scores.write_parquet(draft)
            for name, table in (("summary", self.summary), ("answers", self.answers), ("status", self.status)):
                with replacing(folder / f"{name}.csv") as draft:
                    table.write_csv(draft)
            with replacing(folder / "environment.json") as draft:
                draft.write_text(json.dumps(self.record, indent=2) + "\n")
        except OSError as error:
            raise DataError(f"cannot write the audit to {folder}: {error.strerror or error}") from error
        self.to_html(folder / "report.html")
        return folder

    @property
    def verdict(self) -> tuple[str, ...]:
        """The verdict in plain words."""
        return tuple(sentence.text for sentence in self.page.verdict)


@undisturbed()
def audit(
    model: Classifier,
    images: Any,
    targets: Targets | None = None,
    explainers: Sequence[Explainer | str] = EXPLAINERS,
    measures: Sequence[Measure | str] | None = None,
    seed: int = 0,
    *,
    attacks: Sequence[Attack | str] = (),
    maps: Mapping[str, Any] | None = None,
    index: Tensor | None = None,
    truth: Tensor | None = None,
    distractor: Tensor | None = None,
    labels: Tensor | None = None,
    names: Sequence[str] | None = None,
    gallery: int = 8,
    smallest_effect: float = SMALLEST,
    progress: Progress = silent,
) -> Audit:
    """Explain images by several explainers and measure the maps, with a random map as the floor.

    Args:
        model: The model to explain.
        images: (N, C, H, W), pixels in [0, 1]; or pictures, arrays, a data set or a loader, with their labels, as `assay.data.as_batch`
            takes them.
        targets: (N,) class ids, or what else is explained (`assay.models.targets.Targets`); None for the predicted classes.
        explainers: Explainers or their specs; by default the six of the robustness paper.
        measures: Measures or their specs; by default all that the data allow, without those that explain anew where there are maps.
        seed: Decides all randomness, together with `index`.
        attacks: Attacks on maps or their specs; each adds what it leaves of the maps, and what noise of its size leaves, to the
            measures, and attacked images to the report.
        maps: Maps that were made elsewhere, by name, as `Given` takes them, judged beside the explainers.
        index: (N,) the images' global numbers, all different; 0..N-1 when None.
        truth: (N, 1, H, W) masks of the known evidence.
        distractor: (N, 1, H, W) masks of what must not matter, outlined in the report.
        labels: (N,) true classes, by the model's numbers, shown in the report; with head "sigmoid" also multi-hot (N, K), of which the
            report tells how many are found.
        names: The images' names, shown in the report.
        gallery: Images shown in the report; those of other than 1 or 3 channels as the channels' mean.
        smallest_effect: The smallest mean difference to a null that counts, in standard deviations of the paired differences.
        progress: Called as work goes on.

    Returns:
        Scores, summary and report.

    Raises:
        AssayError: A wrong input, named in the message, before work starts.
    """
    check_model(model)
    seed = check_seed(seed)
    if not isinstance(images, Tensor):
        held = as_batch(images)
        images, labels = held.images, held.labels if labels is None else labels
        truth, distractor = held.truth if truth is None else truth, held.distractor if distractor is None else distractor
        index, names = held.index if index is None else index, held.names if names is None else names
    images = check_images(images, broken=True)
    count = len(images)
    numbers = check_index(index, count, images.device)
    if len(numbers.unique()) < count:
        raise ShapeError("index gives two images the same number; each needs its own")
    if names is not None and len(names) != count:
        raise ShapeError(f"names holds {len(names)} names for {count} images; give one for each")
    facts, marks = {}, None if labels is None else _labels(model, images, labels)
    if marks is not None and marks.ndim > 1:
        facts, marks = _multi_hot(model, images, marks), None
    batch = Batch(
        images=images,
        labels=marks,
        truth=None if truth is None else check_masks(truth, images, "truth"),
        distractor=None if distractor is None else check_masks(distractor, images, "distractor"),
        index=numbers,
        names=tuple(names) if names is not None else tuple(f"image {number}" for number in range(count)),
    )
    aims = given_targets(targets, model, images)
    given = [name for name, mask in (("truth", truth), ("distractor", distractor)) if mask is not None]
    explainers = [*built("explainer", explainers, Explainer), *given_maps(maps)]
    for one in explainers:
        if isinstance(one, Given):
            one.attribute(model, images, None, numbers, seed)  # Which says now what does not fit.
    work = plan(
        model,
        count,
        explainers,
        measures,
        seed,
        masks=frozenset(given),
        gallery=gallery,
        targets=aims,
        attacks=attacks,
        smallest=smallest_effect,
    )
    return audit_source(replace(work, facts=facts), Held(batch), {"name": "images given as a tensor"}, model.name, progress=progress)


def _labels(model: Classifier, images: Tensor, labels: Tensor) -> Tensor:
    """The labels, checked; only of multi-hot ones must the model be known."""
    multi = isinstance(labels, Tensor) and labels.ndim > 1
    classes = model.count_classes(images.shape[1:]) if multi else None
    return check_labels(HEADS[model.head], labels, len(images), classes, images.device)


def _multi_hot(model: Classifier, images: Tensor, labels: Tensor) -> dict[str, str]:
    """How many findings are as multi-hot labels (N, K) say."""
    same = HEADS[model.head].findings(model.unchecked_logits(images)) == labels
    every = f"{float(same.all(1).float().mean()):.1%} of {len(images)} labelled images in all their findings"
    return {"accuracy": f"{every}, {float(same.float().mean()):.1%} of the findings"}


@undisturbed()
def audit_source(
    work: Work,
    source: Source,
    data: Mapping[str, Any],
    name: str,
    classes: Sequence[str] = (),
    block: int = BLOCK,
    progress: Progress = silent,
) -> Audit:
    """An audit that keeps its tables in memory.

    Args:
        work: What to do.
        source: The images.
        data: The data set's name, hash and split, for the record.
        name: What the reader calls the model.
        classes: Names of the labels' classes; none when labels are the model's own class numbers.
        block: Images that are worked on together, at most.
        progress: Called as work goes on.

    Raises:
        EmptyBatchError: No image can be read.
        NotFiniteError: The model gives NaN or infinity for every image.
    """
    blocks, sink = Blocks.even(work.images, block), Memory()
    audit_blocks(work, source, sink, blocks, range(len(blocks)), progress)
    answers = work.record(data, source.indices)
    summary, page, found = findings(work, source, sink, blocks, answers, name, classes)
    return Audit(pl.concat(sink.tables("scores")), summary, pl.concat(sink.tables("status")), answers, page, found)


def plan(
    model: Classifier,
    images: int,
    explainers: Sequence[Explainer | str] = EXPLAINERS,
    measures: Sequence[Measure | str] | None = None,
    seed: int = 0,
    *,
    masks: Set[str] = frozenset(),
    gallery: int = 8,
    targets: Targeting | Tensor | None = None,
    attacks: Sequence[Attack | str] = (),
    smallest: float = SMALLEST,
) -> Work:
    """What an audit will do, checked before it does anything.

    Args:
        model: The model to explain.
        images: How many images there are, files that cannot be read included.
        explainers: See `audit`.
        measures: See `audit`.
        seed: See `audit`.
        masks: Which masks the images bring: "truth", "distractor".
        gallery: Images shown in the report.
        targets: What is explained of each image.
        attacks: See `audit`.
        smallest: See `audit`, smallest_effect.

    Raises:
        SpecError: Explainers, measures, attacks, `gallery` or `smallest` make no audit.
    """
    chosen = [one for one in built("explainer", explainers, Explainer) if one != FLOOR]
    held = any(map(is_fixed, chosen))
    allowed = [one for one in MEASURES if _MASKS & one.needs <= masks and not (held and "explainer" in one.needs)]
    rated = built("measure", allowed if measures is None else measures, Measure)
    if not chosen or not rated:
        raise SpecError("an audit needs at least one explainer, beside the random map, and one measure")
    for one in rated:
        for lack in sorted((_MASKS & one.needs) - masks):
            what = "the known evidence" if lack == "truth" else "a known distractor"
            raise SpecError(f"{short(one)} needs masks of {what}, which these images do not have; leave it out or give {lack}=")
    if gallery < 1:
        raise SpecError(f"gallery must be at least 1, not {gallery}: the report shows some images")
    asking: list[Any] = [*(one for one in rated if "explainer" in one.needs), *built("attack", attacks, Attack)]
    for asker in asking:
        for explainer in chosen:
            check_explains(explainer, short(asker))
    if not 0 <= smallest < math.inf:
        raise SpecError(f"smallest_effect must be at least 0, in standard deviations, not {smallest!r}")
    attacked = [with_floor(one) for one in built("attack", attacks, Attack)]
    rated += [one for pair in attacked for one in pair if one not in rated]
    aims, hit = Targeting.read(targets), [one for one, _ in attacked]
    return Work(model, chosen, list(dict.fromkeys(rated)), seed, images, gallery, aims, hit, smallest=smallest, truth="truth" in masks)


def audit_blocks(work: Work, source: Source, sink: Sink, blocks: Blocks, share: Iterable[int], progress: Progress = silent) -> None:
    """Explain and measure the blocks in `share`, each kept by the sink when it is finished.

    Args:
        work: What to do.
        source: The images.
        sink: What keeps the results.
        blocks: How the images are cut.
        share: The blocks to do.
        progress: Called as work goes on.
    """
    todo = list(share)
    total = sum(len(blocks.rows(block)) for block in todo)
    done = 0
    for block, batch in zip(todo, source.read(map(blocks.rows, todo)), strict=True):
        tables = work.tables(source, blocks.rows(block), batch, lambda images, done=done: progress("audit", done + images, total))  # type: ignore[misc]
        sink.write(block, tables)
        done += len(blocks.rows(block))
        progress("audit", done, total)
