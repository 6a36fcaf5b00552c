"""Labels of a table that lies beside images, one for each or several findings, and how its names find the images."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import polars as pl

from assay.core.registry import nearest
from assay.core.whole_files import expanded
from assay.errors import DataError

__all__ = ["LabelTable", "labels_of", "match_names", "table_file"]

_SHOWN = 3
_DIVIDERS = ";|"
"""What divides several labels in one cell, where nobody says; a comma stands in too many names."""
_WHOLE = re.compile(r"-?\d+\.0+")
_THERE = {"1": 1, "true": 1, "0": 0, "false": 0, "-1": -1, "": -1}
"""What a column of a finding may hold: there, not there, not known."""


@dataclass(frozen=True)
class LabelTable:
    """What a table says of images.

    Attributes:
        classes: Names of the classes, or of the findings.
        numbers: For each image that it names the class's number, or, of several findings, 1, 0 or -1 (not known) for each.
        several: Whether an image may have several.
    """

    classes: tuple[str, ...]
    numbers: Mapping[int, int | tuple[int, ...]]
    several: bool = False


def labels_of(spec: str, names: Sequence[str], separator: str | None = None) -> LabelTable:
    """The labels of a table.

    Args:
        spec: `file.csv:path:label`, a CSV, TSV or Parquet file with its columns of images' names and of labels. With several columns
            of labels, `file.csv:path:a,b,c`, each is a finding: 1 or true where it is there, 0 or false where not, -1 or nothing
            where that is not known.
        names: The images' names.
        separator: What divides several labels in one cell; None for ; or |, whichever is there. A cell with nothing in it has none of
            the findings then.

    Raises:
        DataError: The file is missing or of another form, or names nothing of the images.
    """
    path, image, label = _parts(spec)
    table = _read(path)
    columns = [label] if label in table.columns else [one.strip() for one in label.split(",")]
    for column in (image, *columns):
        if column not in table.columns:
            raise DataError(f"{path} has no column {column!r}{nearest(column, table.columns)} (it has {', '.join(table.columns)})")
    rows = table.select(image, *dict.fromkeys(columns)).drop_nulls(image)
    keys = list(map(_text, rows[image].to_list()))
    if len(set(keys)) < len(keys):
        raise DataError(f"{path} names an image more than once in {image!r}")
    if len(columns) > 1:
        if separator is not None:
            raise DataError(f"the columns {label} of {path} are one finding each; leave the separator {separator!r} out")
        marks = zip(*(_marks(rows[one], path) for one in columns), strict=True)
        return LabelTable(tuple(columns), match_names(names, dict(zip(keys, marks, strict=True)), path), True)
    cells = rows[label].to_list()
    divider = _divider(cells, separator, path)
    if divider is None:
        given = {key: _text(cell) for key, cell in zip(keys, cells, strict=True) if cell not in (None, "")}
        matched = match_names(names, given, path)
        classes = _ordered(matched.values())
        return LabelTable(classes, {at: classes.index(_number(one, classes)) for at, one in matched.items()})
    found = match_names(names, {key: _divided(cell, divider) for key, cell in zip(keys, cells, strict=True)}, path)
    classes = _ordered(one for group in found.values() for one in group)
    own = {at: {_number(one, classes) for one in group} for at, group in found.items()}
    return LabelTable(classes, {at: tuple(int(name in group) for name in classes) for at, group in own.items()}, True)


def table_file(spec: str) -> str:
    """The file of a spec of labels."""
    return _parts(spec)[0]


def match_names(names: Iterable[str], given: Mapping[str, Any], where: str) -> dict[int, Any]:
    """What is given for each image, by its place: by whole names, else by file names, else by these without the last or all endings.

    Args:
        names: The images' names.
        given: What is given, by names.
        where: How errors name the giver.

    Raises:
        DataError: No name agrees, or two images or two entries share one.
    """
    names = list(names)
    for of_image, of_given in _KINDS:
        own, other = [of_image(one) for one in names], {of_given(one): value for one, value in given.items()}
        found = {at: other[one] for at, one in enumerate(own) if one in other}
        if not found:
            continue
        if len(set(own)) < len(own) or len(other) < len(given):
            raise DataError(f"{where}: several images or entries have the same name without folder or ending; write whole paths there")
        return found
    raise DataError(
        f"{where} names none of the images: it has {', '.join(list(given)[:_SHOWN]) or 'nothing'}, "
        f"the images are {', '.join(names[:_SHOWN])}"
    )


def _file(name: str) -> str:
    return PurePosixPath(name).name


def _stem(name: str) -> str:
    return PurePosixPath(name).stem


def _first(name: str) -> str:
    return _file(name).partition(".")[0]


_KINDS: tuple[tuple[Callable[[str], str], Callable[[str], str]], ...] = (
    (str, str),
    (_file, _file),
    (_stem, _file),  # 1.2.840.dcm is 1.2.840, as DICOM files are called.
    (_stem, _stem),
    (_first, _first),
)
"""What of an image's name, and of the name beside it, must agree."""


