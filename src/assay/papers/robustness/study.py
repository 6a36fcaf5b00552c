"""The robustness study: the three claims of Tan and Tian (ICML 2023) on standard and robust twins, in a run folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl
import torch

from assay.core.progress import Progress, silent
from assay.core.ranks import Ranks
from assay.models.training.training import pick_device
from assay.papers.files import RESULTS, grid, put, write_drawings, write_tables
from assay.papers.robustness.cells import smoothed_cells, twin_cells, width_cells
from assay.papers.robustness.certified import certificates, certified_drawing, certified_means, certified_sentences
from assay.papers.robustness.figures import figures
from assay.papers.robustness.plan import RobustnessPlan
from assay.papers.robustness.settings import RobustnessSettings
from assay.papers.robustness.steps import CERTIFICATES, CLASSES, COSTS, VALUES, do_steps
from assay.papers.robustness.tables import tables
from assay.papers.robustness.verdict import RULES, judgements, sentences
from assay.report.page import Sentence
from assay.report.study_page import Section, StudyPage, write_study
from assay.run.blocks import Blocks
from assay.run.folder import Run

__all__ = ["COMMAND", "RobustnessStudy", "share_steps", "study"]

COMMAND = "study robustness"
_TITLE = "Robust explanation: for free, or at the cost of faithfulness?"
_LEAD = (
    "How robust an explanation is, is said to be decided by how robust the explained network is: a robust network gives robust "
    "explanations for free. A network that is not robust can be explained through a kernel, which makes the explanations more robust and "
    "lets them say less about the network. This study asks for all three on twins of several backbones, and adds what faithfulness "
    "means: every notion has an answer of its own."
)
_SECTIONS = (
    ("What held", "", ("verdict", "models"), ()),
    ("Claim 1: for free", "", ("free-robustness", "free-faithfulness"), ("free-robustness", "free-faithfulness")),
    ("Claim 2: more robust with a kernel", "", ("kernel-robustness",), ("kernel-",)),
    ("Claim 3: at the cost of faithfulness", "", ("kernel-faithfulness", "widths"), ("cost-", "trade-off-")),
    ("Beyond the paper: certificates", "", ("certified",), ("certified",)),
    ("What it took", "", ("steps",), ()),
)
"""Heading, text, tables and figures (beginnings of their names) of each part of the report."""


@dataclass(frozen=True)
class RobustnessStudy:
    """How a study ended.

    Attributes:
        folder: The run folder.
        verdict: Plain words, most important first.
        over: Whether an earlier start had finished it, so that nothing was left to do.
    """

    folder: Path
    verdict: tuple[Sentence, ...]
    over: bool

    @property
    def report(self) -> Path:
        """The report."""
        return self.folder / "report.html"


def study(
    settings: RobustnessSettings,
    folder: str | Path,
    progress: Progress = silent,
    *,
    device: torch.device | str | None = None,
    file: Path | None = None,
    ranks: Ranks | None = None,
) -> RobustnessStudy | None:
    """Run the study, or go on with it: steps that an earlier start finished are not done again.

    The folder gets `report.html`, `tables/` (CSV, Markdown, LaTeX), `figures/` (PNG, SVG), `values.parquet` (every value, a row per image),
    `classes.parquet`, `certificates.parquet`, `results.json` (the verdict), and what `assay.run.folder` keeps: the settings in
    `run.toml`, the seven answers in `environment.json`.

    Args:
        settings: What is done.
        folder: New, empty, or of a run with the same settings.
        progress: Told how the work goes on.
        device: Where to work; None for a GPU when there is one, else the CPU.
        file: The study file that the settings come from, for `assay run resume`.
        ranks: The processes that share the steps.

    Returns:
        The outcome in the first process, None in the others.

    Raises:
        AssayError: A setting, the data, the weights or the folder is wrong; said before the work starts.
    """
    ranks = ranks or Ranks()
    with ranks.together():
        plan = RobustnessPlan(settings, pick_device(device, ranks))
        plan.check()
    hashed = ranks.once(lambda: plan.data.hashed(progress))
    with Run.open(
        folder,
        command=COMMAND,
        settings=_flat(plan, file, hashed),
        answers=lambda: plan.answers(hashed),
        blocks=Blocks(len(plan.steps), 1, "step"),
        ranks=ranks,
    ) as run:
        with ranks.together():
            do_steps(plan, run, share_steps(plan, run), progress)
        with ranks.together():
            if not ranks.first:
                return None
            if not run.over:
                _finish(plan, run)
            said = json.loads((run.folder / RESULTS).read_text("utf-8"))
            return RobustnessStudy(run.folder, tuple(Sentence(**one) for one in said["verdict"]), run.over)


def share_steps(plan: RobustnessPlan, run: Run) -> list[int]:
    """This process's part of the pending steps, in order: as many as any other's of each part and kind, whose steps cost about the same."""
    steps = plan.steps
    alike = sorted(run.pending(), key=lambda number: (steps[number].part, steps[number].kind))
    return sorted(run.ranks.share(alike))


def _flat(plan: RobustnessPlan, file: Path | None, hashed: str) -> dict[str, Any]:
    """The settings as a run keeps them: plain values, one level of mappings."""
    source = {} if file is None else {"study": str(file.resolve())}
    plain = plan.settings.model_dump(mode="json", exclude={"parts", "certified"}, exclude_none=True)
    certified = plan.settings.certified
    if certified is not None:
        plain["certified"] = certified.model_dump(mode="json", exclude_none=True)
    parts = {f"part {name}": one.model_dump(mode="json", exclude_none=True) for name, one in plan.settings.parts.items()}
    return source | plain | parts | {"weights SHA-256": plan.weights, "data SHA-256": hashed, "device": plan.device.type}


def _finish(plan: RobustnessPlan, run: Run) -> None:
    """Put the steps together, judge and write the results."""
    seed = plan.settings.seed
    values, classes, costs = (pl.concat(list(run.tables(name))) for name in (VALUES, CLASSES, COSTS))
    twins, widths = twin_cells(values), width_cells(values, seed)
    cells = smoothed_cells(values, widths)
    found = judgements(twins, cells)
    said, drawings = list(sentences(found, twins, widths)), list(figures(twins, widths))
    made = list(tables(plan.networks, classes, found, twins, cells, widths, costs))
    kept = [VALUES, CLASSES]
    if plan.settings.certified is not None:
        means = certified_means(pl.concat(list(run.tables(CERTIFICATES))))
        made.append(certificates(means, plan.settings.certified.smoothing, plan.settings.certified.confidence))
        said += certified_sentences(means)
        drawings.append(certified_drawing(means))
        kept.append(CERTIFICATES)
    for name in kept:
        run.merge(name, f"{name}.parquet")
    with run.writing():
        files = write_tables(made, run.folder)
        drawn, pictures = write_drawings(drawings, run.folder)
        shown = {table.name: grid(table) for table in made}
        sections = []
        for heading, text, grids, beginnings in _SECTIONS:
            chosen = tuple(picture for name, picture in pictures.items() if name.startswith(beginnings)) if beginnings else ()
            sections.append(Section(heading, text, tuple(shown[name] for name in grids if name in shown), chosen))
        page = StudyPage(
            title=_TITLE,
            lead=_LEAD,
            facts=_facts(plan, costs),
            verdict=tuple(said),
            rules=RULES,
            sections=tuple(one for one in sections if one.grids or one.pictures),
            settings={key: _text(value) for key, value in plan.settings.model_dump(mode="json").items()},
            record=run.answers,
        )
        write_study(page, run.folder / "report.html")
        result = {"verdict": [asdict(one) for one in said], "claims": [asdict(one) | {"verdict": one.verdict} for one in found]}
        files.append(put(run.folder, RESULTS, (json.dumps(result, indent=2) + "\n").encode()))
    run.finish([*files, *drawn, "report.html", *(f"{name}.parquet" for name in kept)])


def _facts(plan: RobustnessPlan, costs: pl.DataFrame) -> Mapping[str, str]:
    return {
        "Data": f"{plan.data.name} {plan.data.split}",
        "Preset": plan.settings.preset,
        "Networks": str(len(plan.networks)),
        "Images": f"{plan.settings.images} chosen; parts take the first of them",
        "Time": f"{costs['seconds'].sum() / 60:.0f} minutes",
    }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
