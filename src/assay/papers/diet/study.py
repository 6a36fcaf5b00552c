"""The DiET study: baseline, tuning, the paper's evaluation and what the paper does not ask, in a run folder."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import polars as pl
import torch

from assay.core.environment import code, machine, packages
from assay.core.progress import Progress, silent
from assay.errors import SpecError
from assay.models.classifier import Classifier
from assay.models.training.training import pick_device
from assay.papers.diet.evaluation import IOU, MASK, refined
from assay.papers.diet.presets import diet_preset
from assay.papers.diet.settings import DietSettings
from assay.papers.diet.tables import diet_tables, summary
from assay.papers.diet.verdict import DIET_RULES, diet_verdict
from assay.papers.diet.work import DataForm, Found
from assay.papers.files import Drawing, PaperStudy
from assay.papers.pages import publish_study
from assay.papers.paper import Paper, price, speed
from assay.papers.settings import source_of
from assay.report.figures.colour import robust_limit
from assay.report.figures.picture import magnified, outlined, overlay, photo
from assay.report.figures.plots import Dot, dots, sheet
from assay.report.text import plural
from assay.run.folder import Run
from assay.study.study import Report, run

if TYPE_CHECKING:  # Loaded where a figure is drawn: it takes a third of a second.
    from matplotlib.figure import Figure

__all__ = ["DIET_COMMAND", "DietStudy", "plan", "publish_diet", "run_diet"]

DIET_COMMAND = "study diet"
_SIDE = 128


def plan(settings: DietSettings, device: torch.device | str | None = None) -> pl.DataFrame:
    """What the study will take: job, passes, minutes at this machine's speed, MB on the disk; the last row is their sum.

    Raises:
        AssayError: A setting or the data is wrong.
    """
    forms = _forms(settings, device)
    DietStudy(settings).check(forms)
    net = forms[0].given or forms[0].training[0].make(settings.seed)
    a_second = speed(Classifier(net, device=forms[0].device), forms[0].shape)
    return price([job for form in forms for job in form.jobs()], a_second)


def run_diet(
    settings: DietSettings,
    folder: str | Path,
    progress: Progress = silent,
    *,
    device: torch.device | str | None = None,
    file: Path | None = None,
) -> Report:
    """Run the study, or go on with it: jobs that an earlier start finished are taken as they are, a tuning goes on from its last state.

    The folder gets `report.html`, `tables/` (CSV, Markdown, LaTeX), `figures/` (PNG, SVG, PDF), `values.parquet` (every value, a row per
    image), `results.json` (the verdict), `jobs/` (a folder for each job), and what every run keeps.

    Args:
        settings: What is done.
        folder: New, empty, or of a run with the same settings.
        progress: Told how the work goes on.
        device: Where to work; None for a GPU when there is one, else the CPU.
        file: The study file that the settings come from, for `assay run resume`.

    Raises:
        AssayError: A setting, the data or the folder is wrong; said before the work starts.
    """
    study = DietStudy(settings, file)
    forms = _forms(settings, device)
    study.check(forms)
    report = run(study, forms, Path(folder), progress=progress)
    assert report is not None
    return report


@dataclass(frozen=True)
class DietStudy(PaperStudy):
    """The study; what is asked is the forms of the data that it is done on.

    Attributes:
        settings: What is done.
        file: The study file that the settings come from.
    """

    settings: DietSettings
    file: Path | None = None

    command: ClassVar[str] = DIET_COMMAND
    title: ClassVar[str] = "Do masks that a model was tuned for tell what it uses?"
    lead: ClassVar[str] = (
        "DiET tunes a copy f_v of a classifier f_b until erasing what its masks leave out changes nothing, and learns one mask per image. "
        "This study asks whether f_v still is f_b, whether the masks find evidence whose place is known, how the explainers of f_b do "
        "beside them, at what price, and what holds beyond the setting that was tuned for."
    )
    rules: ClassVar[str] = DIET_RULES
    headings: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "Which settings?": ("choice",),
        "Is the tuned model still the baseline?": ("faithfulness",),
        "Do the masks find the evidence?": ("truth",),
        "Is the class still seen in the top pixels?": ("pixels",),
        "What if the background is another one?": ("backgrounds",),
        "What is lost when only the evidence is left?": ("evidence",),
        "Do maps follow a baseline that is trained to mislead?": ("manipulated",),
        "How the tuning went, and what it cost": ("rounds", "costs"),
    }

    @property
    def fields(self) -> dict[str, Any]:
        """See `Experiment.fields`: plain values, one level of mappings."""
        own = self.settings
        forms = {f"variant {name}": one.model_dump(mode="json", exclude_none=True) for name, one in own.variants.items()}
        return source_of(self.file) | own.model_dump(mode="json", exclude={"variants"}) | forms

    def check(self, asked: Sequence[DataForm]) -> None:
        """See `Experiment.check`.

        Raises:
            SpecError: More images are asked for than there are; what the preset takes is cut down to them.
            AssayError: See `DataForm.check`.
        """
        for form in asked:
            form.check()
        own = self.settings
        usual = diet_preset(own.dataset, own.preset, own.seed)
        for name, part in (("tune_images", "tune"), ("scored_images", "test"), ("counted_images", "test")):
            count, least = getattr(own, name), min((form.data[part] for form in asked), key=len)
            if count > len(least) and count != getattr(usual, name):
                raise SpecError(f"{name.replace('_', '-')} {count} is more than the {len(least)} images of {least.name} {least.split}")

    def record(self, asked: Sequence[DataForm]) -> dict[str, Any]:
        """The seven answers, as far as they are known before the work."""
        first = asked[0]
        methods = [diet for tried in first.methods.values() for diet in tried]
        data = {form.name: {part: {"spec": repr(one), "sha256": one.content_hash()} for part, one in form.data.items()} for form in asked}
        return {
            "algorithm": {repr(one): one.reference for one in methods} | {repr(one): one.reference for one in first.explainers},
            "code": code(),
            "data": data,
            "splits": {form.name: form.splits for form in asked},
            "machine": machine(first.device),
            "packages": packages(),
            "setup": first.settings.model_dump(mode="json"),
        }

    def fit(self, asked: Sequence[DataForm], run: Run, progress: Progress) -> tuple[Run, Paper, list[Found]]:
        """Do the jobs that no earlier start did."""
        run.save_state("begun", {}, {})  # What jobs leave in the folder is worth keeping also when this start fails.
        paper = Paper(run.folder, progress)
        return run, paper, [form.work(paper) for form in asked]

    def conclude(self, asked: Sequence[DataForm], done: tuple[Run, Paper, list[Found]]) -> Report:
        """See `run_diet`."""
        run, paper, found = done
        long = pl.concat(one.long.select(pl.lit(one.variant).alias("variant"), pl.all()) for one in found)
        values = io.BytesIO()
        _every_value(found, long).write_parquet(values)
        facts, tables = _facts(self.settings, found), diet_tables(found, long, paper.seconds)
        return self.reported(run, facts, diet_verdict(found), tables, _drawings(found, long), {"values.parquet": values.getvalue()})


def publish_diet(run: Path, docs: Path, settings: DietSettings) -> Path:
    """Write `diet-DATASET.md`; see `assay.papers.pages.publish_study`.

    Raises:
        DataError: A file cannot be read or written.
    """
    stem = f"diet-{settings.dataset}" + ("" if settings.preset == "small" else f"-{settings.preset}")
    shown: dict[str, Sequence[str]] = {name: () for names in DietStudy.headings.values() for name in names}
    shown["truth"] = ("overlap",)  # The other figures have images of the data in them.
    return publish_study(run, docs, stem, lambda said: _head(said, settings), shown, ("variants", "methods"))


_TOLD = ("dataset", "preset", "seed", "seeds", "model", "tune_images", "scored_images", "manipulation")
"""Settings that the page's command shows."""