def _parts(text: str) -> tuple[str, str, str]:
    parts = text.rsplit(":", 2)
    if len(parts) != 3 or not all(parts):
        raise DataError(
            f"say where labels are as file.csv:path:label, the file and its columns of images and of labels (file.csv:path:a,b,c for a "
            f"column for each finding), not {text!r}"
        )
    return parts[0], parts[1], parts[2]


def _read(path: str) -> pl.DataFrame:
    """The table; of text files every cell as it is written, so that 0001 stays a name."""
    kind, place = Path(path).suffix.lower(), expanded(path)
    try:
        if kind == ".parquet":
            return pl.read_parquet(place)
        if kind in (".csv", ".tsv"):
            with place.open(encoding="utf-8", errors="replace") as file:
                head = file.readline()
            # Spreadsheets of half of Europe write CSV with semicolons.
            mark = "\t" if kind == ".tsv" else ";" if ";" in head and "," not in head else ","
            found = pl.read_csv(place, separator=mark, infer_schema=False)
            return found.rename({name: name.strip() for name in found.columns})
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"cannot read the labels of {path}: {next(iter(str(error).splitlines()), error)}") from error
    raise DataError(f"labels come from a .csv, .tsv or .parquet file, not {path}")


def _text(value: Any) -> str:
    """A cell as text; whole numbers without their decimals."""
    if isinstance(value, float) and value == int(value):
        return str(int(value))
    text = str(value).strip()
    return text.partition(".")[0] if _WHOLE.fullmatch(text) else text


def _divider(cells: Sequence[Any], separator: str | None, path: str) -> str | None:
    """What divides several labels in a cell; None where each has one."""
    if separator is not None:
        return separator
    if any(isinstance(cell, list) for cell in cells):
        return ""
    found = [mark for mark in _DIVIDERS if any(isinstance(cell, str) and mark in cell for cell in cells)]
    if len(found) > 1:
        raise DataError(f"the labels of {path} hold both ; and |; say which divides several labels of an image (--separator)")
    return found[0] if found else None


def _divided(cell: Any, divider: str) -> tuple[str, ...]:
    """The labels in a cell; none where there is nothing."""
    parts = cell if isinstance(cell, list) else [] if cell is None else str(cell).split(divider)
    return tuple(text for one in parts if (text := _text(one)))


def _ordered(labels: Iterable[str]) -> tuple[str, ...]:
    """Names of classes, sorted; of numbers all from 0 to the largest, as the numbers of other files."""
    names = sorted(set(labels), key=lambda one: (not one.isdecimal(), int(one) if one.isdecimal() else 0, one))
    return tuple(map(str, range(int(names[-1]) + 1))) if names and all(one.isdecimal() for one in names) else tuple(names)


def _number(label: str, classes: Sequence[str]) -> str:
    """The name of a label's class: 07 is 7 where all are numbers."""
    return label if label in classes else str(int(label))


def _marks(column: pl.Series, path: str) -> list[int]:
    """1, 0 or -1 for each row of a finding's column.

    Raises:
        DataError: A cell is none of these.
    """
    cells = ["" if cell is None else _text(cell).lower() for cell in column.to_list()]
    odd = next((cell for cell in cells if cell not in _THERE), None)
    if odd is not None:
        raise DataError(
            f"the column {column.name!r} of {path} has {odd!r}, where a finding is 1 or 0, or -1 or nothing where it is not known"
        )
    return [_THERE[cell] for cell in cells]
