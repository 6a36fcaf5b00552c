"""Options that several commands share, and what they mean."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from assay.core.precision import Precision
    from assay.data import Dataset
    from assay.data.files.reading import Reading
    from assay.data.source import Selection
    from assay.models.classifier import Classifier

__all__ = ["NetworkOptions", "PictureOptions", "mosaics", "numbers", "pixel_side", "selection"]

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
Split = Annotated[str | None, typer.Option(help="Part of a named data set; the test images by default.", show_default=False)]
Size = Annotated[int | None, typer.Option(min=1, help="Side of the images in pixels.", show_default=False)]
Count = Annotated[
    int | None, typer.Option(min=1, help="Take that many images, chosen at random by the seed; all by default.", show_default=False)
]
Seed = Annotated[int, typer.Option(help="Decides all randomness.")]
Device = Annotated[
    str | None,
    typer.Option(help="cpu or cuda; by default a GPU when there is one, and for python: where the factory puts it.", show_default=False),
]
Out = Annotated[Path, typer.Option(help="Folder to write: new, empty, or that of the same command, which then goes on.")]


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """A model."""

    model: Model
    weights: Weights = None
    pretrained: Pretrained = False
    random_weights: RandomWeights = False
    mean: Annotated[
        str | None, typer.Option(help="Mean of the training pixels, one number or one per channel: 0.485,0.456,0.406.", show_default=False)
    ] = None
    std: Annotated[str | None, typer.Option(help="Their standard deviation, likewise.", show_default=False)] = None
    classes: Annotated[
        Path | None, typer.Option(help="Text file with the names of the model's classes, one a line, in their order.", show_default=False)
    ] = None
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"],
        typer.Option(
            help="What the network runs in; auto is bfloat16 where a try on the first images is faster and leaves maps and scores as they "
            "are, else float32."
        ),
    ] = "auto"
    matmul_precision: Annotated[
        Literal["highest", "high", "medium"],
        typer.Option(
            help="How float32 matrices are multiplied, and a GPU's convolutions made: highest in float32, high in TF32 on a GPU, medium "
            "as high there, and on a CPU in bfloat16 where it can."
        ),
    ] = "highest"
    output: Annotated[Literal["logit", "probability", "log_probability"], typer.Option(help="What is explained.")] = "logit"
    head: Annotated[
        Literal["softmax", "sigmoid", "binary", "scalar"] | None,
        typer.Option(
            help="What the outputs are: classes that exclude each other, findings that do not, one logit of two classes, or values; "
            "softmax by default, binary for one logit.",
            show_default=False,
        ),
    ] = None
    device: Device = None
    seed: Seed = 0

    def network(self) -> Classifier:
        """The model, on a GPU when there is one; in float32 where its precision is left open.

        Raises:
            AssayError: See `assay.models.sources.spec.network`; also a device that is not there.
        """
        import torch

        from assay.core.precision import set_products
        from assay.errors import SpecError
        from assay.models.sources.spec import network

        place = self.device
        # A factory may return a Classifier, which is where it is.
        if place is None and torch.cuda.is_available() and not self.model.strip().startswith("python:"):
            place = "cuda"
        if place is not None:
            _check_device(place)
        set_products(self.matmul_precision)  # Of the whole process, which is the command's own.
        precision: Precision = "float32" if self.precision == "auto" else self.precision
        built = network(
            self.model,
            self.weights,
            precision,
            self.output,
            pretrained=self.pretrained,
            random_weights=self.random_weights,
            classes=self.classes,
            mean=numbers("mean", self.mean, 4),
            std=numbers("std", self.std, 4),
            device=place,
            seed=self.seed,
            head=self.head,
        )
        for name, own, asked, default in (
            ("precision", built.precision, precision, "float32"),
            ("output", built.output, self.output, "logit"),
            ("head", built.head_given, self.head, None),
        ):
            if asked not in (own, default):
                raise SpecError(
                    f"{self.model} returns a Classifier with {name} {own}, which --{name} {asked} cannot change; set it in the factory"
                )
        return built


@dataclass(frozen=True, kw_only=True)
class PictureOptions:
    """How the images of files are prepared, and what is known of them."""

    resize: Annotated[
        str | None,
        typer.Option(help="Resize files: the shorter side in pixels (256), or height,width to squash (224,224).", show_default=False),
    ] = None
    crop: Annotated[str | None, typer.Option(help="Then cut the centre square of that side, or height,width.", show_default=False)] = None
    interpolation: Annotated[
        Literal["nearest", "bilinear", "bicubic", "lanczos"] | None, typer.Option(help="How --resize interpolates.", show_default=False)
    ] = None
    letterbox: Annotated[
        bool, typer.Option("--letterbox", help="With --resize height,width: keep the proportions, black around.", show_default=False)
    ] = False
    channels: Annotated[int | None, typer.Option(min=1, max=3, help="1 for a grey network, 3 for RGB.", show_default=False)] = None
    labels: Annotated[
        str | None,
        typer.Option(
            help="Labels of a table: file.csv:path:label, the file and its two columns; file.csv:path:a,b,c for a column of 1 and 0 "
            "for each finding (with --head sigmoid).",
            show_default=False,
        ),
    ] = None
    separator: Annotated[
        str | None,
        typer.Option(
            help="What divides several labels in a cell of --labels (with --head sigmoid); ; or | by default.", show_default=False
        ),
    ] = None
    masks: Annotated[
        str | None,
        typer.Option(
            help="Folder of masks of the evidence, named like the images; or column:NAME of the images' file.", show_default=False
        ),
    ] = None
    boxes: Annotated[str | None, typer.Option(help="COCO file with boxes of the evidence.", show_default=False)] = None
    range: Annotated[
        tuple[float, float] | None, typer.Option(help="Stored values of files that become black and white.", show_default=False)
    ] = None
    window: Annotated[tuple[float, float] | None, typer.Option(help="The same as centre and width.", show_default=False)] = None
    split: Split = None
    size: Size = None

    def reading(self) -> Reading | None:
        """How pictures are prepared; None where no option says anything of it.

        Raises:
            SpecError: One makes no sense.
        """
        from assay.data.files.reading import Reading
        from assay.errors import SpecError

        if self.channels == 2:
            raise SpecError("--channels is 1 for a grey network or 3 for RGB, not 2")
        if self.interpolation is not None and self.resize is None:
            raise SpecError("--interpolation says how --resize interpolates; give both or none")
        if self.letterbox and "," not in (self.resize or ""):
            raise SpecError("--letterbox fits pictures into a height and width; give both, such as --resize 224,224")
        told: dict[str, Any] = {
            "resize": pixel_side("resize", self.resize),
            "crop": pixel_side("crop", self.crop),
            "interpolation": self.interpolation,
            "channels": self.channels,
            "range": self.range,
            "window": self.window,
            "letterbox": self.letterbox or None,
        }
        told = {name: value for name, value in told.items() if value is not None}
        return Reading(**told) if told else None

    def dataset(self, images: str, reading: Reading | None = None) -> Dataset:
        """A folder or a data set, with labels and masks that lie beside it.

        Raises:
            DataError: There is none, or it has no parts.
        """
        from assay.data import load
        from assay.data.files.encoded import Encoded
        from assay.errors import DataError

        beside = {"labels": self.labels, "masks": self.masks, "boxes": self.boxes, "separator": self.separator}
        found = load(images, self.split or "test", self.size, reading=reading, **beside)
        if self.split is not None and isinstance(found, Encoded):
            raise DataError(f"--split {self.split} is for named data sets, but {images} is taken whole; leave --split out")
        return found


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


def pixel_side(option: str, text: str | None) -> int | tuple[int, int] | None:
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


def selection(dataset: Dataset, images: str, count: int | None, seed: int, workers: int | None = None) -> Selection:
    """The chosen images of a folder or a data set, in ascending order.

    Args:
        dataset: What they are chosen from.
        images: How it was named.
        count: How many, at random; None for all.
        seed: Decides which.
        workers: Processes that read ahead.

    Raises:
        DataError: There are fewer.
    """
    from assay.data import choose
    from assay.data.source import Selection
    from assay.errors import DataError

    if count is not None and count > len(dataset):
        raise DataError(f"--count {count} asks for more images than the {len(dataset)} of {images}")
    return Selection(dataset, sorted(choose(dataset, count, seed)) if count is not None else range(len(dataset)), workers)


def mosaics(given: Selection, model: Classifier, grid: str, count: int | None, seed: int) -> tuple[Selection, list[int]]:
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
    sure: dict[str, Any] = {} if found[3] is None else {"confidence": float(found[3])}
    made = Mosaic(given.dataset, int(found[1]), int(found[2]), model=model, seed=seed, **sure)
    if count is not None and count > len(made):
        raise DataError(f"--count {count} asks for more mosaics than the {len(made)} that the model is sure of; ask for fewer")
    chosen = range(len(made)) if count is None else sorted(choose(made, count, seed))
    return replace(given, dataset=made, indices=chosen, labelled=False), [made.target(number) for number in chosen]


def _check_device(name: str) -> None:
    import torch

    from assay.errors import ModelError

    try:
        torch.empty(1, device=name).tolist()  # Which the device "meta" cannot.
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"cannot use --device {name}: {reason}") from error
