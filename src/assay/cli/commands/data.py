"""`assay data`: which data sets there are, what they look like, and how to get them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from assay.cli.app import app
from assay.cli.fields import command
from assay.cli.tasks import options
from assay.errors import DataError

if TYPE_CHECKING:
    from assay.data import CIFAR10, Batch, CelebA, ChestXray, HardMNIST

    OnDisk = CIFAR10 | CelebA | ChestXray | HardMNIST

__all__ = ["data"]

data = typer.Typer(help="List, check, preview and download data sets.", no_args_is_help=True)
app.add_typer(data, name="data")

Root = Annotated[Path | None, typer.Option(help="Folder of downloaded data sets (default: ASSAY_DATA).", show_default=False)]


@data.command("list")
def list_data(root: Root = None) -> None:
    """List the data sets, their splits, and where they are or how to get them."""
    from assay.data import HardDigits

    table = Table(title="Data sets", title_justify="left")
    for heading in ("name", "what", "split", "images", "where, or how to get it"):
        table.add_column(heading, justify="right" if heading == "images" else "left", overflow="fold")
    digits = [HardDigits(split) for split in ("train", "val", "test")]
    table.add_row(
        "hard-digits",
        "handwritten digits with noise and a distractor; truth known",
        "\n".join(part.split for part in digits),
        "\n".join(str(len(part)) for part in digits),
        "built in: made when asked for, of any size and number",
        end_section=True,
    )
    for cls, what, splits in _on_disk():
        found = [(split, *_found(cls, split, root)) for split in splits]
        if all(count == "none" for _, count, _ in found):
            found = [("\n".join(splits), "none", found[0][2])]  # Each would say the same at length.
        for row, (split, count, where) in enumerate(found):
            name, about = (str(cls.name), what) if not row else ("", "")
            table.add_row(name, about, split, count, where, end_section=row == len(found) - 1)
    table.add_row(
        "PATH",
        "your own images: PATH/<class>/*.jpg or *.png, PATH/*.jpg without labels; tar shards or Parquet files, a folder or pattern of them",
        "all",
        "",
        "give its path instead of a name",
    )
    Console().print(table)


@data.command()
def preview(
    name: Annotated[str, typer.Argument(help="A name from `assay data list`, a folder, or a spec such as 'HardDigits(size=96)'.")],
    out: Annotated[Path, typer.Option(help="PNG file to write.")],
    count: Annotated[int, typer.Option(help="Number of images.")] = 12,
    split: Annotated[str, typer.Option(help="Part of the data set.")] = "test",
    size: Annotated[int | None, typer.Option(help="Side of the images in pixels.", show_default=False)] = None,
    seed: Annotated[int, typer.Option(help="Decides which images are chosen.")] = 0,
    root: Root = None,
) -> None:
    """Draw some images of a data set with their labels and their known truth."""
    from assay.data import choose, load, read
    from assay.data.preview import save_contact_sheet

    if out.suffix.lower() != ".png":
        raise DataError(f"the preview is a PNG file: give a name that ends in .png, not {out}")
    dataset = load(name, split, size, root)
    batch = read(dataset, choose(dataset, min(count, len(dataset)), seed))
    save_contact_sheet(dataset, batch, out)
    _tell_errors(batch)
    Console().print(f"{len(batch)} of {len(dataset)} images of {dataset!r} drawn in {out}", markup=False, soft_wrap=True)


@command(data, "check")
@dataclass(frozen=True, kw_only=True)
class DataCheck(options.PictureOptions):
    """Read every image as other commands would, and tell what there is: sizes, labels, masks, and what is left out or cannot be read.

    Attributes:
        sheet: PNG file to draw some of them into, with masks.
    """

    images: Annotated[str, typer.Argument(help="What --images would take: a folder, tar or Parquet files, hf:NAME@SPLIT, a name.")]
    sheet: Path | None = None
    count: Annotated[int, typer.Option(min=1, help="Images drawn in the sheet.")] = 12

    def run(self) -> None:
        """See `assay.cli.fields.Command`."""
        from assay.data import choose, read
        from assay.data.check import told_of
        from assay.data.preview import save_contact_sheet

        if self.sheet is not None and self.sheet.suffix.lower() != ".png":
            raise DataError(f"the sheet is a PNG file: give a name that ends in .png, not {self.sheet}")
        dataset = self.dataset(self.images, self.reading())
        console = Console(highlight=False)
        for line in told_of(dataset):
            console.print(line, markup=False, soft_wrap=True)
        if self.sheet is not None:
            batch = read(dataset, sorted(choose(dataset, min(self.count, len(dataset)), 0)))
            save_contact_sheet(dataset, batch, self.sheet)
            console.print(f"{len(batch)} images drawn in {self.sheet}", markup=False, soft_wrap=True)


@data.command()
def download(
    name: Annotated[str, typer.Argument(help="The data set: cifar10.")],
    root: Annotated[Path, typer.Option(envvar="ASSAY_DATA", help="Folder to put it into.")],
) -> None:
    """Fetch a data set from its home and check it."""
    from assay.data.files.download import download_cifar10

    if name != "cifar10":
        known = {cls.name: "; `assay data list` says how to get it" for cls, _, _ in _on_disk()}
        hint = (known | {"hard-digits": "; it is built in and needs no download"}).get(name, "")
        raise DataError(f"cannot download {name!r}{hint}; what can be downloaded: cifar10")
    Console().print(f"cifar10 is in {download_cifar10(root)}", markup=False, soft_wrap=True)


def _on_disk() -> tuple[tuple[type[OnDisk], str, tuple[str, ...]], ...]:
    """The data sets that are not built in, what they hold, and their splits."""
    from assay.data import CIFAR10, CelebA, ChestXray, HardMNIST

    return (
        (HardMNIST, "MNIST digits with noise and a distractor; truth known", ("train", "tune", "test")),
        (ChestXray, "X-rays of children with or without pneumonia; a tag as known truth on demand", ("train", "test")),
        (CelebA, "faces by hair colour, where glasses go with one colour; hair masks on demand", ("train", "test")),
        (CIFAR10, "photographs of 10 kinds of things, 32 x 32", ("train", "test")),
    )


def _found(cls: type[OnDisk], split: str, root: Path | None) -> tuple[str, str]:
    """Number of images and place of a split, or what is missing."""
    try:
        found = cls(split, root=None if root is None else str(root))
        return str(len(found)), str(found.place)
    except DataError as error:
        return "none", str(error)


def _tell_errors(batch: Batch) -> None:
    if not batch.errors:
        return
    console = Console(stderr=True, highlight=False)
    console.print(f"{len(batch.errors)} of the chosen images cannot be read:", markup=False)
    for error in batch.errors:
        console.print(f"  {error.name}: {error.message}", markup=False, soft_wrap=True)
