"""Options that several commands share, and what they mean."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from assay.core.progress import Progress
    from assay.data import Batch, Dataset, Reading
    from assay.models.classifier import Classifier
    from assay.models.heads import HeadName

__all__ = ["Inputs", "inputs", "mosaics", "network", "numbers", "reading", "side"]

Model = Annotated[
    str,
    typer.Option(
        help="timm:NAME, torchvision:NAME, hf:NAME, python:package.module:factory, a checkpoint, a TorchScript, .pt2 or .onnx file, a "
        "folder of transformers, or a shipped network."
    ),
]
Weights = Annotated[Path | None, typer.Option(help="Weights file: safetensors, or a torch file of plain tensors.", show_default=False)]
Pretrained = Annotated[bool, typer.Option("--pretrained", help="Use the published weights of a timm or torchvision network.")]
RandomWeights = Annotated[bool, typer.Option("--random-weights", help="Leave a timm or torchvision network untrained.")]
Images = Annotated[
    str,
    typer.Option(
        help="A folder of images, tar or Parquet files, hf:NAME@SPLIT, a data set's name (hard-digits, cifar10), or a spec such as "
        "HardDigits(size=96)."
    ),
]
Imports = Annotated[
    list[str] | None,
    typer.Option(
        "--import",
        help="Python file or module of your own that registers explainers or measures (my_explainers.py); may be given several times.",
        show_default=False,
    ),
]
Classes = Annotated[
    Path | None, typer.Option(help="Text file with the names of the model's classes, one a line, in their order.", show_default=False)
]
Mean = Annotated[
    str | None, typer.Option(help="Mean of the training pixels, one number or one per channel: 0.485,0.456,0.406.", show_default=False)
]
Std = Annotated[str | None, typer.Option(help="Their standard deviation, likewise.", show_default=False)]
Resize = Annotated[
    str | None,
    typer.Option(help="Resize files: the shorter side in pixels (256), or height,width to squash (224,224).", show_default=False),
]
Crop = Annotated[str | None, typer.Option(help="Then cut the centre square of that side, or height,width.", show_default=False)]
Interpolate = Annotated[
    Literal["nearest", "bilinear", "bicubic", "lanczos"] | None, typer.Option(help="How --resize interpolates.", show_default=False)
]
Channels = Annotated[int | None, typer.Option(min=1, max=3, help="1 for a grey network, 3 for RGB.", show_default=False)]
Range = Annotated[tuple[float, float] | None, typer.Option(help="Stored values of files that become black and white.", show_default=False)]
Window = Annotated[tuple[float, float] | None, typer.Option(help="The same as centre and width.", show_default=False)]
Labels = Annotated[
    str | None, typer.Option(help="Labels of a table: file.csv:path:label, the file and its two columns.", show_default=False)
]
Masks = Annotated[str | None, typer.Option(help="Folder of masks of the evidence, named like the images.", show_default=False)]
Boxes = Annotated[str | None, typer.Option(help="COCO file with boxes of the evidence.", show_default=False)]
Mosaic = Annotated[
    str | None,
    typer.Option(
        help="Join the images that the model is sure of into mosaics of so many rows and columns (2x2), each of another class: truth "
        "without annotation. What is explained is the class of the target, whose cell is the truth. Sure is a probability of 0.99, or as "
        "in 2x2@0.9; all images are run once to find out. --count counts mosaics.",
        show_default=False,
    ),
]
Split = Annotated[str | None, typer.Option(help="Part of a named data set; the test images by default.", show_default=False)]
Size = Annotated[int | None, typer.Option(min=1, help="Side of the images in pixels.", show_default=False)]
Workers = Annotated[
    int | None,
    typer.Option(min=0, help="Processes that read images ahead; by default none where reading takes seconds.", show_default=False),
]
Count = Annotated[
    int | None, typer.Option(min=1, help="Take that many images, chosen at random by the seed; all by default.", show_default=False)
]
Seed = Annotated[int, typer.Option(help="Decides all randomness.")]
Precision = Annotated[
    Literal["auto", "float32", "bfloat16"],
    typer.Option(
        help="What the network runs in; auto is bfloat16 where a try on the first images is faster and leaves maps and scores as they are, "
        "else float32."
    ),
]
Output = Annotated[Literal["logit", "probability", "log_probability"], typer.Option(help="What is explained.")]
Head = Annotated[
    Literal["softmax", "sigmoid", "binary", "scalar"] | None,
    typer.Option(
        help="What the outputs are: classes that exclude each other, findings that do not, one logit of two classes, or values; softmax by "
        "default, binary for one logit.",
        show_default=False,
    ),
]
Target = Annotated[
    list[str] | None,
    typer.Option(
        help="What is explained: predicted, labelled, a class by name or number, or a spec such as Probability(3); given twice, the first "
        "class against the second. The predicted class by default.",
        show_default=False,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(help="cpu or cuda; by default a GPU when there is one, and for python: where the factory puts it.", show_default=False),
]
Out = Annotated[Path, typer.Option(help="Folder to write: new, empty, or that of the same command, which then goes on.")]

_READ = 64


@dataclass(frozen=True)
class Inputs:
    """The images that a command works on."""

    dataset: Dataset
    indices: Sequence[int]
    workers: int | None = None
    labelled: bool = True
    """Whether labels say what an image shows as a whole."""

    def blocks(self, size: int = _READ) -> list[range]:
        """Positions in `indices`, in even blocks of at most `size`."""
        many = len(self.indices)
        step = math.ceil(many / math.ceil(many / size))
        return [range(start, min(start + step, many)) for start in range(0, many, step)]

    def read(self, blocks: Iterable[Sequence[int]]) -> Iterator[Batch]:
        """One batch per block of positions, in order, read ahead; see `assay.data.reader.read_blocks`."""
        from assay.data.reader import read_blocks

        found = read_blocks(self.dataset, map(self._numbers, blocks), self.workers)
        return found if self.labelled else (replace(one, labels=None) for one in found)

    def _numbers(self, block: Sequence[int]) -> Sequence[int]:
        if isinstance(block, range) and block.step == 1:
            return self.indices[block.start : block.stop]  # A range of a range takes no memory.
        return [self.indices[at] for at in block]

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of the first image that can be read.

        Raises:
            DataError: There is none.
        """
        from assay.errors import DataError

        for number in self.indices:
            try:
                return tuple(self.dataset[number].image.shape)
            except DataError as error:
                problem = error
        raise problem

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of the images: files that are left out."""
        from assay.data.files.encoded import Encoded

        files = getattr(self.dataset, "dataset", self.dataset)  # Below what lies over them.
        skipped = files.skipped if isinstance(files, Encoded) else {}
        told = ", ".join(f"{many} {kind}" for kind, many in skipped.items())
        return (f"left out of {self.dataset.name}, being no images: {told}",) if told else ()

    def check_labels(self, model: Classifier) -> None:
        """Refuse, before any work, labels that cannot be matched with the model's classes for certain.

        Raises:
            DataError: See `assay.models.labels.match`.
        """
        from assay.models.labels import match

        classes = self.dataset.classes
        first = self.dataset.read(self.indices[:1]) if classes and all(name.isdecimal() for name in classes) else None
        if first:
            model.count_classes(first.images.shape[1:])
            match(classes, model.classes)

    def batches(self) -> Iterator[Batch]:
        """The images in full batches."""
        return self.read(self.blocks())

    @property
    def record(self) -> dict[str, Any]:
        """What the reproducibility record says of the data."""
        return self.describe()

    def describe(self, progress: Progress | None = None) -> dict[str, Any]:
        """`record`, telling how far the hashing of the files is, which reads all of them once."""
        from assay.core.progress import silent

        data = self.dataset
        return {
            "name": data.name,
            "spec": repr(data),
            "split": data.split,
            "images in all": len(data),
            "sha256": data.hashed(progress or silent),
        }


def numbers(option: str, text: str | None, most: int) -> tuple[float, ...] | None:
    """One number or several, divided by commas.

    Raises:
        SpecError: They are none, or too many.
    """
    from assay.errors import SpecError

    if text is None:
        return None
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise SpecError(f"--{option} takes a number, or up to {most} divided by commas, not {text!r}") from error
    if len(found) > most:
        raise SpecError(f"--{option} takes up to {most} numbers, not {len(found)}")
    return found


def side(option: str, text: str | None) -> int | tuple[int, int] | None:
    """A side in pixels, or height and width.

    Raises:
        SpecError: It is neither.
    """
    from assay.errors import SpecError

    found = numbers(option, text, 2)
    if found is None:
        return None
    if any(one != int(one) for one in found):
        raise SpecError(f"--{option} takes whole pixels, not {text!r}")
    return int(found[0]) if len(found) == 1 else (int(found[0]), int(found[1]))


def reading(
    resize: str | None,
    crop: str | None,
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] | None,
    channels: int | None,
    range: tuple[float, float] | None,
    window: tuple[float, float] | None,
) -> Reading | None:
    """How pictures are prepared, as the options of these names say; None where none is given.

    Raises:
        SpecError: One makes no sense.
    """
    from assay.data.files.reading import Reading
    from assay.errors import SpecError

    if channels == 2:
        raise SpecError("--channels is 1 for a grey network or 3 for RGB, not 2")
    if interpolation is not None and resize is None:
        raise SpecError("--interpolation says how --resize interpolates; give both or none")
    told: dict[str, Any] = {
        "resize": side("resize", resize),
        "crop": side("crop", crop),
        "interpolation": interpolation,
        "channels": channels,
        "range": range,
        "window": window,
    }
    told = {name: value for name, value in told.items() if value is not None}
    return Reading(**told) if told else None


def inputs(
    images: str,
    split: str | None,
    size: int | None,
    count: int | None,
    seed: int,
    workers: int | None = None,
    reading: Reading | None = None,
    **annotations: str | None,
) -> Inputs:
    """The chosen images of a folder or a data set, in ascending order."""
    from assay.data import choose, load
    from assay.data.files.encoded import Encoded
    from assay.errors import DataError

    dataset = load(images, split or "test", size, reading=reading, **annotations)
    if split is not None and isinstance(dataset, Encoded):
        raise DataError(f"--split {split} is for named data sets, but {images} is taken whole; leave --split out")
    if count is not None and count > len(dataset):
        raise DataError(f"--count {count} asks for more images than the {len(dataset)} of {images}")
    return Inputs(dataset, sorted(choose(dataset, count, seed)) if count is not None else range(len(dataset)), workers)


def mosaics(given: Inputs, model: Classifier, grid: str, count: int | None, seed: int) -> tuple[Inputs, list[int]]:
    """Mosaics of the given images, chosen as they would be, and the model's class of each one's target.

    Args:
        given: The images.
        model: What must be sure of them.
        grid: Rows and columns, and the least confidence, such as "2x2" or "2x2@0.9".
        count: How many mosaics; all where None.
        seed: Decides cells and choice.

    Raises:
        SpecError: The grid is none, or the images bring evidence of their own.
        DataError: There are fewer mosaics, or the model is sure of too few images.
    """
    from assay.data import Mosaic, choose
    from assay.errors import DataError, SpecError

    found = re.fullmatch(r"(\d+)x(\d+)(?:@(0?\.\d+|[01]))?", grid.strip())
    if found is None:
        raise SpecError(f"--mosaic takes rows and columns, such as 2x2, and if wanted the least confidence, 2x2@0.9, not {grid!r}")
    sure = {} if found[3] is None else {"confidence": float(found[3])}
    made = Mosaic(given.dataset, int(found[1]), int(found[2]), model=model, seed=seed, **sure)
    if count is not None and count > len(made):
        raise DataError(f"--count {count} asks for more mosaics than the {len(made)} that the model is sure of; ask for fewer")
    chosen = range(len(made)) if count is None else sorted(choose(made, count, seed))
    return replace(given, dataset=made, indices=chosen, labelled=False), [made.target(number) for number in chosen]


def network(
    model: str,
    weights: Path | None,
    pretrained: bool,
    random_weights: bool,
    precision: Literal["float32", "bfloat16"],
    output: Literal["logit", "probability", "log_probability"],
    device: str | None,
    seed: int,
    head: HeadName | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    classes: Path | None = None,
) -> Classifier:
    """The model that the options name, on a GPU when there is one.

    Raises:
        AssayError: See `assay.models.sources.spec.network`; also a device that is not there.
    """
    import torch

    from assay.errors import SpecError
    from assay.models.sources.spec import network as build

    place = device
    # A factory may return a Classifier, which is where it is.
    if place is None and torch.cuda.is_available() and not model.strip().startswith("python:"):
        place = "cuda"
    if place is not None:
        _check_device(place)
    built = build(
        model,
        weights,
        precision,
        output,
        pretrained=pretrained,
        random_weights=random_weights,
        classes=classes,
        mean=mean,
        std=std,
        device=place,
        seed=seed,
        head=head,
    )
    for name, own, asked, default in (
        ("precision", built.precision, precision, "float32"),
        ("output", built.output, output, "logit"),
        ("head", built.head_given, head, None),
    ):
        if asked not in (own, default):
            raise SpecError(f"{model} returns a Classifier with {name} {own}, which --{name} {asked} cannot change; set it in the factory")
    return built


def _check_device(name: str) -> None:
    import torch

    from assay.errors import ModelError

    try:
        torch.empty(1, device=name).tolist()  # Which the device "meta" cannot.
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"cannot use --device {name}: {reason}") from error
