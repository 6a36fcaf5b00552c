"""What the commands that work on images with a model are told alike, stated once."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from assay.cli.tasks import options
from assay.core.files import expanded

if TYPE_CHECKING:
    from assay.core.progress import Progress
    from assay.core.ranks import Ranks
    from assay.data.files.reading import Reading
    from assay.models.classifier import Classifier
    from assay.run.blocks import ArrayPart
    from assay.study.study import Asked

__all__ = ["PartOption", "Task", "share"]

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


def share(part: str | None, ranks: Ranks) -> ArrayPart | Literal["merge"] | None:
    """The part of the run that --part names; None for all.

    Raises:
        SpecError: It is none, or processes are joined.
    """
    from assay.errors import SpecError
    from assay.run.blocks import ArrayPart

    if part is not None and ranks.world > 1:
        raise SpecError("--part is for jobs that never meet, torchrun for processes that do; give one of them")
    return "merge" if part == "merge" else None if part is None else ArrayPart.read(part)


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
    mosaic: options.Mosaic = None
    range: options.Range = None
    window: options.Window = None
    split: options.Split = None
    size: options.Size = None
    count: options.Count = None
    precision: options.Precision = "auto"
    output: options.Output = "logit"
    head: options.Head = None
    target: options.Target = None
    device: options.Device = None
    seed: options.Seed = 0
    imports: options.Imports = None
    block: Block = None
    workers: options.Workers = None
    part: PartOption = None

    def import_code(self) -> None:
        """Import the user's own code, which specs may then name."""
        from assay.core.plugins import import_code

        for name in self.imports or ():
            import_code(name)

    def inputs(self) -> options.Inputs:
        """The images."""
        if self.mosaic is not None:
            self._check_mosaic()
        count = self.count if self.mosaic is None else None  # Which counts mosaics then.
        beside = {"labels": self.labels, "masks": self.masks, "boxes": self.boxes}
        return options.inputs(self.images, self.split, self.size, count, self.seed, self.workers, self.reading(), **beside)

    def _check_mosaic(self) -> None:
        from assay.errors import SpecError

        for name, given in (("masks", self.masks), ("boxes", self.boxes)):
            if given is not None:
                raise SpecError(f"--mosaic brings evidence of its own, the target's cell; leave --{name} out")
        if self.target:
            raise SpecError("--mosaic explains the class of each mosaic's target; leave --target out")

    def reading(self) -> Reading | None:
        """How pictures are prepared: as the options say, else as the source of the model says; None where nobody does."""
        from assay.data.files.shards import is_pattern
        from assay.models.sources.spec import own_reading

        given = options.reading(self.resize, self.crop, self.interpolation, self.channels, self.range, self.window)
        files = (
            expanded(self.images).exists() or is_pattern(self.images) or self.images.startswith("hf:")
        )  # Data sets by name have sizes of their own.
        sized = self.size is not None or (given is not None and (given.resize is not None or given.crop is not None))
        own = own_reading(self.model, self.pretrained) if files and not sized else None
        if own is None or given is None:
            return given if own is None else own
        return replace(own, **{name: value for name, value in vars(given).items() if value != getattr(type(given), name)})

    def network(self) -> Classifier:
        """The model."""
        return options.network(
            self.model,
            self.weights,
            self.pretrained,
            self.random_weights,
            "float32" if self.precision == "auto" else self.precision,
            self.output,
            self.device,
            self.seed,
            self.head,
            options.numbers("mean", self.mean, 4),
            options.numbers("std", self.std, 4),
            self.classes,
        )

    def asked(self, ranks: Ranks) -> Asked:  # noqa: ARG002
        """What a study is about, but for the data's hash."""
        import torch

        from assay.models.targeting import PREDICTED, Targeting, targeting
        from assay.study.study import Asked

        chosen, model = self.inputs(), self.network()
        chosen.check_labels(model)
        if self.mosaic is not None:
            chosen, kinds = options.mosaics(chosen, model, self.mosaic, self.count, self.seed)
            told = {
                "mosaics": f"{self.mosaic} images that the model is sure of; the target's cell is the truth, and its class is explained"
            }
            targets = Targeting("target", given=torch.tensor(kinds))
            return Asked(model, chosen, self.seed, self.model, targets=targets, masks=chosen.dataset.mask_kinds, facts=told, mixed=True)
        data = chosen.dataset
        targets = targeting(self.target, model, chosen.shape, data.classes) if self.target else PREDICTED
        return Asked(model, chosen, self.seed, self.model, classes=data.classes, targets=targets, masks=data.mask_kinds)

    def described(self, asked: Asked, ranks: Ranks, progress: Progress) -> Asked:
        """The same with the data's hash, for which all files are read."""
        return replace(asked, data=ranks.once(lambda: asked.source.describe(progress)))  # type: ignore[attr-defined]

    def decided(self, study: Any, asked: Asked, ranks: Ranks) -> Asked:
        """The same in the precision that "auto" stands for: as in the folder's run, where there is one, else found out now."""
        from assay.run.status import network_of
        from assay.study.precision import Chosen, choose, with_precision

        tried = study.tried(asked) if self.precision == "auto" else None
        if tried is None:
            return asked

        def chosen() -> Chosen:
            known = network_of(self.folder)
            return choose(asked, tried) if known is None else Chosen(known["precision"], known.get("chosen", ""))

        return with_precision(asked, ranks.once(chosen))

    def settings(self, asked: Asked) -> dict[str, Any]:
        """All that decides the results beside the study's fields, to be kept in a run folder; tells what the user should know of them."""
        told = {name: value for name, value in asdict(self).items() if name not in _NO_SETTING}
        model = asked.model
        for note in (*asked.source.notes, *model.notes):  # type: ignore[attr-defined]
            typer.echo(f"note: {note}", err=True)
        known: dict[str, Any] = {"notes": list(model.notes)} if model.notes else {}
        known |= {"chosen": asked.chosen} if asked.chosen else {}
        return told | {"network": {**model.identity(), **known, "device": model.device.type}, "data": dict(asked.data)}

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.out
