"""Data sets by name, by folder or by spec."""

from __future__ import annotations

import ast
import dataclasses
import os
import re
from pathlib import Path
from typing import Any

from assay.core.registry import build, nearest, registered
from assay.core.whole_files import expanded
from assay.data.base import Dataset
from assay.data.files.hub import HubImages, is_saved
from assay.data.files.image_folder import ImageFolder
from assay.data.files.parquet import ParquetImages
from assay.data.files.reading import Reading
from assay.data.files.shards import is_pattern
from assay.data.files.tar_shards import TarShards
from assay.data.known.celeba import CelebA
from assay.data.known.chest_xray import ChestXray
from assay.data.known.cifar10 import CIFAR10
from assay.data.known.hard_digits import HardDigits
from assay.data.known.hard_mnist import HardMNIST
from assay.data.truth.annotated import Annotated
from assay.errors import DataError, SpecError

__all__ = ["NAMES", "load"]

NAMES: dict[str, type[Dataset]] = {
    "hard-digits": HardDigits,
    "hard-mnist": HardMNIST,
    "chest-xray": ChestXray,
    "celeba": CelebA,
    "cifar10": CIFAR10,
}
"""Names that `load` knows, beside folders and specs."""

_KINDS: dict[str, type[Dataset]] = {".tar": TarShards, ".parquet": ParquetImages}

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(?!\\)")
"""The beginning of an address, such as `s3:`; one letter is a drive."""

_BASE: type[Any] = Dataset  # What `registered` and `build` look for; an abstract class is no type[T] to mypy.


def load(
    name: str | Path,
    split: str = "test",
    size: int | None = None,
    root: str | Path | None = None,
    reading: Reading | None = None,
    **annotations: str | Path | None,
) -> Dataset:
    """A data set.

    Args:
        name: A name such as `"hard-digits"`, a folder of images, tar files or Parquet files, one such file, a pattern such
            as `"part-{000..099}.tar"`, a spec such as `"HardDigits(size=96, seed=3)"`, or a data set of `datasets`: `"hf:name@split"`, a
            folder that it wrote.
        split: Which part. A folder or file is one part: its images are all of them. What a spec says stands.
        size: Side of the images in pixels; None for the data set's own.
        root: Folder of downloaded data sets; None for that of the environment variable ASSAY_DATA.
        reading: What else is done to the pictures of a folder or file; None for nothing.
        **annotations: `labels` (with their `separator`), `masks` or `boxes` that lie beside a folder or file of images; see `Annotated`.

    Raises:
        DataError: The name is unknown, or the data are missing.
        SpecError: A parameter is out of range, the data set has no such parameter, or a spec says something else.
    """
    name = str(name)
    told = {key: str(value) for key, value in annotations.items() if value is not None}
    if told:
        if odd := sorted(told.keys() - {"labels", "masks", "boxes", "separator"}):
            raise SpecError(f"load has no parameter {', '.join(odd)}")
        return Annotated(load(name, split, size, root, reading), **told)
    if size is not None and reading is not None and (reading.resize or reading.crop):
        raise SpecError("size resizes and crops, and so does reading= (--resize, --crop); give one of them")
    wanted: dict[str, Any] = {"size": size, "root": None if root is None else str(root), "reading": reading}
    wanted = {key: value for key, value in wanted.items() if value is not None}
    if name in NAMES:
        return _make(NAMES[name], {"split": split} | wanted)
    if name.startswith("hf:") and len(name) > len("hf:"):
        where, _, part = name.removeprefix("hf:").partition("@")
        return _make(HubImages, {"path": where} | ({"part": part} if part else {}) | wanted)
    place = expanded(name)
    if place.exists():
        return _make(_kind(place), {"path": name} | wanted)
    if is_pattern(name) and place.suffix in _KINDS:
        return _make(_KINDS[place.suffix], {"path": name} | wanted)
    if "(" in name or name in registered(_BASE):
        return _from_spec(name, {"split": split} | wanted)
    if (scheme := _SCHEME.match(name)) is not None:
        raise DataError(
            f"{name} is no file here, and {scheme[1]}: is no way to data: give a folder, tar or Parquet files, a name, a spec, or "
            "hf:NAME@SPLIT for one of the Hugging Face hub"
        )
    if any(mark in name for mark in "/\\"):
        raise DataError(f"there is no folder {name}: give a folder of images, or of one folder of images per class")
    known = [*NAMES, *registered(_BASE)]
    raise DataError(f"there is no data set or folder {name!r}{nearest(name, known)} (known: {', '.join(NAMES)}, a folder, or a spec)")


def _kind(place: Path) -> type[Dataset]:
    """What reads a file or folder: told by its ending, or by what lies in the folder or in its only folder `data`."""
    if place.is_file():
        return _KINDS.get(place.suffix, ImageFolder)
    try:
        with os.scandir(place) as entries:
            folders = [one.name for one in entries if one.is_dir() and not one.name.startswith(".")]
    except OSError:
        return ImageFolder  # Which says why.
    if folders == ["data"]:
        place /= folders.pop()
    if is_saved(place):
        return HubImages
    if not folders:
        for suffix, kind in _KINDS.items():
            if next(place.glob(f"[!.]*{suffix}"), None) is not None:
                return kind
    return ImageFolder


def _make(cls: type[Dataset], parameters: dict[str, Any]) -> Dataset:
    # The root says where downloads lie; data that are not downloaded have no use for it.
    fields = _fields(cls)
    odd = sorted(parameters.keys() - set(fields) - {"root"})
    if odd:
        raise SpecError(f"{cls.__name__} has no parameter {', '.join(odd)}: leave it out (its parameters are {', '.join(fields)})")
    made: Dataset = cls(**{key: value for key, value in parameters.items() if key in fields})
    return made


def _fields(cls: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(cls)]


def _from_spec(spec: str, parameters: dict[str, Any]) -> Dataset:
    """Build `spec`, with those of `parameters` that it leaves open and its data set has."""
    made: Dataset = build(_completed(spec, parameters), _BASE)
    for key, value in parameters.items():
        said = getattr(made, key, value)
        if said != value and (key, value) != ("split", "test"):
            raise SpecError(f"the spec {spec!r} says {key}={said!r} and the argument says {value!r}: give only one of them")
    return made


def _completed(spec: str, parameters: dict[str, Any]) -> str:
    try:
        node = ast.parse(spec.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        return spec  # `build` says what is wrong.
    call = ast.Call(node, [], []) if isinstance(node, ast.Name) else node
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.func.id not in registered(_BASE):
        return spec
    fields = _fields(registered(_BASE)[call.func.id])
    said = {*fields[: len(call.args)], *(keyword.arg for keyword in call.keywords)}
    left_open = {key: value for key, value in parameters.items() if key in fields and key not in said}
    call.keywords += [ast.keyword(key, ast.parse(repr(value), mode="eval").body) for key, value in left_open.items()]
    return ast.unparse(call)
