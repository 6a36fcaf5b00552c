"""`assay study`: the experiments of the two papers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from assay.cli import options
from assay.cli.app import app
from assay.cli.progress import bar

if TYPE_CHECKING:
    from assay.study.diet import DietStudy

__all__ = ["study", "tell"]

study = typer.Typer(help="The experiments of the two papers, and what they do not ask.", no_args_is_help=True)
app.add_typer(study, name="study")


@study.callback()
def _group() -> None:
    """The experiments of the two papers, and what they do not ask."""


@study.command()
def diet(
    out: Annotated[Path, typer.Option(help="Run folder; the same command goes on with what is in it.")],
    dataset: Annotated[
        Literal["hard-digits", "hard-mnist", "chest-xray", "celeba"], typer.Option(help="Whose study it is.")
    ] = "hard-digits",
    preset: Annotated[Literal["small", "paper"], typer.Option(help="The paper's setting, or the same sized for two cores.")] = "small",
    study: Annotated[Path | None, typer.Option(help="TOML file of settings in place of the preset's.", show_default=False)] = None,
    model: Annotated[
        str | None, typer.Option(help="Start from this model instead of training one; see `assay audit --help`.", show_default=False)
    ] = None,
    tune_images: Annotated[int | None, typer.Option(min=2, help="Images that DiET is tuned on.", show_default=False)] = None,
    scored_images: Annotated[int | None, typer.Option(min=2, help="Images of each part whose maps are scored.", show_default=False)] = None,
    seed: options.Seed = 0,
    device: options.Device = None,
    docs: Annotated[
        Path | None,
        typer.Option(help="Folder that gets a page of numbers and plots, without images of the data.", show_default=False),
    ] = None,
) -> None:
    """Tune a classifier by DiET and hold its masks against the truth, beside the usual explainers: report, tables, figures."""
    from assay.study.diet import study as run
    from assay.study.diet_docs import publish
    from assay.study.diet_presets import chosen
    from assay.study.settings import from_file

    asked = {"model": model, "tune_images": tune_images, "scored_images": scored_images}
    changes = {"seed": seed} | ({} if study is None else from_file(study))
    settings = chosen(dataset, preset, changes | {name: value for name, value in asked.items() if value is not None})
    with bar() as progress:
        found = run(settings, out, progress, device=device, file=study)
    if docs is not None:
        publish(out, docs, settings)
    tell(found)


def tell(found: DietStudy) -> None:
    """Print the verdict, the targets and the report's place."""
    from rich.console import Console

    console = Console(highlight=False)
    if found.over:
        console.print(f"{found.folder} holds the finished study; this is what it found", markup=False, soft_wrap=True)
    for sentence in found.verdict:
        console.print(f"- {sentence.text}", markup=False)
    for target in found.targets:
        word = "met" if target.met else "NOT met"
        console.print(f"- target {word}: {target.name} {target.value:.3f} (at least {target.bound:g})", markup=False)
    console.print(f"report: {found.report}", markup=False, soft_wrap=True)
