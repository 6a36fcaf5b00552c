"""`assay train`: train a classifier and write a checkpoint with its card."""

from __future__ import annotations

import shlex
from contextlib import nullcontext
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from assay.cli.app import app
from assay.cli.progress import bar
from assay.cli.told import Told
from assay.cli.told import tell as say

if TYPE_CHECKING:
    import torch

    from assay.attack.predictions.prediction import PredictionAttack
    from assay.core.precision import AnyPrecision
    from assay.data import Dataset
    from assay.models.nets.architecture import Architecture
    from assay.models.sources.card import Card
    from assay.models.training.recipe import Recipe
    from assay.models.training.training import Trained

__all__ = ["train"]


@app.command()
def train(
    data: Annotated[
        str, typer.Option(help="hard-digits, cifar10, a spec such as HardDigits(count=20000), or a folder with train and test inside.")
    ],
    out: Annotated[Path, typer.Option(help="The checkpoint to write, NAME.safetensors; its card becomes NAME.json.")],
    test_data: Annotated[str | None, typer.Option(help="Test images, when they are not part of --data.")] = None,
    architecture: Annotated[
        str | None,
        typer.Option(
            help="resnet-, bottleneck-, vgg-, googlenet-, vit-, convmixer- or swin-small or -paper, or a spec such as ViT(depth=6); "
            "a small residual network by default."
        ),
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="Such as Recipe(epochs=20, lr=0.1, augment=(Shift(4), Flip())).")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="In place of the recipe's.")] = None,
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"] | None, typer.Option(help="In place of the recipe's; auto is the faster one.")
    ] = None,
    adversarial: Annotated[
        str | None,
        typer.Option(help="Train on attacked images, such as PGDTraining(eps=0.5, norm='l2', steps=1); in place of the recipe's."),
    ] = None,
    robust_accuracy: Annotated[
        str | None,
        typer.Option(help="Attack that test images are put to; for adversarial training the worst of several by default (AttackEnsemble)."),
    ] = None,
    attacked: Annotated[
        int, typer.Option(min=1, help="How many test images are attacked, spread evenly; all where there are no more.")
    ] = 1000,
    start: Annotated[
        str | None, typer.Option(help="Shipped network or checkpoint whose weights training begins with, instead of random ones.")
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of downloaded data sets (default: ASSAY_DATA).", show_default=False)] = None,
    size: Annotated[int | None, typer.Option(min=1, help="Side of the images in pixels.")] = None,
    seed: Annotated[int, typer.Option(help="Decides initial weights, order and augmentation.")] = 0,
    half: Annotated[bool, typer.Option("--half", help="Keep the weights in 16 bits.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a checkpoint of that name.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; a GPU when there is one by default.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads on the CPU; torch's choice by default.")] = None,
) -> None:
    """Train a classifier, measure it on the test images, and write a checkpoint with its card.

    With the same seed, machine, number of threads and of processes, the weights come out the same bit by bit. A run that
    was stopped goes on from its last epoch when the same command is given again; NAME.run keeps it until then.
    """
    import torch

    from assay.core.progress import silent
    from assay.core.ranks import join
    from assay.models.sources import checkpoint
    from assay.models.training.training import Trained, check_fit, pick_device
    from assay.study.train import TrainingPlan, checkpoint_of, folder_of, train_run

    out = checkpoint_of(out)
    with join(device) as ranks, bar() if ranks.first else nullcontext(silent) as progress:
        if threads is not None:
            torch.set_num_threads(threads)
        with ranks.together():
            checkpoint.check_destination(out, overwrite or folder_of(out).is_dir())
            train_set, test_set = _parts(data, test_data, size, root)
            begin = None if start is None else Trained(*checkpoint.read(start))
            shape, way = _choices(train_set, architecture, recipe, epochs, precision, adversarial, begin, pick_device(device, ranks))
            check_fit(shape, train_set, test_set)
            attack = _attack(robust_accuracy, way)
        own: dict[str, object] = {"data": data, "test_data": test_data, "size": size, "start": start, "threads": threads}
        told = own | {
            "architecture": shape,
            "recipe": way,
            "seed": seed,
            "half": half,
            "device": device,
            "robust_accuracy": attack,
            "attacked": attacked,
        }
        plan = TrainingPlan(
            shape, train_set, test_set, way, seed, device, half, begin, attack, attacked, _command(told | {"out": out}, ranks.world)
        )
        card = train_run(out, plan, own | {"root": root}, overwrite=overwrite, ranks=ranks, progress=progress)
    if ranks.first:
        _tell(out, card)


def _choices(
    train_set: Dataset,
    architecture: str | None,
    recipe: str | None,
    epochs: int | None,
    precision: AnyPrecision | None,
    adversarial: str | None,
    start: Trained | None,
    place: torch.device,
) -> tuple[Architecture, Recipe]:
    """What to train and how, from what was asked for and the defaults."""
    from assay.core.precision import settled
    from assay.core.registry import build
    from assay.models.nets.architecture import Architecture
    from assay.models.nets.defaults import default_architecture, default_recipe
    from assay.models.nets.named import named_architecture
    from assay.models.training.adversary import Adversary
    from assay.models.training.recipe import Recipe

    classes, side = len(train_set.classes), min(train_set[0].image.shape[1:])
    if architecture is None and start is not None:
        shape = build(start.card.architecture, Architecture)
    else:
        shape = named_architecture(architecture, classes) if architecture else default_architecture(classes, side)
    way = build(recipe, Recipe) if recipe else default_recipe(train_set.name, side)
    adversary = build(adversarial, Adversary) if adversarial else way.adversary
    wanted = settled(precision or way.precision, place)
    return shape, replace(way, epochs=epochs or way.epochs, precision=wanted, adversary=adversary)


def _attack(robust_accuracy: str | None, recipe: Recipe) -> PredictionAttack | None:
    from assay.attack.predictions.prediction import PredictionAttack
    from assay.core.registry import build
    from assay.study.train import usual_attack

    return build(robust_accuracy, PredictionAttack) if robust_accuracy else usual_attack(recipe)


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


def _command(options: dict[str, object], processes: int) -> str:
    """The command line with every choice spelled out, so that later defaults do not change what it does."""
    words = ["assay train" if processes == 1 else f"torchrun --nproc-per-node={processes} -m assay train"]
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(option)
        elif value is not None and value is not False:
            # Specs take either kind of quotes, and double ones stay readable inside the shell's single ones.
            text = repr(value).replace("'", '"') if is_dataclass(value) else str(value)
            words.append(f"{option} {shlex.quote(text)}")
    return " ".join(words)


def _tell(out: Path, card: Card) -> None:
    from assay.models.sources.checkpoint import card_path

    lines = [f"test accuracy  {card.test_accuracy}"]
    if card.robust is not None:
        lines.append(f"under attack   {card.robust.accuracy}, {card.robust.attack}")
        if card.robust.blind:
            lines.append(f"               {card.robust.blind} more stayed right, but had no gradient to climb, which says nothing")
    lines.append(f"training time  {card.seconds:.0f} s, {len(card.history)} epochs, {card.parameters} parameters")
    lines.append(f"weights        {out}")
    say(Told(said=lines, main=("card          ", str(card_path(out)))))
