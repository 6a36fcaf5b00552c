"""`assay tune`: tune a network until its attributions can be trusted, and learn a mask for each image."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from assay.cli import options
from assay.cli.app import app
from assay.cli.progress import bar
from assay.cli.told import OVER, Told
from assay.cli.told import tell as say

if TYPE_CHECKING:
    import torch

    from assay.study.tune import Images
    from assay.tune.diet import DiET, Tuned

__all__ = ["tune"]


@app.command()
def tune(
    model: options.Model,
    images: options.Images,
    out: options.Out,
    method: Annotated[
        str | None, typer.Option(help='Such as "DiET(rounds=4, background=Blur(sigma=6))"; the preset by default.', show_default=False)
    ] = None,
    preset: Annotated[Literal["default", "paper"], typer.Option(help="DiET at its best, or the paper's literal recipe.")] = "default",
    validation: Annotated[
        str | None,
        typer.Option(
            help="Images that are not tuned on, to measure agreement and accuracy with; named as in --images.", show_default=False
        ),
    ] = None,
    weights: options.Weights = None,
    pretrained: options.Pretrained = False,
    random_weights: options.RandomWeights = False,
    split: options.Split = None,
    size: options.Size = None,
    count: options.Count = None,
    device: options.Device = None,
    seed: options.Seed = 0,
) -> None:
    """Tune a network with DiET: masks.zarr, rounds.csv, epochs.csv and the tuned network, in a run folder that can be resumed.

    Labels are not used. The network given is not changed.
    """
    from assay.core.progress import silent
    from assay.core.ranks import join
    from assay.errors import SpecError
    from assay.models.classifier import Classifier
    from assay.models.sources.spec import source
    from assay.models.training.training import pick_device
    from assay.run.begin import check_folder
    from assay.run.folder import Run
    from assay.study.tune import TunePlan, tune_run

    with join(device) as ranks, bar() if ranks.first else nullcontext(silent) as progress:
        with ranks.together():
            found = source(model, weights, pretrained=pretrained, random_weights=random_weights, seed=seed)
            if isinstance(found, Classifier):
                raise SpecError(
                    f"{model} returns a Classifier, whose network is prepared for inference; let the factory return the network"
                )
            check_folder(out)
            place = pick_device(device)
            diet = _method(method, preset, place)
            data = _images(images, split, size, count, seed)
            other = None if validation is None else _images(validation, None, size, None, seed)
        told = {
            "model": model,
            "images": images,
            "validation": validation,
            "weights": weights,
            "pretrained": pretrained,
            "random_weights": random_weights,
            "split": split,
            "size": size,
            "count": count,
            "seed": seed,
        }
        settings = {**told, "method": repr(diet), "device": place.type, "processes": ranks.world, "data": dict(data.record)}
        words = " ".join(f"--{name.replace('_', '-')} '{value}'" for name, value in told.items() if value not in (None, False))
        plan = TunePlan(diet, found, data, other, seed, place, f"assay tune {words} --method '{diet!r}'")
        with Run.open(out, command="tune", settings=settings, answers=plan.record, ranks=ranks) as run:
            tuned = tune_run(run, plan, progress)
            over = run.over
    if ranks.first:
        _tell(tuned, out, over)


def _method(method: str | None, preset: str, place: torch.device) -> DiET:
    from dataclasses import replace

    from assay.core.precision import settled
    from assay.core.registry import build
    from assay.errors import SpecError
    from assay.tune.diet import PAPER, DiET

    if method is not None and preset == "paper":
        raise SpecError("--preset paper brings its own settings; give either it or --method")
    wanted = PAPER if preset == "paper" else DiET() if method is None else build(method, DiET)
    return replace(wanted, precision=settled(wanted.precision, place))


def _images(name: str, split: str | None, size: int | None, count: int | None, seed: int) -> Images:
    """The images in memory, as bytes.

    Raises:
        DataError: A file cannot be read, or the images have different sizes.
    """
    import torch

    from assay.errors import DataError
    from assay.study.tune import Images

    chosen = options.inputs(name, split, size, count, seed)
    pixels, labels = [], []
    for batch in chosen.batches():
        if batch.errors:
            raise DataError(f"cannot read {batch.errors[0].name}: {batch.errors[0].message}; replace or remove the file")
        pixels.append(batch.images.mul(255).round().to(torch.uint8))
        labels.append(batch.labels)
    known = [one for one in labels if one is not None]
    whole = torch.cat(known) if known and len(known) == len(labels) else None
    return Images(torch.cat(pixels), whole, chosen.record, chosen.indices, chosen.dataset.classes)


def _tell(tuned: Tuned, out: Path, over: bool) -> None:
    """Print what each round came to and where everything is."""
    from assay.study.study import Grid

    heads = {
        "kept": "pixels kept",
        "on_images": "agreement, images",
        "simplified": "simplified",
        "elsewhere": "other backgrounds",
        "validation": "validation",
    }
    shown = {name: head for name, head in heads.items() if name in tuned.history[0]}
    rows = tuple((f"{row['round']}{'*' if row['chosen'] else ''}", *(f"{row[name]:.3f}" for name in shown)) for row in tuned.history)
    grid = Grid("Rounds; * the one that was taken", ("round", *shown.values()), rows)
    said = (OVER,) if over else ()
    say(Told(grids=(grid,), said=said, main=("masks.zarr, rounds.csv, epochs.csv and tuned.safetensors", str(out))))
