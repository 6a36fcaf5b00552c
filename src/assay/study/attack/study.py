"""Attacks on the maps of many images: what is left, per image and explainer, and the attacked images themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import polars as pl
import torch

from assay.attack.ball import Norm
from assay.attack.base import Attack, AttackResult
from assay.attack.distances import Distance, TopK
from assay.attack.goals import Goal
from assay.core.registry import short
from assay.errors import SpecError
from assay.explain.base import Explainer, check_explains, check_serves
from assay.measure.attacked import blind_like, noise_like
from assay.models.case import Case
from assay.report.attack_views import AttackView
from assay.report.render import render
from assay.report.text import plural
from assay.run.arrays import Keeping, as_kept, check_keeping
from assay.study.attack.attack_options import STEPS, asked_attack
from assay.study.attack.findings import Attacking, attack_grid, attack_page, attack_sentences, attack_summary
from assay.study.attack.shown import shown_attacks
from assay.study.gallery_images import places
from assay.study.study import Asked, Block, Done, Kept, Report, Study, Tell, check_distinct

__all__ = ["AttackStudy"]

_REPORT = "report.html"


@dataclass(frozen=True)
class AttackStudy(Study):
    """Attack explanations, the prediction kept, with noise of the same size as the floor: tables, arrays and a report in a run folder.

    Attributes:
        explainer: Such as "SmoothGrad(sigma=0.1)"; may be given several times.
        eps: Radius of the ball, of pixels in [0, 1]; 8/255 for linf, 0.5 for l2.
        norm: Norm of the ball; linf by default.
        steps: Steps of the attack; 50 by default.
        goal: What is wanted: PushOutTopK (the default), MoveCentre, MaximiseDistance(distance=Cosine()), ...
        compare: Distance that maps are compared by.
        attack: Spec of a whole attack, in place of the four options before.
        gallery: Images shown in the report.
        keep_maps: How exactly maps are kept: whole, or rounded to 11 bits, which takes half to two thirds of the room and reads as before.
        keep_top: Share of each map's pixels, the largest, that is kept, the others becoming 0; all by default.
    """

    explainer: tuple[Explainer, ...]
    eps: float | None = None
    norm: Norm | None = None
    steps: int | None = None
    goal: Goal | None = None
    compare: Distance = TopK()
    attack: Attack | None = None
    gallery: int = 4
    keep_maps: Keeping = "whole"
    keep_top: float | None = None

    command: ClassVar[str] = "attack"
    keeps_arrays: ClassVar[bool] = True

    def check(self, asked: Asked) -> None:
        """See `Study.check`.

        Raises:
            SpecError: Explainers or options make no attack, or 1 - the distance is no similarity.
            ModelError: The model has not what one of them needs.
        """
        check_distinct(self.explainer)
        check_keeping(self.keep_top)
        for one in self.explainer:
            check_serves(asked.model, one)
            check_explains(one, short(self.of(one)))
        if not self.compare.bounded:
            raise SpecError(f"1 - {short(self.compare)} is no similarity; compare by TopK, Cosine, Spearman or SSIM")
        if self.gallery < 1:
            raise SpecError(f"gallery must be at least 1, not {self.gallery}: the report shows some images")

    @property
    def usual(self) -> Attack:
        """What attacks explainers with derivatives."""
        return asked_attack(self.attack, self.eps, self.norm, self.steps, self.goal)

    @property
    def otherwise(self) -> Attack:
        """What attacks those that `usual` cannot."""
        return blind_like(self.usual, self.steps or STEPS)

    def of(self, explainer: Explainer) -> Attack:
        """What attacks this explainer."""
        return self.usual if self.usual.can(explainer) else self.otherwise

    def tried(self, asked: Asked) -> Sequence[Explainer] | None:
        """See `Study.tried`."""
        return self.explainer

    def block(self, asked: Asked, block: Block, tell: Tell) -> Kept:
        """See `Study.block`; `maps.zarr` has for each explainer the attacked images, and the maps of clean and attacked images."""
        case = block.case
        maps = {short(one): one.attribute(case.model, case.images, case.targets, case.index, case.seed) for one in self.explainer}
        keep = block.fine(maps)
        if not keep:
            return Kept(maps=maps)
        fine = torch.tensor(keep, device=case.images.device)
        part, names = case.part(fine), [block.batch.names[place] for place in keep]
        rows, arrays, rounded = [], {}, []
        for place, explainer in enumerate(self.explainer):
            tell(place * len(block.batch) // len(self.explainer))
            name, attack = short(explainer), self.of(explainer)
            hit, noise = (one.run(part, explainer, maps[name][fine]) for one in (attack, noise_like(attack)))
            rows.append(self._rows(part, names, explainer, hit, noise))
            arrays[f"{name} attacked images"] = block.spread(hit.images.cpu().numpy(), keep)
            for kind, values in (("maps", hit.maps), ("attacked maps", hit.attacked_maps)):
                arrays[f"{name} {kind}"] = block.spread(as_kept(values.cpu().numpy(), self.keep_maps, self.keep_top), keep)
                rounded.append(f"{name} {kind}")
        return Kept({"attacks": pl.concat(rows)}, maps, arrays, rounded=frozenset(rounded if self.keep_maps == "rounded" else ()))

    def _rows(self, case: Case, names: Sequence[str], explainer: Explainer, hit: AttackResult, noise: AttackResult) -> pl.DataFrame:
        left, left_after_noise = (1 - self.compare(one.maps, one.attacked_maps) for one in (hit, noise))
        clean, after = (
            case.model.score(one, case.targets, "probability") for one in (case.logits, case.model.unchecked_logits(hit.images))
        )
        return pl.DataFrame(
            {
                "image": case.index.cpu().numpy(),
                "name": names,
                "explainer": [short(explainer)] * len(names),
                "attack": [repr(self.of(explainer))] * len(names),
                "left": left.double().cpu().numpy(),
                "left_after_noise": left_after_noise.double().cpu().numpy(),
                "reached": hit.distance.double().cpu().numpy(),
                "kept": hit.kept.cpu().numpy(),
                "probability": clean.double().cpu().numpy(),
                "attacked_probability": after.double().cpu().numpy(),
            }
        )

    def conclude(self, asked: Asked, done: Done) -> Report:
        """`attacks.parquet` and `attacks.csv` (a row per image and explainer), `summary.csv`, `status.csv` and `report.html`."""
        done.require_sound("attacked")
        summary = attack_summary(done.table("attacks"))
        troubled = done.tally.troubled

        def page() -> bytes:
            by = Attacking(self.usual, self.otherwise, self.compare)
            return render(attack_page(by, asked, done, summary, self._shown(asked, done.tally.first or 0))).encode()

        return Report(
            found=lambda: summary,
            merged={"attacks.parquet": "attacks", "attacks.csv": "attacks", "status.csv": "status"},
            files={"summary.csv": lambda: summary.write_csv().encode(), _REPORT: page},
            grids=(attack_grid(summary),),
            sentences=attack_sentences(summary),
            said=(f"{plural(troubled, 'image')} had problems; the report and status.csv list them.",) if troubled else (),
            main=("report", _REPORT),
        )

    def _shown(self, asked: Asked, first: int) -> tuple[AttackView, ...]:
        wanted = sorted({*places(self.gallery, asked.images), first})[: self.gallery + 1]
        return shown_attacks(asked, wanted, self.explainer, self.of, self.compare, asked.labels(first))

    def record(self, asked: Asked) -> dict[str, Any]:
        """The seven reproducibility answers."""
        attacks = {repr(self.of(one)): self.of(one).reference for one in self.explainer}
        kept = {"keep_maps": self.keep_maps, "keep_top": self.keep_top}
        answers = asked.record(self.explainer, (), {"distance": repr(self.compare), "attacks": list(attacks), **kept})
        return {**answers, "algorithm": answers["algorithm"] | attacks}
