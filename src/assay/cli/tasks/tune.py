"""What `assay tune` is told beside its study's fields: a network, images, and a run folder."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay.cli.tasks import options

if TYPE_CHECKING:
    from assay.core.ranks import Ranks
    from assay.study.to_tune import ToTune, TuneImages

__all__ = ["TuneTask"]


@dataclass(frozen=True)
class TuneTask:
    """A network to tune, images, and a folder for the results."""

    model: options.Model
    images: options.Images
    out: options.Out
    validation: Annotated[
        str | None,
        typer.Option(
            help="Images that are not tuned on, to measure agreement and accuracy with; named as in --images.", show_default=False
        ),
    ] = None
    weights: options.Weights = None
    pretrained: options.Pretrained = False
    random_weights: options.RandomWeights = False
    split: options.Split = None
    size: options.Size = None
    count: options.Count = None
    device: options.Device = None
    seed: options.Seed = 0

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.out

    def asked(self, ranks: Ranks) -> ToTune:
        """What is tuned, and on what."""
        from assay.errors import SpecError
        from assay.models.classifier import Classifier
        from assay.models.sources.spec import source
        from assay.models.training.training import pick_device
        from assay.study.to_tune import ToTune

        found = source(self.model, self.weights, pretrained=self.pretrained, random_weights=self.random_weights, seed=self.seed)
        if isinstance(found, Classifier):
            raise SpecError(
                f"{self.model} returns a Classifier, whose network is prepared for inference; let the factory return the network"
            )
        place, data = pick_device(self.device), self._images(self.images, self.split, self.count)
        other = None if self.validation is None else self._images(self.validation, None, None)
        told = {name: value for name, value in asdict(self).items() if name not in ("out", "device")}
        return ToTune(found, data, other, self.seed, place, ranks.world, told)

    def settings(self, asked: ToTune) -> dict[str, Any]:
        """All that decides the results beside the study's fields."""
        facts = {"device": asked.device.type, "processes": asked.processes, "data": dict(asked.images.record)}
        return {name: value for name, value in asdict(self).items() if name != "out"} | facts

    def _images(self, name: str, split: str | None, count: int | None) -> TuneImages:
        """The images in memory, as bytes.

        Raises:
            DataError: A file cannot be read, or the images have different sizes.
        """
        import torch

        from assay.errors import DataError
        from assay.study.to_tune import TuneImages

        chosen = options.selection(options.PictureOptions(split=split, size=self.size).dataset(name), name, count, self.seed)
        pixels, labels = [], []
        for batch in chosen.batches():
            if batch.errors:
                raise DataError(f"cannot read {batch.errors[0].name}: {batch.errors[0].message}; replace or remove the file")
            pixels.append(batch.images.mul(255).round().to(torch.uint8))
            labels.append(batch.labels)
        known = [one for one in labels if one is not None]
        whole = torch.cat(known) if known and len(known) == len(labels) else None
        if whole is not None and bool((whole < 0).any()):
            whole = None  # Some images have no label.
        return TuneImages(torch.cat(pixels), whole, chosen.record, chosen.indices, chosen.dataset.classes)
