"""`assay view`: look at images and their maps in a browser on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from assay.cli.app import app
from assay.cli.fields import command
from assay.cli.tasks import options

__all__ = ["View"]


@command(app, "view")
@dataclass(frozen=True, kw_only=True)
class View:
    """Look at images, maps and attacks in a browser: on 127.0.0.1 only, behind a random password, without analytics; needs assay[view].

    Attributes:
        explainer: Spec of an explainer that can be chosen; several times.
        port: Port on 127.0.0.1; a free one by default.
    """

    model: options.Model
    images: options.Images
    explainer: tuple[str, ...] = ()
    weights: options.Weights = None
    pretrained: options.Pretrained = False
    split: options.Split = None
    size: options.Size = None
    count: Annotated[int, typer.Option(min=1, help="Images that can be picked, chosen at random by the seed.")] = 24
    device: options.Device = None
    seed: options.Seed = 0
    port: int | None = None

    def run(self) -> None:
        """See `assay.cli.fields.Command`."""
        from assay.cli.commands.viewer import SPECS, Viewer, serve, viewer_page
        from assay.core.registry import build
        from assay.data import read
        from assay.explain.base import Explainer

        specs = self.explainer or SPECS
        for one in specs:
            build(one, Explainer)
        dataset = options.PictureOptions(split=self.split, size=self.size).dataset(self.images)
        chosen = options.selection(dataset, self.images, min(self.count, len(dataset)), self.seed)
        network = options.NetworkOptions(
            model=self.model, weights=self.weights, pretrained=self.pretrained, device=self.device, seed=self.seed
        ).network()
        viewer = Viewer(network, read(dataset, chosen.indices), specs)
        viewer_page(viewer)  # Which says now whether Gradio is there.
        blocks, token = serve(viewer, self.port, block=False)
        typer.echo(f"open {blocks.local_url} and sign in as assay with the password {token}; end with Ctrl-C")
        blocks.block_thread()
