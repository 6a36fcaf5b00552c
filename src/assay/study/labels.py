"""How the labels of the data and the classes of the model go together, which nobody promises."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from assay.models.targets import Decision

__all__ = ["Labels", "match"]


@dataclass(frozen=True)
class Labels:
    """Names and numbers of classes that labels and predictions share.

    Attributes:
        names: What the model's classes are called, by number.
        ids: The model's class of each label, None where it has none; None as a whole when labels are the model's numbers.
    """

    names: tuple[str, ...]
    ids: tuple[int | None, ...] | None

    def id_of(self, label: int) -> int | None:
        """The model's class of a label, or None."""
        if self.ids is None:
            return label if label < len(self.names) else None
        return self.ids[label] if label < len(self.ids) else None

    def name_of(self, label: int | None) -> str:
        """The name of a label's class; empty where there is no label, or the model has no such class."""
        known = None if label is None else self.id_of(label)
        return "" if known is None else self.names[known]

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

    Args:
        data: Names of the labels' classes; none when labels are the model's own numbers.
        model: Names of the model's classes.
    """
    data, model = tuple(data), tuple(model)
    if not data:
        return Labels(model, None)
    numbers = {name: number for number, name in enumerate(model)}
    if any(name in numbers for name in data):
        return Labels(model, tuple(numbers.get(name) for name in data))
    if len(data) == len(model):
        return Labels(data, None)
    return Labels(model, (None,) * len(data))