def _head(said: Mapping[str, Any], settings: DietSettings) -> list[str]:
    command = f"assay study diet --dataset {settings.dataset} --preset {settings.preset} --seed {settings.seed}"
    if settings.model is not None:
        command += f" --model {settings.model}"
    command += f" --tune-images {settings.tune_images} --scored-images {settings.scored_images} --seeds {settings.seeds}"
    if settings.manipulation is not None:
        command += f' --manipulation "{settings.manipulation}"'
    usual = diet_preset(settings.dataset, settings.preset, settings.seed)
    others = [name for name in DietSettings.model_fields if name not in _TOLD and getattr(settings, name) != getattr(usual, name)]
    besides = f", with other settings of {', '.join(others)} from a study file" if others else ""
    told = f"Written by `{command}`{besides}; the numbers are those of one run on the machine named below."
    return [
        f"# DiET on {settings.dataset}",
        "",
        told,
        "",
        "## Verdict",
        "",
        *(f"- {one['text']}" for one in said["verdict"]),
        "",
        f"Rules. {DIET_RULES}",
    ]


def _forms(settings: DietSettings, device: torch.device | str | None) -> list[DataForm]:
    return [DataForm(settings, name, pick_device(device)) for name in settings.variants]


def _every_value(found: Sequence[Found], long: pl.DataFrame) -> pl.DataFrame:
    """The values of the tables, and those of manipulated baselines as a part of their own."""
    own = (
        one.manipulated.long.select(pl.lit(one.variant).alias("variant"), pl.all()).with_columns(part=pl.lit("manipulated"))
        for one in found
        if one.manipulated is not None
    )
    return pl.concat([long, *own])


