"""`assay compare`: two runs, or two models on the same images, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from assay.cli.app import app
from assay.cli.progress import bar
from assay.cli.tasks import options
from assay.cli.told import Told, tell

__all__ = ["compare"]


@app.command()
def compare(
    first: Annotated[str, typer.Argument(help="Folder of a run of `assay audit`, or a model as in --model.", show_default=False)],
    second: Annotated[str, typer.Argument(help="Another of the same kind.", show_default=False)],
    images: Annotated[str | None, typer.Option(help="For models: images, as `assay audit` takes them.", show_default=False)] = None,
    explainer: Annotated[
        list[str] | None, typer.Option(help="For models: spec of an explainer; several times.", show_default=False)
    ] = None,
    measure: Annotated[list[str] | None, typer.Option(help="For models: spec of a measure; several times.", show_default=False)] = None,
    split: options.Split = None,
    size: options.Size = None,
    count: options.Count = None,
    device: options.Device = None,
    seed: options.Seed = 0,
    out: Annotated[Path | None, typer.Option(help="HTML file to write.", show_default=False)] = None,
) -> None:
    """Put two runs of `assay audit`, or two models, side by side, paired by image: predictions, scores against a random map, and maps.

    Maps are compared where models are given: whether they differ by more than one model's own maps do by seed and invisible noise.
    """
    from assay.comparison.compare import EXPLAINERS, MEASURES
    from assay.comparison.compare import compare as put
    from assay.comparison.page import map_grid, score_grid
    from assay.errors import SpecError
    from assay.study.study import TerminalTable

    folders = [Path(one).is_dir() and (Path(one) / "run.toml").exists() for one in (first, second)]
    if images is None:
        if given := [name for name, value in (("explainer", explainer), ("measure", measure), ("split", split), ("count", count)) if value]:
            raise SpecError(f"--{given[0]} is for models, which need --images; runs bring their own")
        for one, there in zip((first, second), folders, strict=True):
            if not there:
                raise SpecError(f"{one} is no run's folder; two models are compared on --images")
        found = put(first, second)
    else:
        from assay.data import read

        chosen = options.inputs(images, split, size, count, seed)
        models = [options.network(one, None, False, False, "float32", "logit", device, seed) for one in (first, second)]
        with bar() as progress:
            found = put(
                models[0],
                models[1],
                images=read(chosen.dataset, chosen.indices),
                explainers=explainer or EXPLAINERS,
                measures=measure or MEASURES,
                names=(first, second),
                seed=seed,
                progress=progress,
            )
    grids = [score_grid(found.table, found.names), *([map_grid(found.maps)] if found.maps.height else [])]
    tables = [TerminalTable(f"{one.title} {one.note}", one.headings, one.lines) for one in grids]
    asked_apart = [f"{name}: {one} in the first, {other} in the second" for name, one, other in found.settings]
    place = None if out is None else ("report", str(found.to_html(out)))
    tell(Told(found.sentences, tables, asked_apart, place))
