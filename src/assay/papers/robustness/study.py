"""The robustness study: the figures and tables of Tan and Tian (ICML 2023) by their own definitions, in a run folder."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar, Literal

import polars as pl
import torch

from assay.core.progress import Progress, silent
from assay.core.ranks import Ranks
from assay.models.training.training import pick_device
from assay.papers.files import PaperStudy
from assay.papers.paper import price, speed
from assay.papers.robustness.cells import distinct_cells
from assay.papers.robustness.claims import CLAIM_RULES, Claim, claims
from assay.papers.robustness.figures import figures
from assay.papers.robustness.jobs import Jobs, NetworkStudy
from assay.papers.robustness.measured import ANSWERS, VALUES
from assay.papers.robustness.settings import RobustnessSettings
from assay.papers.robustness.tables import robustness_tables
from assay.papers.settings import source_of
from assay.report.page import Sentence, Tone
from assay.run.blocks import ArrayPart, BlockContent, Blocks
from assay.run.folder import Run
from assay.run.memory import Memory
from assay.study.study import Block, Report, Tell, Unit, keep_each, run

__all__ = ["ROBUSTNESS_COMMAND", "RobustnessStudy", "do_steps", "foreseen", "run_robustness"]

ROBUSTNESS_COMMAND = "study robustness"
_COSTS, _CERTIFICATES = "costs", "certificates"
_TONES: dict[str, Tone] = {"yes": "good", "no": "bad", "undecided": "caution", "not run": "note"}


def run_robustness(
    settings: RobustnessSettings,
    folder: str | Path,
    progress: Progress = silent,
    *,
    device: torch.device | str | None = None,
    file: Path | None = None,
    ranks: Ranks | None = None,
    part: ArrayPart | Literal["merge"] | None = None,
) -> Report | None:
    """Run the study, or go on with it: steps that an earlier start finished are not done again.

    The folder gets `report.html`, `tables/` (CSV, Markdown, LaTeX), `figures/` (PNG, SVG, PDF), `values.parquet` (every value, a row per
    image), `results.json` (the lines of the paper, and what was found), and what `assay.run.folder` keeps.

    Args:
        settings: What is done.
        folder: New, empty, or of a run with the same settings.
        progress: Told how the work goes on.
        device: Where to work; None for a GPU when there is one, else the CPU.
        file: The study file that the settings come from, for `assay run resume`.
        ranks: The processes that share the steps.
        part: The part of the steps to do beside other jobs; "merge" to put finished parts together.

    Returns:
        What it comes to, or of a part what it has to say, in the first process; None in the others.

    Raises:
        AssayError: A setting, the data, the weights or the folder is wrong, or parts are to be merged and steps are missing; said
            before the work starts.
    """
    ranks = ranks or Ranks()
    with ranks.together():
        jobs = Jobs(settings, pick_device(device, ranks))
        jobs.check()
    study = RobustnessStudy(settings, file, ranks.once(lambda: jobs.data.hashed(progress)))
    known = {"weights SHA-256": jobs.weights, "data SHA-256": study.hashed, "device": jobs.device.type}
    return run(study, jobs, Path(folder), settings=known, ranks=ranks, part=part, progress=progress)


@dataclass(frozen=True)
class RobustnessStudy(PaperStudy):
    """The study; what is asked is its jobs.

    Attributes:
        settings: What is done.
        file: The study file that the settings come from.
        hashed: The data's content hash.
    """

    settings: RobustnessSettings
    file: Path | None = None
    hashed: str = ""

    command: ClassVar[str] = ROBUSTNESS_COMMAND
    title: ClassVar[str] = "Robust explanation: for free, or at the cost of faithfulness?"
    lead: ClassVar[str] = (
        "Tan and Tian (ICML 2023) say that an explanation is as robust as the network that it explains, that smoothing makes explanations "
        "more robust, and that their faithfulness first rises and then falls with the smoothing. Their figures and tables are made again "
        "here, by their definitions, on smaller networks; what is ours stands apart."
    )
    rules: ClassVar[str] = CLAIM_RULES
    headings: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "Printed in the paper, measured here": ("claims",),
        "Table 1: local Lipschitz constants": ("constants",),
        "Figures 3, 4, 5 and 6": ("figures",),
        "Ours: attacks, other notions of faithfulness, certificates": ("ours",),
        "What it took": ("steps",),
    }

    @property
    def fields(self) -> dict[str, Any]:
        """See `Experiment.fields`: plain values, one level of mappings."""
        own = self.settings
        plain = own.model_dump(mode="json", exclude={"parts"}, exclude_none=True)
        parts = {f"part {name}": one.model_dump(mode="json", exclude_none=True) for name, one in own.parts.items()}
        return source_of(self.file) | plain | parts

    def check(self, asked: Jobs) -> None:
        """See `Jobs.check`."""
        asked.check()

    def record(self, asked: Jobs) -> dict[str, Any]:
        """The seven answers, as far as they are known before the work."""
        return asked.answers(self.hashed)

    def cut(self, asked: Jobs, block: int | None) -> Blocks:
        """Each step by itself."""
        return Blocks(len(asked.steps), 1, "step")

    def fit(self, asked: Jobs, run: Run, progress: Progress) -> Run:
        """Do this process's share of the steps that are left."""
        with run.ranks.together():
            do_steps(asked, run, run.share(asked.kind), progress)
        return run

    def conclude(self, asked: Jobs, done: Run) -> Report:
        """Put the steps together and hold them against the paper; see `run_robustness`."""
        own, graded = self.settings, [name for name, one in asked.networks.items() if one.graded]
        values, costs = distinct_cells(_whole(done, VALUES), graded), _whole(done, _COSTS)
        certified = _whole(done, _CERTIFICATES) if own.certified else None
        held = _whole(done, ANSWERS) if own.audited else None
        found = claims(values)
        tables = list(robustness_tables(asked.networks, values, found, costs, held, certified))
        drawings = list(figures(values.filter(pl.col("output") == "probability")))
        told = [asdict(one) for one in found]
        report = self.reported(done, _facts(asked, costs), list(map(_sentence, found)), tables, drawings, {}, claims=told)
        kept = [VALUES, *([] if held is None else [ANSWERS]), *([] if certified is None else [_CERTIFICATES])]
        return replace(report, merged={f"{name}.parquet": name for name in kept})


