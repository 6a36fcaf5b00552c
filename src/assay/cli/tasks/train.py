"""What `assay train` is told beside its study's fields: data, where the checkpoint goes, and on what it is trained."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay.core.whole_files import expanded

if TYPE_CHECKING:
    from assay.core.ranks import Ranks
    from assay.data import Dataset
    from assay.study.train import ToTrain

__all__ = ["TrainTask"]


@dataclass(frozen=True)
class TrainTask:
    """Labelled images, and a checkpoint to write."""

    data: Annotated[
        str, typer.Option(help="hard-digits, cifar10, a spec such as HardDigits(count=20000), or a folder with train and test inside.")
    ]
    out: Annotated[Path, typer.Option(help="The checkpoint to write, NAME.safetensors; its card becomes NAME.json.")]
    test_data: Annotated[str | None, typer.Option(help="Test images, when they are not part of --data.")] = None
    size: Annotated[int | None, typer.Option(min=1, help="Side of the images in pixels.")] = None
    start: Annotated[
        str | None, typer.Option(help="Shipped network or checkpoint whose weights training begins with, instead of random ones.")
    ] = None
    root: Annotated[Path | None, typer.Option(help="Folder of downloaded data sets (default: ASSAY_DATA).", show_default=False)] = None
    seed: Annotated[int, typer.Option(help="Decides initial weights, order and augmentation.")] = 0
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a checkpoint of that name.")] = False
    device: Annotated[str | None, typer.Option(help="cpu or cuda; a GPU when there is one by default.")] = None
    threads: Annotated[int | None, typer.Option(min=1, help="Threads on the CPU; torch's choice by default.")] = None

    @property
    def checkpoint(self) -> Path:
        """The checkpoint, also where `assay run resume` names its run folder."""
        return self.out.with_suffix(".safetensors") if self.out.suffix == ".run" else self.out

    @property
    def folder(self) -> Path:
        """The run folder, which lies beside the checkpoint while it is trained."""
        return self.checkpoint.with_suffix(".run")

    def asked(self, ranks: Ranks) -> ToTrain:
        """What is trained on."""
        import torch

        from assay.models.sources import checkpoint
        from assay.models.training.training import Trained
        from assay.run.paths import SETTINGS
        from assay.study.train import ToTrain

        if self.threads is not None:
            torch.set_num_threads(self.threads)
        # What lies there beside an unfinished run is that run's own, or what it was begun to replace.
        checkpoint.check_checkpoint_path(self.checkpoint, self.overwrite or (self.folder / SETTINGS).is_file())
        begin = None if self.start is None else Trained(*checkpoint.read_checkpoint(self.start))
        told = {name: value for name, value in asdict(self).items() if name not in ("root", "overwrite")} | {"out": self.checkpoint}
        return ToTrain(*self._parts(), self.seed, self.device, begin, self.checkpoint, ranks.world, told)

    def settings(self, asked: ToTrain) -> dict[str, Any]:
        """All that decides the results beside the study's fields."""
        return {name: value for name, value in asdict(self).items() if name not in ("out", "overwrite")} | asked.facts

    def _parts(self) -> tuple[Dataset, Dataset]:
        """Training and test images; a folder must say by its subfolders which is which."""
        from assay.data import load
        from assay.errors import DataError

        folder = expanded(self.data)
        if not folder.is_dir() or self.test_data is not None:
            return load(self.data, "train", self.size, self.root), load(self.test_data or self.data, "test", self.size, self.root)
        inside = folder / "train", folder / "test"
        for part in inside:
            if not part.is_dir():
                raise DataError(
                    f"{folder} has no folder {part.name}: training needs {folder.name}/train and {folder.name}/test, or --test-data"
                )
        return load(str(inside[0]), size=self.size), load(str(inside[1]), size=self.size)
