"""`assay compare`: two runs, or two models on the same images, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from assay.cli.app import app
from assay.cli.fields import command
from assay.cli.progress_bar import bar
from assay.cli.tasks import options
from assay.cli.told import Told, tell

__all__ = ["Compare"]


@command(app, "compare")
@dataclass(frozen=True, kw_only=True)
class Compare:
    """Put two runs of `assay audit`, or two models, side by side, paired by image: predictions, scores against a random map, and maps.

    Maps are compared where models are given: whether they differ by more than one model's own maps do by seed and invisible noise.

    Attributes:
        images: For models: images, as `assay audit` takes them.
        explainer: For models: spec of an explainer; several times.
        measure: For models: spec of a measure; several times.
        out: HTML file to write.
    """

    first: Annotated[str, typer.Argument(help="Folder of a run of `assay audit`, or a model as in --model.", show_default=False)]
    second: Annotated[str, typer.Argument(help="Another of the same kind.", show_default=False)]
    images: str | None = None
    explainer: tuple[str, ...] = ()
    measure: tuple[str, ...] = ()
    split: options.Split = None
    size: options.Size = None
    count: options.Count = None
    device: options.Device = None
    seed: options.Seed = 0
    out: Path | None = None

    def run(self) -> None:
        """See `assay.cli.fields.Command`.

        Raises:
            SpecError: Options for models are given for runs, or two things of which one is no run's folder.
        """
        from assay.comparison.compare import COMPARED_EXPLAINERS, COMPARED_MEASURES
        from assay.comparison.compare import compare as put
        from assay.comparison.comparison_page import map_grid, score_grid
        from assay.errors import SpecError
        from assay.study.study import TerminalTable

        pair = self.first, self.second
        folders = [Path(one).is_dir() and (Path(one) / "run.toml").exists() for one in pair]
        if self.images is None:
            if given := [name for name in ("explainer", "measure", "split", "count") if getattr(self, name)]:
                raise SpecError(f"--{given[0]} is for models, which need --images; runs bring their own")
            for one, there in zip(pair, folders, strict=True):
                if not there:
                    raise SpecError(f"{one} is no run's folder; two models are compared on --images")
            found = put(*pair)
        else:
            from assay.data import read

            dataset = options.PictureOptions(split=self.split, size=self.size).dataset(self.images)
            chosen = options.selection(dataset, self.images, self.count, self.seed)
            models = [options.NetworkOptions(model=one, device=self.device, seed=self.seed).network() for one in pair]
            with bar() as progress:
                found = put(
                    models[0],
                    models[1],
                    images=read(chosen.dataset, chosen.indices),
                    explainers=self.explainer or COMPARED_EXPLAINERS,
                    measures=self.measure or COMPARED_MEASURES,
                    names=pair,
                    seed=self.seed,
                    progress=progress,
                )
        grids = [(score_grid(found.table, found.names), 2), *([(map_grid(found.maps), 1)] if found.maps.height else [])]
        tables = [TerminalTable(f"{one.title} {one.note}", one.headings, one.lines, keys) for one, keys in grids]
        asked_apart = [f"{name}: {one} in the first, {other} in the second" for name, one, other in found.settings]
        place = None if self.out is None else ("report", str(found.to_html(self.out)))
        tell(Told(found.sentences, tables, asked_apart, place))
