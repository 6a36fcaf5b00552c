"""Attacks on the maps of many images in a run folder: what is left, per image and explainer, and the attacked images themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from assay.attack.base import Attack
from assay.attack.distances import Distance
from assay.core.progress import Progress, silent
from assay.core.registry import short
from assay.data.base import Batch
from assay.errors import EmptyBatchError, SpecError
from assay.explain.base import Explainer, check_explains
from assay.measure.attacked import noise_like
from assay.models.classifier import Classifier
from assay.report.attack import AttackView
from assay.report.attack_page import render_attack
from assay.study.attack_findings import attack_page, attack_summary
from assay.study.attack_views import shown_attacks
from assay.study.findings import few, tally
from assay.study.gallery import places
from assay.study.labels import match
from assay.study.record import record
from assay.study.run import Run
from assay.study.source import Source, placed
from assay.study.work import OK, lines_of, lines_of_unread, status_table

__all__ = ["Attacked", "Attacking", "attack_run"]

_TABLE, _CSV, _SUMMARY, _STATUS, _REPORT = "attacks.parquet", "attacks.csv", "summary.csv", "status.csv", "report.html"


@dataclass(frozen=True, eq=False)
class Attacking:
    """The plan of an attack on many images.

    Attributes:
        model: The model.
        explainers: What is attacked.
        attack: What attacks them.
        otherwise: What attacks those that `attack` cannot.
        distance: What maps are compared by; the table has 1 - distance.
        seed: Decides all randomness, together with the images' numbers.
        images: Images in all.
        gallery: Images for the report.
        classes: Names of the labels' classes; none when labels are the model's own class numbers.

    Raises:
        SpecError: There is no explainer, one is given twice, or 1 - distance is no similarity.
    """

    model: Classifier
    explainers: Sequence[Explainer]
    attack: Attack
    images: int
    otherwise: Attack
    distance: Distance
    seed: int = 0
    gallery: int = 4
    classes: Sequence[str] = ()

    def __post_init__(self) -> None:
        names = [short(one) for one in self.explainers]
        if not names or len(set(names)) < len(names):
            raise SpecError(f"explainers are given twice in {', '.join(names)}; give each once" if names else "give at least one explainer")
        for one in self.explainers:
            check_explains(one, short(self.attack))
        if not self.distance.bounded:
            raise SpecError(f"1 - {short(self.distance)} is no similarity; compare by TopK, Cosine, Spearman or SSIM")

    def of(self, explainer: Explainer) -> Attack:
        """What attacks this explainer."""
        return self.attack if self.attack.can(explainer) else self.otherwise

    def record(self, data: Mapping[str, Any], indices: Sequence[int]) -> dict[str, Any]:
        """The seven reproducibility answers, of images with those numbers in those data."""
        told = {"targets": "predicted", "distance": repr(self.distance)}
        attacks = {repr(self.of(one)): self.of(one).reference for one in self.explainers}
        answers = record(self.model, self.explainers, (), data, indices, self.seed, told | {"attacks": list(attacks)})
        return {**answers, "algorithm": answers["algorithm"] | attacks}


@dataclass(frozen=True, eq=False)
class Attacked:
    """How an attack on many images ended.

    Attributes:
        summary: One row for each explainer: attack, means and 95 % intervals of what is left after noise and after the attack and of
            their difference, whether it is fragile, and the share of images whose prediction is kept.
        problems: How many images had problems.
        report: The report's path.
    """

    summary: pl.DataFrame
    problems: int
    report: Path


def attack_run(run: Run, plan: Attacking, source: Source, *, name: str, progress: Progress = silent) -> Attacked | None:
    """Do what is left of the attacks, and write the results when all is done.

    The folder gets `attacks.parquet` and `attacks.csv` (a row per image and explainer), `summary.csv`, `status.csv`, `report.html` and
    `maps.zarr` (for each explainer the attacked images, and the maps of the clean and the attacked images).

    Args:
        run: The run folder.
        plan: What to do.
        source: The images.
        name: What the reader calls the model.
        progress: Called as work goes on.

    Returns:
        The outcome in the first process, None in the others.

    Raises:
        EmptyBatchError: No image could be read and explained.
        DataError: The disk is full or the folder cannot be written.
    """
    share = run.share()
    total, done = sum(len(run.blocks.rows(block)) for block in share), 0
    for block, batch in zip(share, source.read(map(run.blocks.rows, share)), strict=True):
        rows = run.blocks.rows(block)
        run.write(block, *_attack(plan, source, rows, batch, lambda images, done=done: progress("attack", done + images, total)))  # type: ignore[misc]
        done += len(rows)
        progress("attack", done, total)
    with run.ranks.together():
        if not run.ranks.first:
            return None
        counted = tally(run)
        if not counted.sound:
            raise EmptyBatchError(f"no image could be attacked: {few(counted)}")
        table = pl.concat(list(run.tables("attacks")))
        summary = attack_summary(table, plan.seed)
        if not run.over:
            views = _shown(plan, source, counted.first or 0)
            page = attack_page(plan, summary, counted, views, name, run.answers)
            for target in (_TABLE, _CSV):
                run.merge("attacks", target)
            run.merge("status", _STATUS)
            run.put(_SUMMARY, summary.write_csv())
            run.put(_REPORT, render_attack(page))
            run.finish([_TABLE, _CSV, _SUMMARY, _STATUS, _REPORT])
        return Attacked(summary, counted.troubled, run.folder / _REPORT)


def _shown(plan: Attacking, source: Source, first: int) -> tuple[AttackView, ...]:
    wanted = sorted({*places(plan.gallery, plan.images), first})[: plan.gallery + 1]
    labels = match(plan.classes, plan.model.classes)
    return shown_attacks(source, wanted, plan.model, plan.explainers, plan.of, plan.distance, plan.seed, labels)


def _attack(
    plan: Attacking, source: Source, rows: range, batch: Batch, tell: Callable[[int], None]
) -> tuple[dict[str, pl.DataFrame], dict[str, np.ndarray]]:
    """Tables and arrays of one block."""
    at, unread = placed(source, rows, batch)
    lines = lines_of_unread(unread)
    arrays = {"index": np.array([int(source.indices[row]) for row in rows])}
    tables: dict[str, pl.DataFrame] = {}
    if at:
        model = plan.model
        images, index = batch.images.to(model.device), batch.index.to(model.device)
        logits = model.unchecked_logits(images)
        targets = logits.argmax(1)
        maps = {short(one): one.attribute(model, images, targets, index, plan.seed) for one in plan.explainers}
        told = lines_of(batch, logits.cpu(), {name: one.cpu() for name, one in maps.items()})
        lines |= zip(at, told, strict=True)
        fine = torch.tensor([place for place, (_, state, _, _) in enumerate(told) if state == OK], dtype=torch.int64)
        held = np.array([at[place] - rows.start for place in fine.tolist()], int)
        parts = []
        for place, explainer in enumerate(plan.explainers):
            tell(place * len(batch) // len(plan.explainers))
            name, attack = short(explainer), plan.of(explainer)
            case = (model, explainer, images[fine], targets[fine], index[fine], plan.seed, logits[fine], maps[name][fine])
            results = [one.run(*case) for one in (attack, noise_like(attack))] if len(fine) else []
            if not results:
                continue
            left = [1 - plan.distance(one.maps, one.attacked_maps) for one in results]
            clean, after = (
                one.softmax(1).gather(1, targets[fine][:, None])[:, 0] for one in (logits[fine], model.unchecked_logits(results[0].images))
            )
            parts.append(
                pl.DataFrame(
                    {
                        "image": index[fine].cpu().numpy(),
                        "name": [batch.names[place] for place in fine.tolist()],
                        "explainer": [name] * len(fine),
                        "attack": [repr(attack)] * len(fine),
                        "left": left[0].double().cpu().numpy(),
                        "left_after_noise": left[1].double().cpu().numpy(),
                        "reached": results[0].distance.double().cpu().numpy(),
                        "kept": results[0].kept.cpu().numpy(),
                        "probability": clean.double().cpu().numpy(),
                        "attacked_probability": after.double().cpu().numpy(),
                    }
                )
            )
            for kind, values in (
                ("attacked images", results[0].images),
                ("maps", results[0].maps),
                ("attacked maps", results[0].attacked_maps),
            ):
                full = np.full((len(rows), *values.shape[1:]), np.nan, np.float32)
                full[held] = values.cpu().numpy()
                arrays[f"{name} {kind}"] = full
        if parts:
            tables["attacks"] = pl.concat(parts)
    tables["status"] = status_table(source, rows, lines)
    return tables, arrays