def _facts(settings: DietSettings, found: Sequence[Found]) -> dict[str, str]:
    return {
        "Data": ", ".join(dict.fromkeys(one.data["test"].name for one in found)),
        "Preset": settings.preset,
        "Tuned on": f"{len(found[0].tune[0])} images, {plural(settings.seeds, 'seed')}",
        "Maps of": f"{len(found[0].test)} test images",
    }


def _drawings(found: Sequence[Found], long: pl.DataFrame) -> Sequence[Drawing]:
    made = []
    overlaps = long.filter((pl.col("measure") == IOU) & (pl.col("part") == "test"))
    if overlaps.height:
        words = "Overlap (IoU) of each map's top pixels with the known evidence, test images; 95% intervals. Masks as diamonds."
        made.append(Drawing("overlap", words, partial(_overlap, summary(overlaps)), False, "truth"))
    for one in found:
        end, of = (f"-{one.variant.replace(' ', '-')}", f" ({one.variant})") if len(found) > 1 else ("", "")
        words = f"Test images{of}, the evidence outlined, with masks and the baseline's maps."
        made.append(Drawing(f"maps{end}", words, partial(_maps, one), True, "truth"))
    return made


def _overlap(rows: pl.DataFrame) -> Figure:
    groups = {
        str(name): [
            Dot(_label(row), row["mean"], row["low"], row["high"], row["attribution"] in (MASK, refined(MASK)))
            for row in own.sort("mean", descending=True).iter_rows(named=True)
        ]
        for (name,), own in rows.group_by("variant", maintain_order=True)
    }
    return dots(groups, "overlap with the evidence", (0.0, 1.0))


def _label(row: Mapping[str, str]) -> str:
    """What the figure calls a row: a mask by its recipe, an explainer by its name."""
    return f"{row['model']}: {row['attribution']}" if row["attribution"] in (MASK, refined(MASK)) else row["attribution"]


def _maps(found: Found) -> Figure:
    count = len(next(iter(found.maps.values())))
    images, size = found.test.images[:count], tuple(found.test.images.shape[2:])
    photos = [magnified(photo(image), _SIDE) for image in images]
    if found.test.truth is not None:
        photos = [outlined(picture, truth, size) for picture, truth in zip(photos, found.test.truth[:count], strict=True)]
    columns = [photos]
    for maps in found.maps.values():
        limit = robust_limit(maps)
        columns.append([overlay(image, one, limit, side=_SIDE) for image, one in zip(images, maps, strict=True)])
    assert found.test.labels is not None
    titles = [found.data["test"].classes[label] for label in found.test.labels[:count].tolist()]
    return sheet(
        [[column[line] for column in columns] for line in range(count)],
        ["image", *(name.replace(", ", ",\n") for name in found.maps)],
        titles,
    )
