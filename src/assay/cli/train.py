"""`assay train`: train a classifier and write a checkpoint with its card."""

from __future__ import annotations

import shlex
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from assay.cli.app import app
from assay.cli.progress import bar

if TYPE_CHECKING:
    from assay.data import Dataset
    from assay.models.training import Trained

__all__ = ["train"]


@app.command()
def train(
    data: Annotated[
        str, typer.Option(help="hard-digits, cifar10, a spec such as HardDigits(count=20000), or a folder with train and test inside.")
    ],
    out: Annotated[Path, typer.Option(help="The checkpoint to write, NAME.safetensors; its card becomes NAME.json.")],
    test_data: Annotated[str | None, typer.Option(help="Test images, when they are not part of --data.")] = None,
    architecture: Annotated[
        str | None, typer.Option(help="Such as SmallResNet(widths=(32, 64)); a small residual network by default.")
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="Such as Recipe(epochs=20, lr=0.1, augment=(Shift(4), Flip())).")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="In place of the recipe's.")] = None,
    precision: Annotated[Literal["bfloat16", "float32"] | None, typer.Option(help="In place of the recipe's.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of downloaded data sets (default: ASSAY_DATA).", show_default=False)] = None,
    size: Annotated[int | None, typer.Option(min=1, help="Side of the images in pixels.")] = None,
    seed: Annotated[int, typer.Option(help="Decides initial weights, order and augmentation.")] = 0,
    half: Annotated[bool, typer.Option("--half", help="Keep the weights in 16 bits.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a checkpoint of that name.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; a GPU when there is one by default.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads on the CPU; torch's choice by default.")] = None,
) -> None:
    """Train a classifier, measure it on the test images, and write a checkpoint with its card.

    With the same seed, machine and number of threads, the weights come out the same bit by bit.
    """
    import torch

    from assay.core.registry import build
    from assay.models import checkpoint
    from assay.models.architectures import Architecture
    from assay.models.defaults import default_architecture, default_recipe
    from assay.models.recipe import Recipe
    from assay.models.training import train as run

    checkpoint.check_destination(out, overwrite)
    if threads is not None:
        torch.set_num_threads(threads)
    train_set, test_set = _parts(data, test_data, size, root)
    side = min(train_set[0].image.shape[1:])
    shape = build(architecture, Architecture) if architecture else default_architecture(len(train_set.classes), side)  # type: ignore[type-abstract]
    plan = build(recipe, Recipe) if recipe else default_recipe(train_set.name, side)
    plan = replace(plan, epochs=epochs or plan.epochs, precision=precision or plan.precision)
    options: dict[str, object] = {"data": data, "test-data": test_data, "size": size, "architecture": shape, "recipe": plan, "seed": seed}
    command = _command(options | {"half": half, "threads": threads, "device": device, "out": out})
    with bar() as progress:
        trained = run(shape, train_set, test_set, plan, seed, progress, device=device, half=half, command=command)
    checkpoint.save(out, trained.net, trained.card, overwrite)
    _tell(out, trained)


def _parts(data: str, test_data: str | None, size: int | None, root: Path | None) -> tuple[Dataset, Dataset]:
    """Training and test images; a folder must say by its subfolders which is which."""
    from assay.data import load
    from assay.errors import DataError

    folder = Path(data).expanduser()
    if not folder.is_dir() or test_data is not None:
        return load(data, "train", size, root), load(test_data if test_data is not None else data, "test", size, root)
    inside = folder / "train", folder / "test"
    for part in inside:
        if not part.is_dir():
            raise DataError(
                f"{folder} has no folder {part.name}: training needs {folder.name}/train and {folder.name}/test, or --test-data"
            )
    return load(str(inside[0]), size=size), load(str(inside[1]), size=size)


def _command(options: dict[str, object]) -> str:
    """The command line with every choice spelled out, so that later defaults do not change what it does."""
    words = ["assay train"]
    for name, value in options.items():
        if value is True:
            words.append(f"--{name}")
        elif value is not None and value is not False:
            # Specs take either kind of quotes, and double ones stay readable inside the shell's single ones.
            text = repr(value).replace("'", '"') if is_dataclass(value) else str(value)
            words.append(f"--{name} {shlex.quote(text)}")
    return " ".join(words)


def _tell(out: Path, trained: Trained) -> None:
    from assay.models.checkpoint import card_path

    card = trained.card
    typer.echo(f"test accuracy  {card.test_accuracy}")
    typer.echo(f"training time  {card.seconds:.0f} s, {len(trained.history)} epochs, {card.parameters} parameters")
    typer.echo(f"weights        {out}")
    typer.echo(f"card           {card_path(out)}")
