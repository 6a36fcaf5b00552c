"""`assay study`: the experiments of the two papers."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from assay.cli.app import app
from assay.cli.fields import command
from assay.cli.progress_bar import bar
from assay.cli.studies import tell_report
from assay.cli.tasks import options
from assay.cli.tasks.images import PartOption, part_of_run
from assay.cli.told import Told
from assay.cli.told import tell as say

if TYPE_CHECKING:
    import polars as pl

__all__ = ["study"]

study = typer.Typer(help="The experiments of the two papers, and what they do not ask.", no_args_is_help=True)
app.add_typer(study, name="study")

Out = Annotated[Path, typer.Option(help="Run folder; the same command goes on with what is in it.")]


@study.callback()
def _group() -> None:
    """The experiments of the two papers, and what they do not ask."""


@dataclass(frozen=True, kw_only=True)
class PaperTask:
    """What both papers' commands are told."""

    preset: Annotated[Literal["small", "paper"], typer.Option(help="The paper's setting, or the same sized for two cores.")] = "small"
    study: Annotated[Path | None, typer.Option("--study", help="TOML file of settings in place of the preset's.", show_default=False)] = (
        None
    )
    seed: Annotated[int | None, typer.Option(help="Decides all randomness; 0 unless a study file says otherwise.", show_default=False)] = (
        None
    )
    device: options.Device = None
    docs: Annotated[
        Path | None,
        typer.Option(help="Folder that gets a page of numbers and plots, without images of the data.", show_default=False),
    ] = None
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what it would take, at this machine's speed, and do nothing.")] = False

    def changes(self, *names: str) -> dict[str, Any]:
        """What the study file says, and over it what the options of these names do."""
        from assay.papers.settings import from_file

        asked = {name: getattr(self, name) for name in ("seed", *names)}
        told = {name: list(value) if isinstance(value, tuple) else value for name, value in asked.items() if value not in (None, ())}
        return ({} if self.study is None else from_file(self.study)) | told


@command(study, "diet")
@dataclass(frozen=True, kw_only=True)
class Diet(PaperTask):
    """Tune a classifier by DiET and hold its masks against the truth, beside the usual explainers: report, tables, figures.

    Attributes:
        dataset: Whose study it is.
        model: Start from this model instead of training one; see `assay audit --help`.
        manipulation: Also train the baseline to mislead, its gradients in a corner, and see which maps follow: "Manipulation()".
    """

    out: Out = Path("study-diet")
    dataset: Literal["hard-digits", "hard-mnist", "chest-xray", "celeba"] = "hard-digits"
    model: str | None = None
    weights: options.Weights = None
    pretrained: options.Pretrained = False
    tune_images: Annotated[int | None, typer.Option(min=2, help="Images that DiET is tuned on.", show_default=False)] = None
    scored_images: Annotated[int | None, typer.Option(min=2, help="Test images whose maps are scored.", show_default=False)] = None
    seeds: Annotated[int | None, typer.Option(min=1, help="Tunings of each recipe, each with a seed of its own.", show_default=False)] = (
        None
    )

    manipulation: str | None = None

    def run(self) -> None:
        """See `assay.cli.fields.Command`."""
        from assay.papers.diet.presets import diet_settings
        from assay.papers.diet.study import plan, publish_diet
        from assay.papers.diet.study import run_diet as run

        more = {"pretrained": True} if self.pretrained else {}
        settings = diet_settings(
            self.dataset, self.preset, self.changes("seeds", "model", "weights", "tune_images", "scored_images", "manipulation") | more
        )
        if self.dry_run:
            _tell_price(plan(settings, self.device))
            return
        with bar() as progress:
            found = run(settings, self.out, progress, device=self.device, file=self.study)
        if self.docs is not None:
            publish_diet(self.out, self.docs, settings)
        tell_report(found, self.out)


@command(study, "robustness")
@dataclass(frozen=True, kw_only=True)
class Robustness(PaperTask):
    """Make the figures and tables of the robustness paper again on standard and robust twins, beside what it prints.

    Attributes:
        models: Shipped network or checkpoint; several times. NAME-linf and NAME-robust are NAME's robust twins. All shipped by default.
        weights: Folder with NAME.safetensors of the networks, looked at first.
        graded: Folder of figure 3's networks, as `assay study graded` makes them.
    """

    out: Out
    models: tuple[str, ...] = ()
    weights: Path | None = None
    graded: Path | None = None
    part: PartOption = None
    images: Annotated[int | None, typer.Option(min=2, help="Images that are chosen at random by the seed.", show_default=False)] = None

    def run(self) -> None:
        """See `assay.cli.fields.Command`."""
        from assay.core.progress import silent
        from assay.core.ranks import join
        from assay.errors import SpecError
        from assay.papers.robustness.docs import publish_robustness
        from assay.papers.robustness.settings import robustness_settings
        from assay.papers.robustness.study import foreseen
        from assay.papers.robustness.study import run_robustness as run
        from assay.run.blocks import ArrayPart

        with join(self.device) as ranks, bar() if ranks.first else nullcontext(silent) as progress:
            with ranks.together():
                mine = part_of_run(self.part, ranks)
                if self.docs is not None and isinstance(mine, ArrayPart):
                    raise SpecError("--docs needs the whole study; give it without --part when `assay run merge` has ended the run")
                settings = robustness_settings(self.preset, self.changes("models", "weights", "graded", "images"))
            if self.dry_run:
                if ranks.first:
                    _tell_price(foreseen(settings, self.device))
                return
            found = run(settings, self.out, progress, device=self.device, file=self.study, ranks=ranks, part=mine)
        if found is not None:
            if self.docs is not None:
                publish_robustness(self.out, self.docs, settings, self.study)
            tell_report(found, self.out)


@study.command()
def graded(
    out: Annotated[Path, typer.Option(help="Folder of the networks; those that are there already are left as they are.")],
    start: Annotated[str, typer.Option(help="Shipped network or checkpoint that each goes on from.")] = "resnet-cifar10",
    images: Annotated[int, typer.Option(min=2, help="Training images that take part, chosen by the seed.")] = 10_000,
    epochs: Annotated[int, typer.Option(min=1, max=1000, help="Passes over them.")] = 1,
    tested: Annotated[int, typer.Option(min=2, help="Test images on which the cards' accuracies are measured.")] = 1000,
    seed: Annotated[int, typer.Option(help="Decides all randomness.")] = 0,
    device: options.Device = None,
) -> None:
    """Fine-tune a CIFAR-10 network for a short time against Linf balls of ten radii, for figure 3 of the robustness paper."""
    from assay.papers.robustness.graded import Grading, make_graded

    wanted = Grading(start=start, images=images, tested=tested, epochs=epochs, seed=seed)
    with bar() as progress:
        made = make_graded(out, wanted, progress, device)
    say(Told((), said=(f"{len(made)} networks of graded robustness: assay study robustness --graded {out} takes them",)))


def _tell_price(table: pl.DataFrame) -> None:
    """Print what jobs will take."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(title="what it would take; passes are of one image, forward or backward", title_justify="left")
    for name in table.columns:
        shown.add_column(name, justify="left" if name == "job" else "right", overflow="fold")
    for job, passes, minutes, size in table.iter_rows():
        shown.add_row(job, f"{passes:,}", f"{minutes:.1f}", f"{size:.0f}")
    Console(highlight=False).print(shown)