def foreseen(settings: RobustnessSettings, device: torch.device | str | None = None) -> pl.DataFrame:
    """What the study will take on this machine: network, passes, minutes of one process, MB; and all together.

    Raises:
        AssayError: See `study`.
    """
    jobs = Jobs(settings, pick_device(device))
    jobs.check()
    rows = []
    for name, parts in jobs.priced().items():
        for precision, one in parts.items():
            model = jobs.asked(next(job for job in jobs.table if (job.network, job.precision) == (name, precision))).model
            rows.append(price([one], speed(model, jobs.batch.images.shape[1:])).head(1))
    found = pl.concat(rows).group_by("job", maintain_order=True).sum()
    return pl.concat([found, found.sum().with_columns(pl.lit("all together").alias("job"))])


def do_steps(jobs: Jobs, store: Run | Memory, share: Sequence[int], progress: Progress = silent) -> None:
    """Do the steps in `share`, by their numbers, each kept by the store when it is finished."""
    keep_each(store, _units(jobs, share), sum(len(jobs.steps[number].rows) for number in share), progress)


def _units(jobs: Jobs, share: Sequence[int]) -> Iterator[Unit]:
    for job, own in groupby(share, lambda number: jobs.steps[number].job):
        numbers, asked = list(own), jobs.asked(job)
        for number, block in zip(numbers, asked.read(jobs.steps[number].rows for number in numbers), strict=True):
            yield number, f"{job.network}, {job.part}", len(block.rows), partial(_content, job, block)


def _content(job: NetworkStudy, block: Block, tell: Tell) -> BlockContent:
    """What a step gives, and what it cost; the log has no passes, by which the time left is told, since steps take unlike ones."""
    tell(0)  # So that the stage is seen from its beginning.
    began, before = time.perf_counter(), block.asked.model.passes.copy()
    kept = job.study.block(block.asked, block, tell)
    spent, seconds = block.asked.model.passes - before, round(time.perf_counter() - began, 3)
    cost = {"images": len(block.rows), "seconds": seconds, "forward": spent.forward, "backward": spent.backward}
    told = [pl.lit(value).alias(name) for name, value in job.facts.items()]
    tables = {**kept.tables, _COSTS: pl.DataFrame([cost])}
    return BlockContent({name: table.select(*told, pl.all()) for name, table in tables.items()})


def _whole(run: Run, name: str) -> pl.DataFrame:
    """All rows of a table; what a run folder calls a model is a network here."""
    return pl.concat(list(run.tables(name))).rename({"model": "network"})


def _sentence(claim: Claim) -> Sentence:
    agrees = {"yes": "agrees", "no": "does not agree", "undecided": "undecided", "not run": "not run"}[claim.agrees]
    return Sentence(_TONES[claim.agrees], f"{claim.where}, {claim.printed}: {agrees} ({claim.measured}).")


def _facts(jobs: Jobs, costs: pl.DataFrame) -> Mapping[str, str]:
    return {
        "Data": f"{jobs.data.name} {jobs.data.split}",
        "Preset": jobs.settings.preset,
        "Networks": str(len(jobs.networks)),
        "Images": f"{jobs.settings.images} chosen; parts take the first of them",
        "Time": f"{costs['seconds'].sum() / 60:.0f} minutes of one process",
    }
