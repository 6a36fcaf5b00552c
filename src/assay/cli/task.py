"""What the commands that work on images with a model are told alike, stated once."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from assay.cli import options

if TYPE_CHECKING:
    from assay.core.progress import Progress
    from assay.core.ranks import Ranks
    from assay.data.files.reading import Reading
    from assay.models.classifier import Classifier
    from assay.run.blocks import Part
    from assay.study.study import Asked

__all__ = ["Task"]

Block = Annotated[
    int | None,
    typer.Option(min=1, help="Images that are computed, kept and resumed together, at most; by default an eighth of them, 8 to 64."),
]
PartOption = Annotated[
    str | None,
    typer.Option(
        help="Do the I-th of N parts only, such as 3/8, beside other jobs on the same folder; auto in a Slurm array, auto/8 in a "
        "Kubernetes indexed job. End the run by `assay run merge`."
    ),
]
_NO_SETTING = ("out", "workers", "part")
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
    block: Block = None
    workers: options.Workers = None
    part: PartOption = None

    def inputs(self) -> options.Inputs:
        """The images."""
        beside = {"labels": self.labels, "masks": self.masks, "boxes": self.boxes}
        return options.inputs(self.images, self.split, self.size, self.count, self.seed, self.workers, self.reading(), **beside)

    def reading(self) -> Reading | None:
        """How pictures are prepared: as the options say, else as the published weights of the model say; None where nobody does."""
        from assay.data.files.reading import Reading
        from assay.data.files.shards import is_pattern
        from assay.errors import SpecError
        from assay.models.sources.spec import own_reading

        if self.channels == 2:
            raise SpecError("--channels is 1 for a grey network or 3 for RGB, not 2")
        if self.interpolation is not None and self.resize is None:
            raise SpecError("--interpolation says how --resize interpolates; give both or none")
        told: dict[str, Any] = {
            "resize": options.side("resize", self.resize),
            "crop": options.side("crop", self.crop),
            "interpolation": self.interpolation,
            "channels": self.channels,
            "range": self.range,
            "window": self.window,
        }
        told = {name: value for name, value in told.items() if value is not None}
        files = Path(self.images).expanduser().exists() or is_pattern(self.images)  # Data sets by name have sizes of their own.
        free = files and self.size is None and not {"resize", "crop"} & set(told)
        own = own_reading(self.model, self.pretrained) if free else None
        if own is None:
            return Reading(**told) if told else None
        return replace(own, **told)

    def network(self) -> Classifier:
        """The model."""
        return options.network(
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
        )

    def share(self) -> Part | Literal["merge"] | None:
        """The part of the run to do; None for all.

        Raises:
            SpecError: It is none.
        """
        from assay.run.blocks import Part

        return "merge" if self.part == "merge" else None if self.part is None else Part.read(self.part)

    def asked(self, ranks: Ranks) -> Asked:  # noqa: ARG002
        """What a study is about, but for the data's hash."""
        from assay.study.study import Asked
        from assay.study.targeting import PREDICTED, targeting

        chosen, model = self.inputs(), self.network()
        chosen.check_labels(model)
        data = chosen.dataset
        targets = targeting(self.target, model, chosen.shape, data.classes) if self.target else PREDICTED
        return Asked(model, chosen, self.seed, self.model, classes=data.classes, targets=targets, masks=data.mask_kinds)

    def described(self, asked: Asked, ranks: Ranks, progress: Progress) -> Asked:
        """The same with the data's hash, for which all files are read."""
        return replace(asked, data=ranks.once(lambda: asked.source.describe(progress)))  # type: ignore[attr-defined]

    def settings(self, asked: Asked) -> dict[str, Any]:
        """All that decides the results beside the study's fields, to be kept in a run folder; tells what the user should know of them."""
        told = {name: value for name, value in asdict(self).items() if name not in _NO_SETTING}
        model = asked.model
        for note in (*asked.source.notes, *model.notes):  # type: ignore[attr-defined]
            typer.echo(f"note: {note}", err=True)
        known = {"notes": list(model.notes)} if model.notes else {}
        return told | {"network": {**model.identity(), **known, "device": model.device.type}, "data": dict(asked.data)}

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.out
