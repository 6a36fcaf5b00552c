"""What a data set holds, found by reading all of it: sizes, labels, masks, and what cannot be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from assay.data.base import CorruptFileError, Dataset, Item
from assay.data.files.encoded import Encoded
from assay.errors import DataError

__all__ = ["told_of"]

_SHOWN = 5
_DARK = 1 / 8
"""Images none of which is brighter are those of 12 bits kept in 16, as radiographs are."""
_UNKNOWN, _NONE = "no label", "none of them"


def told_of(dataset: Dataset) -> Iterator[str]:
    """Lines that tell what is in a data set, made while every image is read once.

    Raises:
        DataError: No image can be read.
    """
    sizes: Counter[str] = Counter()
    classes: Counter[str] = Counter()
    masks: Counter[str] = Counter()
    broken: list[str] = []
    low, high, different = 1.0, 0.0, ""
    for number in range(len(dataset)):
        try:
            item = dataset[number]
        except CorruptFileError as error:
            broken.append(f"{error.name}: {error.message}")
            continue
        except DataError as error:
            # Images of several sizes, which nothing brings to one; the first says so.
            different = different or str(error)
            sizes["another size"] += 1
            continue
        channels, height, width = item.image.shape
        sizes[f"{width} x {height}, {'grey' if channels == 1 else 'RGB'}"] += 1
        low, high = min(low, float(item.image.min())), max(high, float(item.image.max()))
        classes.update(_labels(dataset, item) or [_NONE if dataset.several and item.label is not None else _UNKNOWN])
        for kind, mask in (("truth", item.truth), ("distractor", item.distractor)):
            masks[kind] += mask is not None and bool(mask.any())
    read = sum(sizes.values())
    if not read:
        raise DataError(f"none of the {len(dataset)} images of {dataset.name} can be read; {broken[0]}")
    yield f"{dataset!r}"
    yield f"images: {read} of {len(dataset)} can be read"
    yield f"sizes: {_counted(sizes)}; values from {low:.3g} to {high:.3g}"
    if high <= _DARK:
        yield (
            f"beware: no value is above {high:.3g}; where files hold fewer bits than their format has, say which values are black and "
            "white: --range LOW HIGH, or --window CENTRE WIDTH"
        )
    if different:
        yield f"beware: {different}"
    several = ", several for an image" if dataset.several else ""
    yield f"labels{several}: {_counted(classes)}" if dataset.classes else "labels: none"
    for kind in sorted(dataset.mask_kinds):
        yield f"{kind}: {masks[kind]} images with a mask that is not empty"
    files = getattr(dataset, "dataset", dataset)  # Below what lies over them.
    if isinstance(files, Encoded) and files.skipped:
        yield f"left out, being no images: {', '.join(f'{many} {kind}' for kind, many in files.skipped.items())}"
    for line in broken[:_SHOWN]:
        yield f"cannot be read: {line}"
    if len(broken) > _SHOWN:
        yield f"and {len(broken) - _SHOWN} more that cannot be read"


def _labels(dataset: Dataset, item: Item) -> list[str]:
    """Names of an image's labels."""
    one = item.label
    own = () if one is None else [at for at, mark in enumerate(one) if mark > 0] if isinstance(one, tuple) else [one]
    return [dataset.classes[at] for at in own if at < len(dataset.classes)]


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{many} {name}" if name in (_UNKNOWN, _NONE) else f"{many} of {name}" for name, many in counter.most_common())
