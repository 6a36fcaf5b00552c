"""The steps of the robustness study: classes, measured maps and attacked maps, each as rows of tables."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import polars as pl
import torch
from torch import Tensor

from assay.attack.base import Attack
from assay.attack.distances import Distance
from assay.core.precision import Precision
from assay.core.progress import Progress, silent
from assay.core.registry import short
from assay.measure.attacked import with_floor
from assay.models.case import Case
from assay.models.classifier import Classifier, Output
from assay.papers.robustness.plan import RobustnessPlan, Step
from assay.run.sink import Sink
from assay.study.asked import Asked
from assay.study.certify import certified_table
from assay.study.frontier.sweep import ATTACKED, NOISE, PLAIN, Sweep, sweep_block, width_of
from assay.study.source import Held

__all__ = ["CERTIFICATES", "CLASSES", "COSTS", "VALUES", "attacked_values", "do_steps", "quantity"]

VALUES, CLASSES, CERTIFICATES, COSTS = "values", "classes", "certificates", "costs"
"""Tables: a row for each number per image; each image's class by each model; its certificates; time and passes of each step."""


def do_steps(plan: RobustnessPlan, sink: Sink, share: Iterable[int], progress: Progress = silent) -> None:
    """Do the steps in `share`, by their numbers, each kept by the sink when it is finished.

    Args:
        plan: What to do.
        sink: What keeps the results.
        share: The steps to do.
        progress: Called as work goes on.
    """
    todo = [(number, plan.steps[number]) for number in share]
    totals, done = Counter[str](), Counter[str]()
    for _, step in todo:
        totals[step.model] += len(step.rows)
    held: dict[tuple[str, str, str], Classifier] = {}
    for number, step in todo:
        name, images = step.model, len(step.rows)
        precision = plan.settings.attack_precision if step.kind == "attack" else plan.settings.precision
        key: tuple[str, Precision, Output] = (name, precision, "probability" if step.kind == "certify" else "logit")
        if key not in held:
            held = {other: one for other, one in held.items() if other[0] == name}
            held[key] = plan.classifier(*key)
        model = held[key]

        def tell(share: float, name: str = name, images: int = images) -> None:
            progress(name, done[name] + int(share * images), totals[name])

        tell(0.0)
        began, before = time.perf_counter(), model.passes.copy()
        tables = _tables(plan, step, model, tell)
        spent = model.passes - before
        one = plan.networks[name]
        facts = {"model": one.name, "backbone": one.backbone, "twin": one.twin, "part": step.part}
        cost = {"kind": step.kind, "images": images, "seconds": round(time.perf_counter() - began, 3)}
        tables[COSTS] = pl.DataFrame([cost | {"forward": spent.forward, "backward": spent.backward}])
        told = [pl.lit(value).alias(column) for column, value in facts.items()]
        sink.write(number, {table: rows.select(*told, pl.all()) for table, rows in tables.items()})
        done[name] += images
        tell(0.0)


def quantity(base: str, distance: Distance) -> str:
    """The name of a similarity by a distance."""
    return f"{base} ({short(distance)})"


def attacked_values(sweep: Sweep, attack: Attack, distances: Sequence[Distance], case: Case, tell: Callable[[float], None]) -> pl.DataFrame:
    """What is left of the maps after an attack and after noise of its size, by several distances from one attack.

    Args:
        sweep: The explainers, widths and model.
        attack: The attack; where it cannot be made, a black-box one in the same ball.
        distances: What maps are compared by.
        case: The images.
        tell: Called with the share of the work that is done.

    Returns:
        Rows as those of `assay.Frontier.table`: image, explainer, kernel, width, quantity, value, kind, higher_is_better.
    """
    model, everyone = sweep.model, sweep.everyone
    images, targets, index, logits = case.images, case.targets, case.index, case.logits
    pair = with_floor(attack)
    found: list[Tensor] = []
    for place, explainer in enumerate(everyone):
        maps = explainer.attribute(model, images, targets, index, sweep.seed)
        lost = ~maps.flatten(1).isfinite().all(1) | ~logits.flatten(1).isfinite().all(1)
        clean = maps.nan_to_num(0.0, 0.0, 0.0)
        moved = [one.chosen(explainer).run(case, explainer, clean).attacked_maps for one in pair]
        left = torch.stack([1 - distance(clean, one) for distance in distances for one in moved])
        found.append(left.masked_fill(lost, math.nan).cpu())
        tell((place + 1) / len(everyone))
    names = [quantity(base, distance) for distance in distances for base in (ATTACKED, NOISE)]
    values = torch.stack(found).permute(2, 0, 1)
    kernels = [(short(one), kernel) for one in sweep.explainers for kernel in sweep.kernels]
    inner = len(kernels) * len(names)
    return pl.DataFrame(
        {
            "image": index.cpu().repeat_interleave(inner).numpy(),
            "explainer": [name for name, _ in kernels for _ in names] * len(index),
            "kernel": [PLAIN if kernel is None else short(kernel) for _, kernel in kernels for _ in names] * len(index),
            "width": [width_of(kernel) for _, kernel in kernels for _ in names] * len(index),
            "quantity": names * (len(kernels) * len(index)),
            "value": values.flatten().double().numpy(),
        }
    ).with_columns(pl.lit("robustness").alias("kind"), pl.lit(True).alias("higher_is_better"))


def _tables(plan: RobustnessPlan, step: Step, model: Classifier, tell: Callable[[float], None]) -> dict[str, pl.DataFrame]:
    rows = step.rows
    block = next(Asked(model, Held(plan.batch), plan.settings.seed).read([rows]))
    batch, case = block.batch, block.case
    if step.kind == "classes":
        assert batch.labels is not None
        predicted = case.targets.cpu().numpy()
        return {CLASSES: pl.DataFrame({"image": batch.index.numpy(), "label": batch.labels.numpy(), "predicted": predicted})}
    if step.kind == "certify":
        assert plan.certified is not None
        return {CERTIFICATES: certified_table(plan.certified, case)}
    part = plan.settings.parts[step.part]
    sweep = plan.sweep(part, model)
    if step.kind == "attack":
        return {VALUES: attacked_values(sweep, plan.attack(part), plan.distances, case, tell)}
    return {VALUES: sweep_block(sweep, block, lambda images: tell(images / len(rows))).tables["frontier"]}
