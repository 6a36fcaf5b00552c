"""What the commands that work on images with a model are told alike, stated once."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from assay.cli.tasks import options
from assay.core.whole_files import expanded

if TYPE_CHECKING:
    from assay.core.progress import Progress
    from assay.core.ranks import Ranks
    from assay.data.files.reading import Reading
    from assay.data.source import Selection
    from assay.models.classifier import Classifier
    from assay.run.blocks import ArrayPart
    from assay.study.study import Asked

__all__ = ["PartOption", "Task", "part_of_run"]

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


def part_of_run(part: str | None, ranks: Ranks) -> ArrayPart | Literal["merge"] | None:
    """The part of the run that --part names; None for all.

    Raises:
        SpecError: It is none, or processes are joined.
    """
    from assay.errors import SpecError
    from assay.run.blocks import ArrayPart

    if part is not None and ranks.world > 1:
        raise SpecError("--part is for jobs that never meet, torchrun for processes that do; give one of them")
    return "merge" if part == "merge" else None if part is None else ArrayPart.read(part)


@dataclass(frozen=True, kw_only=True)
class Task(options.NetworkOptions, options.PictureOptions):
    """A model, images, and a folder for the results; the fields are options of the command line."""

    images: options.Images
    out: options.Out
    count: options.Count = None
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="What is explained: predicted, labelled, a class by name or number, or a spec such as Probability(3); given twice, "
            "the first class against the second. The predicted class by default.",
            show_default=False,
        ),
    ] = None
    mosaic: Annotated[
        str | None,
        typer.Option(
            help="Join the images that the model is sure of into mosaics of so many rows and columns (2x2), each of another class: truth "
            "without annotation. What is explained is the class of the target, whose cell is the truth. Sure is a probability of 0.99, or "
            "as in 2x2@0.9; all images are run once to find out. --count counts mosaics.",
            show_default=False,
        ),
    ] = None
    imports: options.Imports = None
    block: Block = None
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Processes that read images ahead; by default none where reading takes seconds.", show_default=False),
    ] = None
    part: PartOption = None

    def import_code(self) -> None:
        """Import the user's own code, which specs may then name."""
        from assay.core.plugins import import_code

        for name in self.imports or ():
            import_code(name)

    def selection(self) -> Selection:
        """The images."""
        if self.mosaic is not None:
            self._check_mosaic()
        count = self.count if self.mosaic is None else None  # Which counts mosaics then.
        return options.selection(self.dataset(self.images, self.reading()), self.images, count, self.seed, self.workers)

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

        given = super().reading()
        files = (
            expanded(self.images).exists() or is_pattern(self.images) or self.images.startswith("hf:")
        )  # Data sets by name have sizes of their own.
        sized = self.size is not None or (given is not None and (given.resize is not None or given.crop is not None))
        own = own_reading(self.model, self.pretrained) if files and not sized else None
        if own is None or given is None:
            return given if own is None else own
        return replace(own, **{name: value for name, value in vars(given).items() if value != getattr(type(given), name)})

    def asked(self, _ranks: Ranks) -> Asked:
        """What a study is about, but for the data's hash."""
        import torch

        from assay.models.targeting import PREDICTED, Targeting, targeting
        from assay.study.study import Asked

        chosen, model = self.selection(), self.network()
        _check_labels(chosen, model, self.target)
        if self.mosaic is not None:
            chosen, kinds = options.mosaics(chosen, model, self.mosaic, self.count, self.seed)
            told = {
                "mosaics": f"{self.mosaic} images that the model is sure of; the target's cell is the truth, and its class is explained"
            }
            targets = Targeting("target", given=torch.tensor(kinds))
            return Asked(model, chosen, self.seed, self.model, targets=targets, masks=chosen.dataset.mask_kinds, facts=told, mixed=True)
        data = chosen.dataset
        targets = targeting(self.target, model, chosen.shape, data.classes) if self.target else PREDICTED
        masks, several = data.mask_kinds, data.several
        return Asked(model, chosen, self.seed, self.model, classes=data.classes, targets=targets, masks=masks, several=several)

    def described(self, asked: Asked, ranks: Ranks, progress: Progress) -> Asked:
        """The same with the data's hash, for which all files are read."""
        return replace(asked, data=ranks.once(lambda: _selected(asked).describe(progress)))

    def decided(self, study: Any, asked: Asked, ranks: Ranks) -> Asked:
        """The same in the precision that "auto" stands for: as in the folder's run, where there is one, else found out now."""
        from assay.run.status import network_of
        from assay.study.precision_choice import Chosen, choose_precision, with_precision

        tried = study.tried(asked) if self.precision == "auto" else None
        if tried is None:
            return asked

        def chosen() -> Chosen:
            known = network_of(self.folder)
            return choose_precision(asked, tried) if known is None else Chosen(known["precision"], known.get("chosen", ""))

        return with_precision(asked, ranks.once(chosen))

    def settings(self, asked: Asked) -> dict[str, Any]:
        """All that decides the results beside the study's fields, to be kept in a run folder; tells what the user should know of them."""
        told = {name: value for name, value in asdict(self).items() if name not in _NO_SETTING}
        model = asked.model
        for note in (*_selected(asked).notes, *model.notes):
            typer.echo(f"note: {note}", err=True)
        known: dict[str, Any] = {"notes": list(model.notes)} if model.notes else {}
        known |= {"chosen": asked.chosen} if asked.chosen else {}
        return told | {"network": {**model.identity(), **known, "device": model.device.type}, "data": dict(asked.data)}

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.out


def _selected(asked: Asked) -> Selection:
    """The images of what `Task.asked` made."""
    from assay.data.source import Selection

    assert isinstance(asked.source, Selection)
    return asked.source


def _check_labels(chosen: Selection, model: Classifier, target: list[str] | None) -> None:
    """Refuse, before any work, labels that cannot be matched with the model's classes; note what is in doubt.

    Raises:
        DataError: See `assay.models.labels.match`.
        TargetError: Images have several labels, and the model's classes exclude each other, or the label is to be explained.
    """
    from assay.errors import TargetError
    from assay.models.heads import HEADS
    from assay.models.labels import match

    if chosen.dataset.several:
        model.count_classes(chosen.shape)
        if not HEADS[model.head].sided:
            raise TargetError(
                f"the labels of {chosen.dataset.name} are several findings for an image, but the model's head is {model.head}, which has "
                "one class for each: give --head sigmoid, or labels of which an image has one"
            )
        if target == ["labelled"]:
            raise TargetError("--target labelled needs one label for an image, but these have several; name the finding, --target NAME")
    classes = chosen.dataset.classes
    first = chosen.dataset.read(chosen.indices[:1]) if classes else None
    if first:
        model.count_classes(first.images.shape[1:])
        if doubt := match(classes, model.classes).doubt:
            model.notes = (*model.notes, doubt)
