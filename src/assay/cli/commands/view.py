"""`assay view`: look at images and their maps in a browser on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from assay.cli.app import app
from assay.cli.tasks import options

__all__ = ["view"]


@app.command()
def view(
    model: options.Model,
    images: options.Images,
    explainer: Annotated[
        list[str] | None, typer.Option(help="Spec of an explainer that can be chosen; several times.", show_default=False)
    ] = None,
    weights: options.Weights = None,
    pretrained: options.Pretrained = False,
    split: options.Split = None,
    size: options.Size = None,
    count: Annotated[int, typer.Option(min=1, help="Images that can be picked, chosen at random by the seed.")] = 24,
    device: options.Device = None,
    seed: options.Seed = 0,
    port: Annotated[int | None, typer.Option(help="Port on 127.0.0.1; a free one by default.", show_default=False)] = None,
) -> None:
    """Look at images, maps and attacks in a browser: on 127.0.0.1 only, behind a random password, without analytics; needs assay[view]."""
    from assay.cli.commands.viewer import SPECS, Viewer, app, serve
    from assay.core.registry import build
    from assay.data import read
    from assay.explain.base import Explainer

    specs = tuple(explainer or SPECS)
    for one in specs:
        build(one, Explainer)
    chosen = options.inputs(images, split, size, None, seed)
    wanted = options.inputs(images, split, size, min(count, len(chosen.indices)), seed)
    viewer = Viewer(
        options.network(model, weights, pretrained, False, "float32", "logit", device, seed), read(wanted.dataset, wanted.indices), specs
    )
    app(viewer)  # Which says now whether Gradio is there.
    blocks, token = serve(viewer, port, block=False)
    typer.echo(f"open {blocks.local_url} and sign in as assay with the password {token}; end with Ctrl-C")
    blocks.block_thread()
