"""How the labels of the data and the classes of the model go together, which nobody promises."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from assay.models.targets import Decision

from assay.errors import DataError

__all__ = ["Labels", "match"]

_SHOWN = 12


@dataclass(frozen=True)
class Labels:
    """Names and numbers of classes that labels and predictions share.

    Attributes:
        names: What the model's classes are called, by number.
        ids: The model's class of each label, None where it has none; None as a whole when labels are the model's numbers.
        doubt: What nobody promises of that, in words; empty where names agree.
    """

    names: tuple[str, ...]
    ids: tuple[int | None, ...] | None
    doubt: str = ""

    def id_of(self, label: int) -> int | None:
        """The model's class of a label, or None."""
        if self.ids is None:
            return label if label < len(self.names) else None
        return self.ids[label] if label < len(self.ids) else None

    def name_of(self, label: int | None) -> str:
        """The name of a label's class; empty where there is no label, or the model has no such class."""
        known = None if label is None else self.id_of(label)
        return "" if known is None else self.names[known]

    def names_of(self, labels: Iterable[int]) -> str:
        """The names of an image's labels that the model has a class for."""
        return "; ".join(name for one in labels if (name := self.name_of(one)))

    def told(self, decision: Decision, ids: Tensor) -> tuple[list[str], list[float]]:
        """Names and probabilities of classes (n,); a value stands for the name, and has no probability."""
        found = decision.probability(ids).tolist()
        if not decision.head.decides:
            return [f"{value:.4g}" for value in found], [math.nan] * len(found)
        return [self.names[number] for number in ids.tolist()], found

    def accuracy(self, counts: Mapping[tuple[int, int], int]) -> tuple[float, int]:
        """Share of right predictions among the labels that the model has a class for, and their number.

        Args:
            counts: How many images have each (label, predicted class).
        """
        known = [(self.id_of(label), guess, many) for (label, guess), many in counts.items() if self.id_of(label) is not None]
        total = sum(many for _, _, many in known)
        return (sum(many for own, guess, many in known if own == guess) / total if total else 0.0), total


def match(data: Iterable[str], model: Sequence[str]) -> Labels:
    """Match by name where names agree, else by number where there are as many classes, else not at all.

    Names that are whole numbers say little: folders `1` to `5` may be classes 1 to 5 or, as torchvision counts them, 0 to 4. They
    are taken for the model's class numbers only where they cannot be anything else, and for the classes in their order where
    the model has as many and the names do not fit as numbers.

    Args:
        data: Names of the labels' classes; none when labels are the model's own numbers.
        model: Names of the model's classes.

    Raises:
        DataError: Names that are numbers can be understood in two ways.
    """
    data, model = tuple(data), tuple(model)
    if not data:
        return Labels(model, None)
    if _counted(model) and all(name.isdecimal() for name in data):
        return _numbered(data, model)
    numbers = {name: number for number, name in enumerate(model)}
    if any(name in numbers for name in data):
        lost = tuple(name for name in data if name not in numbers)
        return Labels(model, tuple(numbers.get(name) for name in data), _unknown(lost, model) if lost else "")
    if len(data) == len(model):
        return Labels(data, None, "" if _counted(model) else _in_turn(data, model))
    return Labels(model, (None,) * len(data), _unknown(data, model))


def _unknown(lost: tuple[str, ...], model: tuple[str, ...]) -> str:
    return (
        f"the model has no class {_some(lost)} (it has {_some(model)}), so that nothing is known of whether it is right on images of "
        "these labels; --classes (classes=) names its classes"
    )


def _in_turn(data: tuple[str, ...], model: tuple[str, ...]) -> str:
    return (
        f"none of the labels' names is one of the model's classes, which are as many and are taken in turn: {data[0]} for {model[0]}, "
        f"{data[-1]} for {model[-1]}; --classes (classes=) names the model's classes otherwise"
    )


def _counted(model: tuple[str, ...]) -> bool:
    """Whether the model's classes have no names but their numbers."""
    return model == tuple(map(str, range(len(model))))


def _numbered(data: tuple[str, ...], model: tuple[str, ...]) -> Labels:
    """Names that are numbers, of a model whose classes have no names."""
    values = [int(name) for name in data]
    if len(set(values)) < len(values):
        raise DataError(f"two of the classes {', '.join(data)} are the same number; rename one")
    order = sorted(range(len(values)), key=values.__getitem__)
    in_order = values == list(range(len(model)))
    if in_order:
        return Labels(model, None)
    if sorted(values) == list(range(len(values))) and len(values) <= len(model):
        # 0 to n - 1, perhaps not in that order in the alphabet (0, 1, 10, 2): these are the model's numbers.
        if len(values) < len(model) or order == list(range(len(values))):
            return Labels(model, tuple(values))
        raise DataError(
            f"the classes {_some(data)} are numbered in the order of the alphabet by torchvision (10 before 2) and by their values by "
            "others; rename the folders with leading zeros (02), or name the model's classes (--classes, classes=)"
        )
    if len(values) == len(model):
        # 1 to n, or grades such as 2, 4, 6: there are as many, but they are not the model's numbers.
        if order == list(range(len(values))):
            return Labels(data, None)
        raise DataError(
            f"the classes {_some(data)} are not in the order of their values, and the model's classes have no names; rename the folders "
            "with leading zeros, or name the model's classes (--classes, classes=)"
        )
    if max(values) < len(model):
        raise DataError(
            f"the classes {_some(data)} may be class numbers of the model, which has {len(model)} classes without names, or names in their "
            "order; name the model's classes (--classes, classes=), or rename the folders"
        )
    return Labels(model, (None,) * len(data), _unknown(data, model))


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:_SHOWN]) + (" ..." if len(names) > _SHOWN else "")
