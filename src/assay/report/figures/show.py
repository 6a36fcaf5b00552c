"""Images with their maps as a figure: signed, one scale for each kind of map, single pixels do not set it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from assay.core.inputs import check_images
from assay.errors import ImageTypeError, ShapeError
from assay.report.figures.colour import NOT_FINITE, robust_limit, signed_palette, sum_channels
from assay.report.figures.picture import photo, visible
from assay.report.figures.plots import blank
from assay.report.text import number

if TYPE_CHECKING:  # Loaded where a figure is drawn: it takes a third of a second.
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

__all__ = ["show", "signed_colours"]

_SIDE, _NAMES, _HEAD, _FOOT = 1.6, 0.35, 0.35, 0.55
"""Inches of a picture, of what stands before the rows, above them and below them."""
_SMALL = 128
_LONGEST = 28


Maps = Tensor | np.ndarray


def show(images: Maps, maps: Maps | Mapping[str, Maps] | Sequence[Maps], names: Sequence[str] | None = None) -> Figure:
    """Draw images and, beside each, its attribution maps.

    Red speaks for what is explained, blue against it, white not at all; grey pixels are not finite. All maps of one kind share one scale,
    which ends where 99.5% of their pixels lie within, so that images can be compared and single pixels do not set it.

    Args:
        images: (N, C, H, W), pixels in [0, 1]; other than 1 or 3 channels are shown as their mean.
        maps: (N, C, H, W) or (N, H, W), signed, channels are added; or several of them by the names of their explainers, or as a list.
        names: N names, which stand before the images; of a list of maps one name for each of them instead.

    Returns:
        A matplotlib figure, N rows; `figure.savefig("maps.pdf")` writes it, as svg or png too.

    Raises:
        AssayError: A wrong input, named in the message.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    images = check_images(images)
    kinds, names = _by_name(maps, names)
    _check(images, kinds, names)
    shown = visible(images)
    count = len(images)
    height = _SIDE * min(2.0, images.shape[2] / images.shape[3])
    figure = blank((_SIDE + 0.1) * (1 + len(kinds)) + _NAMES * (names is not None), height * count + _HEAD + _FOOT)
    # The scales have a row of their own, so that each map stands level with its image.
    grid = figure.subplots(count + 1, 1 + len(kinds), squeeze=False, height_ratios=[*[1.0] * count, 0.05])
    grid[count, 0].set_axis_off()
    for row, image in enumerate(shown):
        _draw(grid[row, 0], np.asarray(photo(image).convert("RGB")))
        if names is not None:
            grid[row, 0].set_ylabel(_shortened(names[row]), fontsize=8)
    grid[0, 0].set_title("image", fontsize=8)
    colours = signed_colours()
    for column, (name, values) in enumerate(kinds.items(), 1):
        limit = robust_limit(values)
        scale = Normalize(-(limit or 1.0), limit or 1.0)
        for row, one in enumerate(values):
            _draw(grid[row, column], np.ma.masked_invalid(sum_channels(one).numpy()), cmap=colours, norm=scale)
        grid[0, column].set_title(name, fontsize=8, wrap=True)
        bar = figure.colorbar(ScalarMappable(scale, colours), cax=grid[count, column], orientation="horizontal")
        bar.set_ticks([scale.vmin or 0, 0, scale.vmax or 0], labels=[f"−{number(limit)}", "0", number(limit)])
        bar.ax.tick_params(labelsize=7, length=2)
    return figure


def signed_colours() -> Colormap:
    """The package's signed scale for matplotlib: 255 colours, the middle one for zero."""
    from matplotlib.colors import ListedColormap

    palette = signed_palette() / 255
    colours = ListedColormap(palette[:NOT_FINITE].tolist(), "assay signed")
    return colours.with_extremes(bad=palette[NOT_FINITE].tolist())


def _draw(cell: Axes, values: np.ndarray, **scale: Any) -> None:
    cell.imshow(values, interpolation="nearest" if max(values.shape) <= _SMALL else "antialiased", **scale)
    cell.set_xticks([])
    cell.set_yticks([])
    cell.spines[:].set_visible(False)


def _by_name(maps: Any, names: Sequence[str] | None) -> tuple[dict[str, Tensor], Sequence[str] | None]:
    """All maps (N, C, H, W) by their names, and the names of the images."""
    if isinstance(maps, Tensor | np.ndarray):
        kinds = {"map": maps}
    elif isinstance(maps, Mapping):
        kinds = dict(maps)
    elif isinstance(maps, Sequence) and not isinstance(maps, str):
        called = [f"map {at + 1}" for at in range(len(maps))] if names is None else names
        if isinstance(called, str) or len(called) != len(maps) or len(set(called)) != len(called):
            raise ShapeError(f"names must be {len(maps)} different names, one for each of the listed maps, not {called!r}")
        kinds, names = dict(zip(called, maps, strict=True)), None
    else:
        raise ImageTypeError(f'maps must be a tensor (N, C, H, W) or such tensors by name, {{"Gradient": maps}}, not {type(maps).__name__}')
    if not kinds:
        raise ShapeError("there are no maps to show; give one tensor at least")
    return {name: _tensor(name, values) for name, values in kinds.items()}, names


def _tensor(name: str, values: Any) -> Tensor:
    if not isinstance(values, Tensor | np.ndarray):
        raise ImageTypeError(f"{name} must be a tensor (N, C, H, W), not {type(values).__name__}")
    found = torch.as_tensor(values).detach().cpu()
    return found[:, None] if found.ndim == 3 else found


def _check(images: Tensor, kinds: Mapping[str, Tensor], names: Sequence[str] | None) -> None:
    for name, values in kinds.items():
        if values.ndim != 4 or (len(values), *values.shape[2:]) != (len(images), *images.shape[2:]):
            needed = f"({len(images)}, C, {images.shape[2]}, {images.shape[3]})"
            raise ShapeError(f"{name} has shape {tuple(values.shape)}, but the images need {needed}")
    if isinstance(names, str) or (names is not None and len(names) != len(images)):
        told = "a text" if isinstance(names, str) else f"{len(names)} names"
        raise ShapeError(f"names is {told} for {len(images)} images; give a list with one name for each")


def _shortened(name: str) -> str:
    """Each line of a name, its middle left out where it is long."""
    lines = (one if len(one) <= _LONGEST else f"{one[: _LONGEST // 2]}…{one[1 - _LONGEST // 2 :]}" for one in name.split("\n"))
    return "\n".join(lines)
