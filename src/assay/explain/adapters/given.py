"""Maps that were made elsewhere, as an explainer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assay.core.registry import build, stand_in
from assay.core.whole_files import expanded
from assay.errors import AssayError, DataError, ImageTypeError, ShapeError, SpecError
from assay.explain.base import Explainer
from assay.models.classifier import Classifier

__all__ = ["Given", "Stack", "given_maps"]

_DIGITS = 12
_FORMS = "give a .npy or .npz file, a zarr folder, or a folder of .npy or .png maps"
_ZARR = ("zarr.json", ".zarray", ".zgroup")
"""What tells a folder of zarr's, new or old."""
_NOT_NAMES = ("RandomMap",)
"""What tables call the floor."""


@dataclass(frozen=True, eq=False)
class Stack:
    """Maps in memory, equal to others by their content.

    Attributes:
        maps: (N, C, H, W) float32.
        index: (N,) the images' global numbers; None for 0..N-1.
    """

    maps: NDArray[np.float32]
    index: NDArray[np.int64] | None = None

    @cached_property
    def digest(self) -> str:
        """The beginning of the SHA-256 (hex) of the maps, their shape and their numbers."""
        whole = hashlib.sha256(f"{self.maps.shape}".encode() + np.ascontiguousarray(self.maps).tobytes())
        if self.index is not None:
            whole.update(self.index.tobytes())
        return whole.hexdigest()[:_DIGITS]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stack) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"'maps in memory of shape {self.maps.shape}'"

    def rows(self, index: Tensor) -> NDArray[np.float32]:
        """Maps of the images of those global numbers.

        Raises:
            ShapeError: There is none of one of them.
        """
        return self.maps[self.places(index.cpu().numpy())]

    def places(self, wanted: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of the maps of the images of those global numbers.

        Raises:
            ShapeError: There is none of one of them.
        """
        known = np.arange(len(self.maps)) if self.index is None else self.index
        order = np.argsort(known, kind="stable")
        place = np.searchsorted(known, wanted, sorter=order).clip(max=len(known) - 1)
        lost = wanted[known[order[place]] != wanted]
        if len(lost):
            span = f"0 to {len(known) - 1}" if self.index is None else f"{len(known)} images from {known.min()} to {known.max()}"
            raise ShapeError(f"there is no map of image {lost[0]} ({len(lost)} are missing); the maps are those of {span}")
        found: NDArray[np.int64] = order[place]
        return found


@stand_in
class Given(Explainer):
    """Maps that were made elsewhere, addressed by the images' global numbers.

    They are compared and scored like those of any explainer. What has to explain changed images or another model
    (`MaxSensitivity`, attacks, `Smoothed`) refuses them by name.

    Args:
        maps: A tensor or array (N, H, W) or (N, C, H, W) whose row i is the map of image i; a `.npy` file of one; an
            `.npz` file or zarr folder with one array, or with one of this `name`, or with `maps`, and optionally the images' numbers
            as `index` (as `assay explain` writes both); or a folder of `.npy` or grey `.png` maps, one a file, numbered by their
            names where these are whole numbers, else in the order of their names. PNG values are divided by their largest possible
            value, so they are never negative.
        name: What tables call it; None for the file's name.
        sha256: The beginning of the content's hash, found where it is None; a spec that has it refuses other content.

    Raises:
        DataError: The file cannot be read, or holds something else than the spec was made for.
        ShapeError: The maps are of another rank.
        NotFiniteError: See `Explainer.__call__`.
    """

    maps: Any
    name: str | None = None
    sha256: str | None = None
    category: ClassVar[str] = "given"
    reference: ClassVar[str] = "maps made elsewhere"
    finds_targets: ClassVar[bool] = True
    fixed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if isinstance(self.maps, Path):
            object.__setattr__(self, "maps", str(self.maps))
        if self.name is None:
            object.__setattr__(self, "name", Path(self.maps).stem if isinstance(self.maps, str) else "given")
        if not self.name or self.name in _NOT_NAMES:
            raise SpecError(f"Given: name must be a name of its own, not {self.name!r}")
        if not isinstance(self.maps, str):
            object.__setattr__(self, "maps", as_stack(self.maps, f"the maps {self.name!r}"))
        found = self.stack.digest
        if self.sha256 not in (None, found):
            raise DataError(f"{self.maps} holds other maps than this was made for: sha256 {found}... where {self.sha256}... is expected")
        object.__setattr__(self, "sha256", found)

    @property
    def short_name(self) -> str:
        """What tables call it."""
        return str(self.name)

    @cached_property
    def stack(self) -> Stack:
        """The maps."""
        return self.maps if isinstance(self.maps, Stack) else _read(expanded(self.maps), str(self.name))

    @classmethod
    def from_text(cls, text: str) -> Given:
        """The maps that a command line names: `NAME=FILE`, or a spec.

        Raises:
            SpecError: It is neither.
        """
        if text.startswith("Given("):
            return build(text, Given)
        for name, _, place in (text.rpartition("="), text.partition("=")):
            if name and place and expanded(place).exists():
                return cls(place, name=name)
        if "=" not in text:
            raise SpecError(f"say what tables call the maps of {text}: NAME={text}")
        raise DataError(f"there are no maps {text.partition('=')[2]}: {_FORMS}")

    def check(self, numbers: Sequence[int], shape: Sequence[int] | None) -> None:
        """See that there are maps of all images, before any work.

        Args:
            numbers: The images' global numbers.
            shape: (C, H, W) of an image; None where that is not known yet.

        Raises:
            ShapeError: There is no map of one of them, or the maps have another size.
        """
        self.stack.places(np.asarray(numbers, np.int64))
        if shape is not None:
            self._fit(shape)

    def _fit(self, wanted: Sequence[int]) -> None:
        channels, height, width = wanted
        shape = self.stack.maps.shape[1:]
        if shape[0] not in (1, channels) or shape[1:] != (height, width):
            raise ShapeError(
                f"the maps {self.name!r} have shape {shape} where ({channels}, {height}, {width}) or (1, {height}, {width}) is needed "
                "for these images; resize the maps first"
            )

    def attribute(self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:
        """See `Explainer.attribute`.

        Raises:
            ShapeError: There is no map of one of the images, or the maps have another size.
        """
        self._fit(images.shape[1:])
        return torch.from_numpy(self.stack.rows(index)).to(images.device)


def given_maps(maps: Mapping[str, Any] | None) -> list[Given]:
    """An explainer for each of the maps given by name."""
    return [one if isinstance(one, Given) else Given(one, name=name) for name, one in (maps or {}).items()]


def as_stack(maps: Any, what: str, index: Any = None) -> Stack:
    """Maps (N, H, W) or (N, C, H, W) as float32 (N, C, H, W), of their own memory.

    Raises:
        ImageTypeError: They are no numbers.
        ShapeError: They have another rank, or `index` does not fit.
    """
    if isinstance(maps, Sequence) and not isinstance(maps, str):
        maps = [one.detach().cpu().numpy() if isinstance(one, Tensor) else one for one in maps]
        if len({np.shape(one) for one in maps}) > 1:
            raise ShapeError(f"{what} have different sizes: {', '.join(sorted({str(np.shape(one)) for one in maps}))}")
    values = maps.detach().cpu().float().numpy() if isinstance(maps, Tensor) else np.asarray(maps)
    if values.dtype.kind not in "fiub":
        raise ImageTypeError(f"{what} must be numbers, not {values.dtype if values.dtype != object else type(maps).__name__}")
    if values.ndim not in (3, 4) or not values.size:
        raise ShapeError(f"{what} must have shape (N, H, W) or (N, C, H, W), not {values.shape}")
    numbers = None if index is None else np.asarray(index)
    if numbers is not None and (numbers.shape != (len(values),) or numbers.dtype.kind not in "iu" or len(np.unique(numbers)) < len(values)):
        raise ShapeError(f"the index of {what} must hold {len(values)} different whole numbers, one per map")
    whole = np.array(values if values.ndim == 4 else values[:, None], np.float32)
    return Stack(whole, None if numbers is None else numbers.astype(np.int64))


def _read(path: Path, name: str) -> Stack:
    """The maps of a file or folder."""
    if not path.exists():
        raise DataError(f"there are no maps {path}: {_FORMS}")
    try:
        if path.is_dir():
            return _read_zarr(path, name) if any((path / one).exists() for one in _ZARR) else _read_folder(path)
        if path.suffix == ".npy":
            return as_stack(np.load(path), f"the maps of {path}")
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                return _chosen(dict(arrays), path, name)
    except (OSError, ValueError, EOFError) as error:
        if isinstance(error, AssayError):
            raise
        raise DataError(f"cannot read the maps of {path}: {error}") from error
    raise DataError(f"cannot read maps from {path}: {_FORMS}")


def _read_zarr(path: Path, name: str) -> Stack:
    import zarr  # Here, because the import takes a while.

    found = zarr.open(path, mode="r")
    if isinstance(found, zarr.Array):
        return as_stack(found[:], f"the maps of {path}")
    held = {key: one for key, one in found.arrays() if key != "targets"}
    return _chosen(held, path, name)


def _chosen(arrays: dict[str, Any], path: Path, name: str) -> Stack:
    arrays = {key: one for key, one in arrays.items() if key != "targets"}
    index = arrays.pop("index", None)
    key = next((key for key in (name, "maps") if key in arrays), next(iter(arrays)) if len(arrays) == 1 else None)
    if key is None:
        raise DataError(
            f"{path} holds {', '.join(sorted(arrays)) or 'nothing'} and no {name}; the maps are found by their name, as in NAME={path}, "
            "or as maps"
        )
    return as_stack(arrays[key][:], f"the maps {key!r} of {path}", None if index is None else index[:])


def _read_folder(path: Path) -> Stack:
    files = sorted(one for one in path.iterdir() if one.suffix.lower() in (".npy", ".png") and not one.name.startswith("."))
    kinds = {one.suffix.lower() for one in files}
    if len(kinds) != 1:
        raise DataError(f"the folder {path} must hold maps of one kind, .npy or .png" + (", not both" if kinds else "; it holds none"))
    numbers = [int(one.stem) for one in files] if all(one.stem.isdecimal() for one in files) else None
    maps = [_read_map(one) for one in files]
    return as_stack(maps, f"the maps of {path}", numbers)


def _read_map(path: Path) -> NDArray[np.float32]:
    """One map (C, H, W)."""
    if path.suffix == ".npy":
        values = np.load(path)
        if values.ndim not in (2, 3):
            raise ShapeError(f"the map {path} must have shape (H, W) or (C, H, W), not {values.shape}")
    else:
        from PIL import Image

        with Image.open(path) as picture:
            if picture.mode not in ("L", "I", "I;16", "I;16B"):
                raise DataError(f"the map {path} is a picture of mode {picture.mode}; only grey ones have one value per pixel")
            values = np.asarray(picture) / (255.0 if picture.mode == "L" else 65535.0)
    return np.asarray(values if values.ndim == 3 else values[None], np.float32)
