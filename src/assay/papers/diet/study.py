"""The DiET study: baseline, tuning, the paper's evaluation and what the paper does not ask, in a run folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from assay.core.environment import code, machine, packages
from assay.core.progress import Progress, silent
from assay.models.training.training import pick_device
from assay.papers.diet.experiment import Experiment
from assay.papers.diet.figures import figures
from assay.papers.diet.keep import Keeper
from assay.papers.diet.outcome import Outcome
from assay.papers.diet.plan import Plan
from assay.papers.diet.results import Found, write_all
from assay.papers.diet.settings import DietSettings
from assay.papers.diet.summary import long_table, summarised, tables
from assay.papers.diet.verdict import Target, targets, verdict
from assay.papers.files import RESULTS
from assay.report.page import Sentence
from assay.run.folder import Run

__all__ = ["COMMAND", "DietStudy", "study"]

COMMAND = "study diet"


@dataclass(frozen=True)
class DietStudy:
    """How a study ended.

    Attributes:
        folder: The run folder.
        verdict: Plain words, most important first.
        targets: What was expected of the data set.
        over: Whether an earlier start had finished it, so that nothing was left to do.
    """

    folder: Path
    verdict: tuple[Sentence, ...]
    targets: tuple[Target, ...]
    over: bool

    @property
    def report(self) -> Path:
        """The report."""
        return self.folder / "report.html"


def study(
    settings: DietSettings,
    folder: str | Path,
    progress: Progress = silent,
    *,
    device: torch.device | str | None = None,
    file: Path | None = None,
) -> DietStudy:
    """Run the study, or go on with it: steps that an earlier start finished are taken as they are, DiET goes on from its last state.

    The folder gets `report.html`, `tables/` (CSV, Markdown, LaTeX), `figures/` (PNG, SVG), `values.parquet` (every value, a row
    per image), `results.json` (verdict and targets), `models/` (checkpoints), and what `assay.run.folder` keeps: the
    settings in `run.toml`, the seven answers in `environment.json`.

    Args:
        settings: What is done.
        folder: New, empty, or of a run with the same settings.
        progress: Told how the work goes on.
        device: Where to work; None for a GPU when there is one, else the CPU.
        file: The study file that the settings come from, for `assay run resume`.

    Raises:
        AssayError: A setting, the data or the folder is wrong; said before the work starts.
    """
    place = pick_device(device)
    plans = [Plan(settings, name, place) for name in settings.variants]
    for plan in plans:
        plan.check()
    with Run.open(folder, command=COMMAND, settings=_flat(settings, file), answers=lambda: _answers(plans)) as run:
        if not run.over:
            keeper = Keeper(run)
            outcomes = tuple(Experiment(plan, keeper, progress).run() for plan in plans)
            found = _found(settings, outcomes, keeper.seconds, run.answers)
            with run.writing():
                files = write_all(found, settings, run.folder)
            run.finish(files)
        said = json.loads((run.folder / RESULTS).read_text("utf-8"))
        return DietStudy(
            run.folder,
            tuple(Sentence(**sentence) for sentence in said["verdict"]),
            tuple(Target(**{key: value for key, value in one.items() if key != "met"}) for one in said["targets"]),
            run.over,
        )


def _flat(settings: DietSettings, file: Path | None) -> dict[str, Any]:
    """The settings as a run keeps them: plain values, one level of mappings."""
    source = {} if file is None else {"study": str(file.resolve())}
    plain = settings.model_dump(mode="json", exclude={"variants"})
    return source | plain | {f"variant {name}": one.model_dump(mode="json", exclude_none=True) for name, one in settings.variants.items()}


def _answers(plans: list[Plan]) -> dict[str, Any]:
    """The seven answers, as far as they are known before the work."""
    first = plans[0]
    return {
        "algorithm": {repr(one): one.reference for one in first.methods.values()} | {repr(one): one.reference for one in first.explainers},
        "code": code(),
        "data": {
            plan.variant: {part: {"spec": repr(data), "sha256": data.content_hash()} for part, data in plan.data.items()} for plan in plans
        },
        "splits": {plan.variant: _splits(plan) for plan in plans},
        "machine": machine(first.device),
        "packages": packages(),
        "setup": first.settings.model_dump(mode="json"),
    }


def _found(settings: DietSettings, outcomes: tuple[Outcome, ...], seconds: Mapping[str, float], answers: Mapping[str, Any]) -> Found:
    """Everything that is written, from what the forms of the data came to."""
    long = long_table(outcomes)
    summary = summarised(long)
    method = next(iter(settings.methods))
    return Found(
        outcomes=outcomes,
        long=long,
        tables=tables(outcomes, summary, seconds),
        drawings=figures(outcomes, summary, settings.keep),
        verdict=verdict(outcomes, long, method, settings.seed),
        targets=tuple(target for outcome in outcomes for target in targets(outcome, long, method)),
        record=answers,
        seconds=sum(seconds.values()),
    )


def _splits(plan: Plan) -> dict[str, Any]:
    """Exactly which images take part in what."""
    return {
        "training": f"all {len(plan.data['train'])} images" if plan.given is None else "none: the model is given",
        "tuning": plan.chosen["tune"],
        "maps of tune images": f"the first {min(plan.settings.scored_images, len(plan.chosen['tune']))} of them",
        "maps of test images": plan.chosen["test"],
        "accuracy": f"all {len(plan.data['test'])} test images",
    }
