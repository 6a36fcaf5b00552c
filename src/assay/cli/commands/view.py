"""`assay view`: look at images and their maps in a browser on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay.cli.app import app
from assay.cli.fields import command
from assay.cli.tasks import options
from assay.cli.told import MANNER

if TYPE_CHECKING:
    from assay.cli.commands.viewer import Viewer

__all__ = ["View"]


@command(app, "view")
@dataclass(frozen=True, kw_only=True)
class View(options.NetworkOptions, options.PictureOptions):
    """Look at images, maps, attacks and DiET's masks in a browser; needs the extra `view`.

    The page is on 127.0.0.1 only, behind a random password, without analytics, and reads no other file than the images given.

    Attributes:
        folder: Run whose model, images and explainers are looked at; of `assay tune` the tuned network with its masks.
        explainer: Spec of an explainer that can be chosen; several times.
        port: Port on 127.0.0.1; a free one by default.
        trust: For a run whose folder says to import code; see `assay run resume`.
    """

    folder: Annotated[Path | None, typer.Argument(metavar="[RUN]", help="Folder of a run, in place of --model and --images.")] = None
    model: Annotated[str, typer.Option(help="See `assay audit`.", show_default=False)] = ""
    images: Annotated[str | None, typer.Option(help="See `assay audit`.", show_default=False)] = None
    explainer: tuple[str, ...] = ()
    count: Annotated[int, typer.Option(min=1, help="Images that can be picked, chosen at random by the seed.")] = 24
    port: int | None = None
    trust: bool = False

    def run(self) -> None:
        """See `assay.cli.fields.Command`."""
        from assay.cli.commands.viewer_page import serving

        viewer = self.viewer()
        if find_spec("gradio") is not None and not MANNER.get().quiet:
            typer.echo("starting; the address comes in some seconds", err=True)
        with serving(viewer, self.port) as (blocks, token):
            typer.echo(f"open {blocks.local_url} and sign in as assay with the password {token}; end with Ctrl-C")
            blocks.block_thread()

    def viewer(self) -> Viewer:
        """What is looked at.

        Raises:
            SpecError: There is neither a run nor a model with images, or both.
            DataError: The folder is no run's, or has no model and images.
        """
        from assay.cli.commands.viewer import SPECS, Viewer
        from assay.core.registry import build
        from assay.data import read
        from assay.errors import SpecError
        from assay.explain.base import Explainer
        from assay.run.status import read_document
        from assay.study.gallery_images import places

        asked = self if self.folder is None else self._of_run(self.folder)
        if not asked.model or asked.images is None:
            raise SpecError("give the folder of a run, or --model and --images")
        specs = tuple(dict.fromkeys(repr(build(one, Explainer)) for one in asked.explainer or SPECS))
        dataset = asked.dataset(asked.images, asked.reading())
        if self.folder is None:
            indices = list(options.selection(dataset, asked.images, min(asked.count, len(dataset)), asked.seed).indices)
        else:
            whole = options.selection(dataset, asked.images, read_document(self.folder)["settings"].get("count"), asked.seed).indices
            indices = [whole[at] for at in places(asked.count, len(whole))]
        return Viewer(asked.network(), read(dataset, indices), specs, self._masks(indices), asked.reading())

    def _of_run(self, folder: Path) -> View:
        """The same with a run's model, images and explainers.

        Raises:
            SpecError: A model or images are given beside it.
            DataError: It is no run's, or has no model and images.
        """
        from assay.cli.commands.run import check_harmless
        from assay.core.plugins import import_code
        from assay.errors import DataError, SpecError
        from assay.models.sources.checkpoint import card_path
        from assay.run.status import read_document
        from assay.study.tune import WEIGHTS

        for name, given in (("model", self.model), ("images", self.images)):
            if given:
                raise SpecError(f"the run {folder} brings its model and images; leave --{name} out")
        document = read_document(folder)
        settings: dict[str, Any] = document["settings"]
        if not {"model", "images"} <= settings.keys():
            raise DataError(f"{folder} is a run of assay {document['command']}, which has no model and images to look at")
        if not self.trust:
            check_harmless(folder, settings)
        for one in settings.get("imports") or ():
            import_code(one)
        own = {one.name for one in (*fields(options.NetworkOptions), *fields(options.PictureOptions))} | {"images"}
        kept: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items() if name in own}
        paths: dict[str, Any] = {name: Path(kept[name]) for name in ("weights", "classes") if kept.get(name) is not None}
        kept |= {"device": self.device, "explainer": self.explainer or tuple(settings.get("explainer") or ())}
        asked = replace(self, **kept | paths)
        weights = folder / WEIGHTS
        if document["command"] != "tune" or not weights.exists():
            return asked
        if card_path(weights).exists():
            return replace(asked, model=str(weights), weights=None)
        return replace(asked, weights=weights, pretrained=False, random_weights=False)

    def _masks(self, indices: Sequence[int]) -> dict[int, Any]:
        """The masks of a tuning for those of its images that can be picked, by the images' places."""
        import torch
        import zarr

        from assay.study.tune import MASKS

        if self.folder is None or not (self.folder / MASKS).is_dir():
            return {}
        kept = zarr.open_group(str(self.folder / MASKS), mode="r")
        masks: Any = kept["masks"]
        index: Any = kept["index"]
        numbers = {int(number): place for place, number in enumerate(index[:])}
        return {place: torch.from_numpy(masks[numbers[one]]) for place, one in enumerate(indices) if one in numbers}
