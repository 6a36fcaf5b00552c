"""What the commands that work on images with a model are told alike, stated once."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay.cli import options

if TYPE_CHECKING:
    from assay.data.files.reading import Reading
    from assay.models.classifier import Classifier
    from assay.study.targeting import Targeting

__all__ = ["Task"]

Block = Annotated[int, typer.Option(min=1, help="Images that are computed, kept and resumed together, at most.")]
_NO_SETTING = ("out", "workers")
"""What cannot change a result."""


@dataclass(frozen=True)
class Task:
    """A model, images, and a folder for the results; the fields are options of the command line."""

    model: options.Model
    images: options.Images
    out: options.Out
    weights: options.Weights = None
    pretrained: options.Pretrained = False
    random_weights: options.RandomWeights = False
    mean: options.Mean = None
    std: options.Std = None
    classes: options.Classes = None
    resize: options.Resize = None
    crop: options.Crop = None
    interpolation: options.Interpolate = None
    channels: options.Channels = None
    labels: options.Labels = None
    masks: options.Masks = None
    boxes: options.Boxes = None
    range: options.Range = None
    window: options.Window = None
    split: options.Split = None
    size: options.Size = None
    count: options.Count = None
    precision: options.Precision = "float32"
    output: options.Output = "logit"
    head: options.Head = None
    target: options.Target = None
    device: options.Device = None
    seed: options.Seed = 0
    imports: options.Imports = None
    block: Block = 64
    workers: options.Workers = None

    def import_code(self) -> None:
        """Import the user's own code, which specs may then name."""
        from assay.core.plugins import import_code

        for name in self.imports or ():
            import_code(name)

    def inputs(self) -> options.Inputs:
        """The images."""
        beside = {"labels": self.labels, "masks": self.masks, "boxes": self.boxes}
        found = options.inputs(self.images, self.split, self.size, self.count, self.seed, self.workers, self.reading(), **beside)
        vars(self)["_notes"] = found.notes  # No field: it decides nothing.
        self._meet(_inputs=found)
        return found

    def _meet(self, **found: Any) -> None:
        """Check that labels and classes go together as soon as both the images and the model are there."""
        kept = vars(self)
        kept.update(found)
        if "_inputs" in kept and "_network" in kept:
            kept.pop("_inputs").check_labels(kept.pop("_network"))

    def reading(self) -> Reading | None:
        """How pictures are prepared: as the options say, else as the source of the model says; None where nobody does."""
        from assay.data.files.shards import is_pattern
        from assay.models.sources.spec import own_reading

        given = options.reading(self.resize, self.crop, self.interpolation, self.channels, self.range, self.window)
        files = (
            Path(self.images).expanduser().exists() or is_pattern(self.images) or self.images.startswith("hf:")
        )  # Data sets by name have sizes of their own.
        sized = self.size is not None or (given is not None and (given.resize is not None or given.crop is not None))
        own = own_reading(self.model, self.pretrained) if files and not sized else None
        if own is None or given is None:
            return given if own is None else own
        return replace(own, **{name: value for name, value in vars(given).items() if value != getattr(type(given), name)})

    def network(self) -> Classifier:
        """The model."""
        made = options.network(
            self.model,
            self.weights,
            self.pretrained,
            self.random_weights,
            self.precision,
            self.output,
            self.device,
            self.seed,
            self.head,
            options.numbers("mean", self.mean, 4),
            options.numbers("std", self.std, 4),
            self.classes,
        )
        self._meet(_network=made)
        return made

    def targets(self, model: Classifier, chosen: options.Inputs) -> Targeting:
        """What is explained of the images."""
        from assay.study.targeting import PREDICTED, targeting

        return targeting(self.target, model, chosen.shape, chosen.dataset.classes) if self.target else PREDICTED

    def settings(self, model: Classifier, data: dict[str, Any], **own: Any) -> dict[str, Any]:
        """All that decides the results, to be kept in a run folder; tells what the user should know of them.

        Args:
            model: The model, as it was made.
            data: What is known of the images.
            **own: The command's own options, as they were understood.
        """
        told = {name: value for name, value in asdict(self).items() if name not in _NO_SETTING}
        for note in (*vars(self).get("_notes", ()), *model.notes):
            typer.echo(f"note: {note}", err=True)
        known = {"notes": list(model.notes)} if model.notes else {}
        return told | own | {"network": {**model.identity(), **known, "device": model.device.type}, "data": data}
