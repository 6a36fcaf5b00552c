"""`audit`: explain, measure against a random map, and judge; and its study of many images."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, ClassVar, Literal, get_args

from torch import Tensor

from assay.attack.base import Attack
from assay.core.listed import built
from assay.core.progress import Progress, silent
from assay.core.registry import short
from assay.core.surroundings import undisturbed
from assay.data.files.convert import as_batch, class_names
from assay.errors import SpecError
from assay.explain.adapters.given import Given, given_maps
from assay.explain.base import Explainer, check_explains, check_model, check_serves, is_fixed, serves
from assay.measure.attacked import with_floor
from assay.measure.base import Measure
from assay.models.classifier import Classifier
from assay.models.targets import Targets
from assay.report import render
from assay.report.page import Page
from assay.report.text import plural
from assay.study.audit.answers import SMALLEST
from assay.study.audit.audit import Audit
from assay.study.audit.findings import audit_page, judged
from assay.study.audit.nulls import Null, Nulls, judges
from assay.study.audit.scores import AuditPlan, block_scores
from assay.study.audit.standard import EXPLAINERS, FLOOR, MEASURES, PAPER_EXPLAINERS
from assay.study.audit.views import scores_grid
from assay.study.gallery_images import pack, places
from assay.study.study import Asked, Block, Done, Kept, Report, Study, Tell, result

__all__ = ["AuditStudy", "audit"]

_MASKS = frozenset({"truth", "distractor"})
_REPORT = "report.html"


@dataclass(frozen=True)
class AuditStudy(Study):
    """Audit explanations of a model: report.html, scores.parquet, summary.csv and status.csv, in a run folder that can be resumed.

    Attributes:
        explainer: Spec of an explainer; may be given several times. The paper's six by default.
        measure: Spec of a measure; may be given several times. All that the data allow by default.
        preset: The six explainers at their best, or as the robustness paper ran them.
        attack: Spec of an attack on the maps, such as MapAttack(eps=4/255); may be given several times.
        maps: Maps made elsewhere, as NAME=FILE (.npz, .npy, zarr, a folder), judged beside the explainers; may be given several times.
        gallery: Images shown in the report.
        smallest_effect: The smallest mean difference to a null that counts, in standard deviations of the paired differences.
        null: How a map is put elsewhere: moved in a circle (shift), or its frequencies at random phases (phase), which keeps texture alone.
    """

    explainer: tuple[Explainer, ...] | None = None
    measure: tuple[Measure, ...] | None = None
    preset: Literal["default", "paper"] = "default"
    attack: tuple[Attack, ...] = ()
    maps: tuple[Given, ...] = ()
    gallery: int = 8
    smallest_effect: float = SMALLEST
    null: Null = "shift"

    command: ClassVar[str] = "audit"
    least: ClassVar[int] = 16  # Maps are held against those of other images of the block, which must be of several classes.

    @property
    def explainers(self) -> tuple[Explainer, ...]:
        """What is asked for, without the floor."""
        chosen = PAPER_EXPLAINERS if self.preset == "paper" else EXPLAINERS if self.explainer is None else self.explainer
        return tuple(one for one in chosen if one != FLOOR)

    def explained(self, asked: Asked) -> tuple[Explainer, ...]:
        """What is audited: as asked for; by default those that the model serves, and maps made elsewhere."""
        named = self.explainer is not None or self.preset == "paper"
        return (*(one for one in self.explainers if named or serves(asked.model, one)), *self.maps)

    def measures(self, asked: Asked) -> tuple[Measure, ...]:
        """What scores the maps: as asked or all that the data allow, then what attacks, and noise of their size, leave."""
        left = (one for attack in self.attack for one in with_floor(attack))
        return tuple(dict.fromkeys((*self._chosen(asked), *left)))

    def _chosen(self, asked: Asked) -> tuple[Measure, ...]:
        if self.measure is not None:
            return self.measure
        fixed = any(map(is_fixed, self.explained(asked)))
        return tuple(one for one in MEASURES if _MASKS & one.needs <= asked.masks and not (fixed and "explainer" in one.needs))

    def tried(self, asked: Asked) -> Sequence[Explainer] | None:
        """See `Study.tried`."""
        return self.explained(asked)

    def plan(self, asked: Asked) -> AuditPlan:
        """All that is to be done."""
        measures, hit = self.measures(asked), tuple(with_floor(one)[0] for one in self.attack)
        held = judges(measures)
        nulls = Nulls(self.explained(asked), held, asked.seed, asked.twins, "truth" in asked.masks, self.null)
        return AuditPlan(self.explained(asked), measures, hit, nulls, self.gallery, self.smallest_effect)

    def check(self, asked: Asked) -> None:
        """See `Study.check`.

        Raises:
            SpecError: Explainers, measures, attacks, gallery or smallest effect make no audit.
            ModelError: The model has not what an explainer needs.
        """
        if self.explainer is not None and self.preset == "paper":
            raise SpecError("--preset paper brings its own explainers; give either it or --explainer")
        explainers = self.explained(asked)
        built("explainer", explainers, Explainer)
        for explainer in explainers:
            check_serves(asked.model, explainer)
        built("measure", self.measure or (), Measure)
        built("attack", self.attack, Attack)
        chosen = self._chosen(asked)
        if not explainers or not chosen:
            raise SpecError("an audit needs at least one explainer, beside the random map, and one measure")
        for one in chosen:
            for lack in sorted((_MASKS & one.needs) - asked.masks):
                what = "the known evidence" if lack == "truth" else "a known distractor"
                raise SpecError(f"{short(one)} needs masks of {what}, which these images do not have; leave it out or give {lack}=")
        if self.gallery < 1:
            raise SpecError(f"gallery must be at least 1, not {self.gallery}: the report shows some images")
        if not 0 <= self.smallest_effect < math.inf:
            raise SpecError(f"smallest_effect must be at least 0, in standard deviations, not {self.smallest_effect!r}")
        if self.null not in get_args(Null):
            raise SpecError(f"null must be shift or phase, not {self.null!r}")
        for asker in (*(one for one in chosen if "explainer" in one.needs), *self.attack):
            for explainer in explainers:
                check_explains(explainer, short(asker))
        for given in self.maps:
            given.check(asked.source.indices, asked.shape)
        self.measures(asked)  # A distance that is no similarity is refused here.

    def block(self, asked: Asked, block: Block, tell: Tell) -> Kept:
        """See `Study.block`; rows of scores, classes, flat, nulls and agreement, and the images of the gallery that the block has."""
        found = block_scores(self.plan(asked), block, tell)
        shown = found.shown(places(self.gallery, asked.images))
        return Kept({**found.tables, **({"gallery": pack(shown)} if shown else {})}, found.maps)

    def conclude(self, asked: Asked, done: Done) -> Report:
        """`scores.parquet` (a row per image, explainer and measure), summary, answers, status, `verdict.json` and `report.html`."""
        plan, troubled = self.plan(asked), done.tally.troubled
        found = judged(plan, asked, done)

        @cache
        def page() -> Page:
            return audit_page(plan, asked, done, found)

        return Report(
            found=lambda: Audit(done.table("scores"), found.summary, done.table("status"), done.answers, page(), found.answers),
            merged={"scores.parquet": "scores", "status.csv": "status"},
            files={
                "summary.csv": lambda: found.summary.write_csv().encode(),
                "answers.csv": lambda: found.answers.table.write_csv().encode(),
                "verdict.json": lambda: (json.dumps([asdict(one) for one in found.verdict], indent=2) + "\n").encode(),
                _REPORT: lambda: render(page()).encode(),
            },
            grids=(scores_grid(found.summary),),
            sentences=found.verdict,
            said=(f"{plural(troubled, 'image')} had problems; the report and status.csv list them.",) if troubled else (),
            main=("report", _REPORT),
        )

    def record(self, asked: Asked) -> dict[str, Any]:
        """The seven reproducibility answers."""
        return asked.record((*self.explained(asked), FLOOR), self.measures(asked), {})


@undisturbed()
def audit(
    model: Classifier,
    images: Any,
    targets: Targets | None = None,
    explainers: Sequence[Explainer | str] | None = None,
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
    null: Null = "shift",
    progress: Progress = silent,
) -> Audit:
    """Explain images by several explainers and measure the maps, with a random map as the floor.

    Args:
        model: The model to explain.
        images: (N, C, H, W), pixels in [0, 1]; or pictures, arrays, a data set or a loader, with their labels, as `assay.data.as_batch`
            takes them.
        targets: (N,) class ids, or what else is explained (`assay.models.targets.Targets`); None for the predicted classes.
        explainers: Explainers or their specs; by default the six of the robustness paper, of a model known by its scores alone those that
            it serves.
        measures: Measures or their specs; by default all that the data allow, without those that explain anew where there are maps.
        seed: Decides all randomness, together with `index`.
        attacks: Attacks on maps or their specs; each adds what it leaves of the maps, and what noise of its size leaves, to the
            measures, and attacked images to the report.
        maps: Maps that were made elsewhere, by name, as `Given` takes them, judged beside the explainers.
        index: (N,) the images' global numbers, all different; 0..N-1 when None.
        truth: (N, 1, H, W) masks of the known evidence.
        distractor: (N, 1, H, W) masks of what must not matter, outlined in the report.
        labels: (N,) true classes, by the model's numbers, shown in the report; with head "sigmoid" also multi-hot (N, K), of which the
            report tells how many are found. -1 where nobody knows.
        names: The images' names, shown in the report.
        gallery: Images shown in the report; those of other than 1 or 3 channels as the channels' mean.
        smallest_effect: The smallest mean difference to a null that counts, in standard deviations of the paired differences.
        null: How maps are put elsewhere, see `AuditStudy`.
        progress: Called as work goes on.

    Returns:
        Scores, summary and report.

    Raises:
        AssayError: A wrong input, named in the message, before work starts.
    """
    classes: tuple[str, ...] = ()
    kind = type(images)
    if not isinstance(images, Tensor):
        check_model(model)
        held, classes = as_batch(images, model.reading), class_names(images) if labels is None else ()
        images, labels = held.images, held.labels if labels is None else labels
        truth, distractor = held.truth if truth is None else truth, held.distractor if distractor is None else distractor
        index, names = held.index if index is None else index, held.names if names is None else names
    asked = Asked.given(model, images, targets, seed, index, names, kind).beside(labels, truth, distractor, classes)
    study = AuditStudy(
        explainer=None if explainers is None else tuple(built("explainer", explainers, Explainer)),
        measure=None if measures is None else tuple(built("measure", measures, Measure)),
        attack=tuple(built("attack", attacks, Attack)),
        maps=tuple(given_maps(maps)),
        gallery=gallery,
        smallest_effect=smallest_effect,
        null=null,
    )
    found: Audit = result(study, asked, progress)
    return found
