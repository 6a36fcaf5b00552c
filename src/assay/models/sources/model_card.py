"""The card beside a checkpoint: all that is needed to use the weights, to judge them and to make them again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from assay.errors import WeightsError
from assay.models.accuracy import Accuracy
from assay.models.training.fitting import Epoch

__all__ = ["Card", "DataUsed", "Robust", "from_json", "to_json"]


@dataclass(frozen=True)
class DataUsed:
    """Which images took part."""

    name: str
    split: str
    count: int
    content_hash: str


@dataclass(frozen=True)
class Robust:
    """How many of the test images that were attacked were classified correctly all the same."""

    attack: str
    """Spec of the attack."""
    seed: int
    accuracy: Accuracy
    """An upper bound of the robust accuracy: a stronger attack may find more."""
    blind: int = 0
    """Images that stayed correct, but had no gradient to climb; nothing is known of these, and they count as not robust."""


@dataclass(frozen=True)
class Card:
    """What is known about a trained network."""

    architecture: str
    """Spec of the `Architecture`."""
    recipe: str
    """Spec of the `Recipe`."""
    seed: int
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    """Per channel, of the training images, for pixels in [0, 1]."""
    std: tuple[float, ...]
    size: tuple[int, int]
    """Height and width of the training images."""
    train: DataUsed
    test: DataUsed
    test_accuracy: Accuracy
    """Measured on the weights as stored, in float32."""
    stored: Literal["float32", "float16"]
    """What the checkpoint keeps matrices and filters in; vectors are always float32."""
    parameters: int
    seconds: float
    """Training time."""
    command: str
    """The command line that makes the checkpoint; empty for a run from Python."""
    date: str
    """When training ended, ISO 8601, UTC."""
    packages: dict[str, str] = field(default_factory=dict)
    machine: dict[str, str] = field(default_factory=dict)
    history: tuple[Epoch, ...] = ()
    """What every epoch came to."""
    robust: Robust | None = None
    """Under attack, where it was measured."""
    worst: Robust | None = None
    """Under the worst of several attacks, where that was measured later (`benchmarks/robust.py`)."""
    start: str | None = None
    """SHA-256 of the weights file that training began with; None for random weights."""
    sha256: str = ""
    """Of the weights file; set when it is written."""

    def of_file(self, sha256: str) -> Card:
        """This card for a weights file with that hash."""
        return replace(self, sha256=sha256)


_ADAPTER = TypeAdapter(Card)


def to_json(card: Card) -> str:
    """The card as indented JSON."""
    return _ADAPTER.dump_json(card, indent=2).decode() + "\n"


def from_json(text: str, source: str) -> Card:
    """The card that `to_json` wrote.

    Args:
        text: The JSON.
        source: Where it comes from, for messages.

    Raises:
        WeightsError: The text is no card; the message names the field.
    """
    try:
        return _ADAPTER.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise WeightsError(f"{source} is not a card that `assay train` wrote: {where}: {first['msg']}") from error
