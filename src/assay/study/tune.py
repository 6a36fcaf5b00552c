"""Tuning that survives a kill, and its results in a run folder: masks, tables, and the tuned network."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import polars as pl
import safetensors.torch
import zarr
from torch import Tensor, nn

from assay.core.environment import code, machine, packages
from assay.core.precision import settled
from assay.core.progress import Progress, silent
from assay.core.registry import short
from assay.errors import SpecError
from assay.models.accuracy import Accuracy
from assay.models.classifier import Classifier
from assay.models.sources import checkpoint
from assay.models.sources.model_card import DataUsed
from assay.models.training.fitting import State
from assay.report.render import render
from assay.run.checkpoints import Checkpoints
from assay.run.folder import Run
from assay.run.settings_file import command_line
from assay.study.study import Report, StepwiseStudy, TerminalTable
from assay.study.to_tune import ToTune, TuneImages
from assay.study.tune_page import rounds_table, tuned_page, tuned_sentences
from assay.tune.diet import PAPER, DiET, Tuned
from assay.tune.network import PixelNet
from assay.tune.predictions import probabilities
from assay.tune.tuning import Tuning

__all__ = ["MASKS", "WEIGHTS", "TuneStudy", "tune_kept"]

MASKS, WEIGHTS = "masks.zarr", "tuned.safetensors"
_EVERY = 20.0
"""Seconds between states at least."""
_REPORT = "report.html"


@dataclass(frozen=True)
class TuneStudy(StepwiseStudy):
    """Tune a network with DiET: report.html, masks.zarr, rounds.csv, epochs.csv and the tuned network, in a run folder that can be resumed.

    Labels are not used. The network given is not changed.

    Attributes:
        method: Such as "DiET(rounds=4, background=Blur(sigma=6))"; the preset by default.
        preset: DiET at its best, or the paper's literal recipe.
    """

    method: DiET | None = None
    preset: Literal["default", "paper"] = "default"

    command: ClassVar[str] = "tune"

    def check(self, asked: ToTune) -> None:
        """See `Experiment.check`.

        Raises:
            SpecError: A method is given beside the preset that brings its own.
        """
        if self.method is not None and self.preset == "paper":
            raise SpecError("--preset paper brings its own settings; give either it or --method")

    def settled(self, asked: ToTune) -> TuneStudy:
        """See `Experiment.settled`."""
        wanted = PAPER if self.preset == "paper" else self.method or DiET()
        return TuneStudy(replace(wanted, precision=settled(wanted.precision, asked.device)))

    @property
    def diet(self) -> DiET:
        """The method of a settled study."""
        assert self.method is not None
        return self.method

    def fit(self, asked: ToTune, run: Run, progress: Progress) -> tuple[Tuned, float]:
        """The tuned network, and the seconds that it took."""
        net, began = PixelNet(asked.source.net, asked.source.mean, asked.source.std).to(asked.device), time.monotonic()
        other = None if asked.validation is None else asked.validation.pixels
        tuned = tune_kept(run, "tuning", self.diet, net, asked.images.pixels, other, asked.seed, progress)
        return tuned, round(time.monotonic() - began, 1)

    def conclude(self, asked: ToTune, done: tuple[Tuned, float]) -> Report:
        """Masks, tables, network and report.

        `masks.zarr` has the chosen round's masks at the images' size, with the images' numbers; `tuned.safetensors` a card where the
        network came with one and there are labelled images to measure it on.
        """
        tuned, seconds = done

        def page() -> bytes:
            return render(tuned_page(short(self.diet), asked, tuned, self.record(asked))).encode()

        tables = {"rounds.csv": partial(_csv, tuned.history), "epochs.csv": partial(_csv, tuned.epochs)}
        return replace(
            _report(tuned.history),
            found=lambda: tuned,
            files={**tables, _REPORT: page},
            groups=(lambda: _masks(tuned, asked.images.index), lambda: _network(tuned, asked, self._line(asked), seconds)),
        )

    def again(self, asked: ToTune, folder: Path) -> Report:
        """See `StepwiseStudy.again`."""
        return _report(pl.read_csv(folder / "rounds.csv").to_dicts())

    def record(self, asked: ToTune) -> dict[str, Any]:
        """The seven reproducibility answers."""
        parts = {"tuning": asked.images} | ({} if asked.validation is None else {"validation": asked.validation})
        return {
            "algorithm": {repr(self.diet): self.diet.reference},
            "code": code(),
            "data": {name: dict(one.record) for name, one in parts.items()},
            "splits": {name: list(one.index) for name, one in parts.items()},
            "machine": machine(asked.device),
            "packages": packages(),
            "setup": {"seed": asked.seed, "command": self._line(asked)},
        }

    def _line(self, asked: ToTune) -> str:
        return command_line(self.command, {**asked.options, **vars(self)}, asked.processes)


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
    tuning = diet.begin(net, images, validation, seed, progress, ranks=run.ranks)
    kept = Checkpoints(run, name, own=True)
    found, last = kept.last(), time.monotonic()
    if found is not None:
        tuning.go_on({**found[0], **found[1]})
    for _ in tuning.epochs():
        if run.ranks.told(time.monotonic() - last > _EVERY):
            kept.keep(_parted(tuning))
            last = time.monotonic()
    kept.keep(_parted(tuning))
    return diet.finish(tuning)


def _report(history: Sequence[Mapping[str, Any]]) -> Report:
    """What is told of the rounds."""
    grid = rounds_table(history)
    return Report(
        found=lambda: None,
        grids=(TerminalTable(f"{grid.title} {grid.note}", grid.headings, grid.lines),),
        sentences=tuned_sentences(history),
        said=("masks.zarr, rounds.csv, epochs.csv and tuned.safetensors lie beside the report",),
        main=("report", _REPORT),
    )


def _csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    return pl.DataFrame(rows, infer_schema_length=None).write_csv().encode()


def _parted(tuning: Tuning) -> State:
    state = tuning.state()
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    return tensors, {name: value for name, value in state.items() if name not in tensors}


def _masks(tuned: Tuned, index: Sequence[int]) -> dict[str, bytes]:
    masks, held = tuned.masks.numpy(), dict[str, Any]()
    group = zarr.open_group(zarr.storage.MemoryStore(held), mode="w")
    array = group.create_array("masks", shape=masks.shape, chunks=(min(64, len(masks)), *masks.shape[1:]), dtype="float32")
    array[:] = masks
    numbers = group.create_array("index", shape=(len(index),), dtype="int64")
    numbers[:] = list(index)
    group.attrs.update({"method": repr(tuned.settings), "round": tuned.chosen + 1, "cells": list(tuned.grid.shape[2:])})
    return {f"{MASKS}/{name}": value.to_bytes() for name, value in held.items()}


def _network(tuned: Tuned, asked: ToTune, command: str, seconds: float) -> dict[str, bytes]:
    """The tuned network, as a checkpoint where there is a card to continue and labels to measure it on."""
    assert isinstance(tuned.model, PixelNet)
    net, card, measured = tuned.model.net.cpu(), asked.source.card, asked.measured
    if card is None or measured.labels is None or measured.classes != card.classes:
        return {WEIGHTS: safetensors.torch.save({name: tensor.contiguous() for name, tensor in net.state_dict().items()})}
    right = probabilities(tuned.classifier(), measured.pixels).argmax(1).cpu() == measured.labels
    own = replace(
        card,
        recipe=f"{tuned.settings!r} after {card.recipe}",
        seed=asked.seed,
        train=_used(asked.images),
        test=_used(measured),
        test_accuracy=Accuracy.of(int(right.sum()), len(right)),
        stored="float32",
        seconds=seconds,
        command=command,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        packages=packages(),
        machine=machine(asked.device),
        history=(),
        robust=None,
    )
    return checkpoint.content(WEIGHTS, net, own)[0]


def _used(images: TuneImages) -> DataUsed:
    known = images.record
    return DataUsed(str(known["name"]), str(known["split"]), len(images.pixels), str(known["sha256"]))
