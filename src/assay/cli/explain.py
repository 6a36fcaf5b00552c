"""`assay explain`: maps as arrays and as pictures."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from assay.cli import options
from assay.cli.app import app
from assay.cli.progress import bar

__all__ = ["explain"]


@app.command()
def explain(
    model: options.Model,
    images: options.Images,
    out: options.Out,
    explainer: Annotated[list[str], typer.Option(help='Such as "SmoothGrad(sigma=0.05)"; may be given several times.')],
    weights: options.Weights = None,
    pretrained: options.Pretrained = False,
    random_weights: options.RandomWeights = False,
    split: options.Split = None,
    size: options.Size = None,
    count: options.Count = None,
    maps: Annotated[Literal["npz", "zarr"], typer.Option(help="How maps are kept: one compressed file, or a folder of chunks.")] = "npz",
    overlays: Annotated[bool, typer.Option(help="Draw each map over its image, as PNG.")] = True,
    precision: options.Precision = "float32",
    output: options.Output = "logit",
    device: options.Device = None,
    seed: options.Seed = 0,
) -> None:
    """Explain images: maps as npz or zarr, overlays as PNG, and what the model predicts as CSV."""
    from rich.console import Console

    from assay.core.registry import build
    from assay.explain.base import Explainer
    from assay.study.explain import explain_batches

    chosen = options.inputs(images, split, size, count, seed)
    explainers = [build(spec, Explainer) for spec in explainer]  # type: ignore[type-abstract]
    classifier = options.network(model, weights, pretrained, random_weights, precision, output, device, seed)
    options.check_folder(out)
    with bar() as progress:
        found = explain_batches(
            classifier,
            chosen.batches(),
            len(chosen.indices),
            explainers,
            out,
            seed,
            form=maps,
            overlays=overlays,
            classes=chosen.dataset.classes,
            data=chosen.record,
            progress=progress,
        )
    console = Console(highlight=False)
    console.print(f"{found.explained} images explained by {len(explainers)} explainer{'s' if len(explainers) > 1 else ''}", markup=False)
    for name, message in found.problems:
        console.print(f"left out: {name}: {message}", markup=False, soft_wrap=True)
    console.print(f"maps, predictions.csv and record.json: {out}", markup=False, soft_wrap=True)
