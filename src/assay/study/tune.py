"""Tuning that survives a kill, and its results in a run folder: masks, tables, and the tuned network."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import torch
import zarr
from safetensors.torch import save_file
from torch import Tensor, nn

from assay.core.environment import code, machine, packages
from assay.core.files import replacing
from assay.core.progress import Progress, silent
from assay.models.accuracy import Accuracy
from assay.models.classifier import Classifier
from assay.models.sources import checkpoint
from assay.models.sources.card import DataUsed
from assay.models.sources.spec import FoundNetwork
from assay.run.folder import Run
from assay.run.state import State
from assay.tune.diet import DiET, Tuned
from assay.tune.network import PixelNet
from assay.tune.predictions import probabilities
from assay.tune.tuning import Tuning

__all__ = ["MASKS", "WEIGHTS", "Images", "TunePlan", "tune_kept", "tune_run"]

MASKS, WEIGHTS = "masks.zarr", "tuned.safetensors"
_EVERY = 20.0
"""Seconds between states at least."""


@dataclass(frozen=True, eq=False)
class Images:
    """Images that take part, with what is known of them.

    Args:
        pixels: (N, C, H, W) uint8.
        labels: (N,) where there are any.
        record: Name, content hash and split of the data.
        index: Their numbers in the data set.
        classes: Names of the classes.
    """

    pixels: Tensor
    labels: Tensor | None
    record: Mapping[str, Any]
    index: Sequence[int]
    classes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class TunePlan:
    """What `assay tune` does, all of it.

    Args:
        diet: The method.
        source: The network with its normalisation.
        images: What it is tuned on.
        validation: Further images on which agreement, and where they have labels the accuracy, is measured; None for the same.
        seed: Decides all randomness.
        device: Where.
        command: The command line, for the card.
    """

    diet: DiET
    source: FoundNetwork
    images: Images
    validation: Images | None
    seed: int
    device: torch.device
    command: str

    def record(self) -> dict[str, Any]:
        """The seven reproducibility answers."""
        parts = {"tuning": self.images} | ({} if self.validation is None else {"validation": self.validation})
        return {
            "algorithm": {repr(self.diet): self.diet.reference},
            "code": code(),
            "data": {name: dict(one.record) for name, one in parts.items()},
            "splits": {name: list(one.index) for name, one in parts.items()},
            "machine": machine(self.device),
            "packages": packages(),
            "setup": {"seed": self.seed, "command": self.command},
        }


def tune_kept(
    run: Run,
    name: str,
    diet: DiET,
    net: nn.Module | Classifier,
    images: Tensor,
    validation: Tensor | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Tuned:
    """Tune, or go on from the state kept last in the run folder, to the bit-identical end.

    Two states are kept in turn by each process, so that there is always one that all processes have.

    Args:
        run: Keeps the states.
        name: Their name.
        diet: The method.
        net: What is tuned.
        images: (N, C, H, W) uint8 or float.
        validation: See `DiET`.
        seed: Decides all randomness.
        progress: Told about every epoch.
    """
    ranks = run.ranks
    tuning = diet.begin(net, images, validation, seed, progress, ranks=ranks)
    slots = [f"{name}-{ranks.rank}-{slot}" for slot in (0, 1)]
    found = [run.load_state(slot) for slot in slots]
    kept = {state[1]["clock"]: state for state in found if state is not None}
    common = set.intersection(*(set(clocks) for clocks in ranks.gather(list(kept))))
    if common:
        tensors, values = kept[max(common)]
        tuning.go_on({**tensors, **values})
    last, turn = time.monotonic(), 0 if not common or kept[max(common)] is found[1] else 1
    for _ in tuning.epochs():
        if ranks.told(time.monotonic() - last > _EVERY):
            run.save_state(slots[turn], *_parted(tuning))
            last, turn = time.monotonic(), 1 - turn
    run.save_state(slots[turn], *_parted(tuning))
    return diet.finish(tuning)


def tune_run(run: Run, plan: TunePlan, progress: Progress = silent) -> Tuned:
    """Tune and, in the first process, write masks, tables, and the network to the run's folder.

    Files: `masks.zarr` (the chosen round's masks at the images' size, with the images' numbers), `rounds.csv`, `epochs.csv`,
    `tuned.safetensors`, and its card where the network came with one and there are labelled images to measure it on.

    Raises:
        DataError: The disk is full or the folder cannot be written.
        AssayError: See `DiET`.
    """
    net = PixelNet(plan.source.net, plan.source.mean, plan.source.std).to(plan.device)
    images = plan.images.pixels
    began = time.monotonic()
    tuned = tune_kept(
        run, "tuning", plan.diet, net, images, None if plan.validation is None else plan.validation.pixels, plan.seed, progress
    )
    if run.ranks.first and not run.over:
        with run.writing():
            _write_masks(run.folder / MASKS, tuned, plan.images.index)
            for name, rows in (("rounds", tuned.history), ("epochs", tuned.epochs)):
                with replacing(run.folder / f"{name}.csv") as draft:
                    pl.DataFrame(rows, infer_schema_length=None).write_csv(draft)
            files = _write_network(run.folder / WEIGHTS, tuned, plan, round(time.monotonic() - began, 1))
        run.finish(["rounds.csv", "epochs.csv", *files])
    run.ranks.wait()
    return tuned


def _parted(tuning: Tuning) -> State:
    state = tuning.state()
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    return tensors, {name: value for name, value in state.items() if name not in tensors}


def _write_masks(path: Path, tuned: Tuned, index: Sequence[int]) -> None:
    masks = tuned.masks.numpy()
    group = zarr.open_group(str(path), mode="w")
    array = group.create_array("masks", shape=masks.shape, chunks=(min(64, len(masks)), *masks.shape[1:]), dtype="float32")
    array[:] = masks
    numbers = group.create_array("index", shape=(len(index),), dtype="int64")
    numbers[:] = list(index)
    group.attrs.update({"method": repr(tuned.settings), "round": tuned.chosen + 1, "cells": list(tuned.grid.shape[2:])})


def _write_network(path: Path, tuned: Tuned, plan: TunePlan, seconds: float) -> list[str]:
    """The tuned network, as a checkpoint where there is a card to continue and labels to measure it on; the files' names."""
    assert isinstance(tuned.model, PixelNet)
    net, card = tuned.model.net.cpu(), plan.source.card
    measured = plan.validation or plan.images
    if card is None or measured.labels is None or measured.classes != card.classes:
        with replacing(path) as draft:
            save_file({name: tensor.contiguous() for name, tensor in net.state_dict().items()}, draft)
        return [path.name]
    right = probabilities(tuned.classifier(), measured.pixels).argmax(1).cpu() == measured.labels
    own = replace(
        card,
        recipe=f"{tuned.settings!r} after {card.recipe}",
        seed=plan.seed,
        train=_used(plan.images),
        test=_used(measured),
        test_accuracy=Accuracy.of(int(right.sum()), len(right)),
        stored="float32",
        seconds=seconds,
        command=plan.command,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        packages=packages(),
        machine=machine(plan.device),
        history=(),
        robust=None,
    )
    checkpoint.save(path, net, own, overwrite=True)
    return [path.name, checkpoint.card_path(path).name]


def _used(images: Images) -> DataUsed:
    known = images.record
    return DataUsed(str(known["name"]), str(known["split"]), len(images.pixels), str(known["sha256"]))
