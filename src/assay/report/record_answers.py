"""Nested plain values of a run record as a tree that a template can walk, and the seven questions they answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["CHECKLIST", "Answer", "Node", "answers", "compact", "node"]

CHECKLIST = {
    "algorithm": ("Pseudocode", "Which algorithms ran, and where are they described?"),
    "code": ("Open code", "Which version of the code ran?"),
    "data": ("Open data", "Which data, and how can you tell that yours are the same?"),
    "splits": ("Dataset splits", "Exactly which images?"),
    "machine": ("Hardware specification", "Which machine?"),
    "packages": ("Software dependencies", "Which packages, in which versions?"),
    "setup": ("Experiment setup", "Which parameters and seeds?"),
}
"""The seven reproducibility questions by the keys of a run's record: heading and question."""

_LONG = 400


@dataclass(frozen=True)
class Node:
    """A value to show: `kind` is text, long (a text to fold), pairs (named children), items (children) or empty."""

    kind: str
    text: str = ""
    pairs: tuple[tuple[str, Node], ...] = ()
    items: tuple[Node, ...] = ()


@dataclass(frozen=True)
class Answer:
    """One question with its answer; None where the record holds none."""

    heading: str
    question: str
    body: Node | None


def answers(record: Mapping[str, Any]) -> tuple[Answer, ...]:
    """The seven questions in order, each with the record's answer, then whatever else the record holds."""
    seven = tuple(Answer(*text, node(record[key]) if key in record else None) for key, text in CHECKLIST.items())
    return seven + tuple(Answer(key, "", node(value)) for key, value in record.items() if key not in CHECKLIST)


def node(value: Any) -> Node:
    """The tree of a nested value; lists of numbers are shortened without loss, other leaves become text."""
    if isinstance(value, Mapping):
        return Node("pairs", pairs=tuple((str(key), node(item)) for key, item in value.items())) if value else Node("empty")
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        if not value:
            return Node("empty")
        if all(isinstance(item, int) and not isinstance(item, bool) for item in value):
            return _leaf(compact(value))
        if all(isinstance(item, int | float | None) for item in value):
            return _leaf(", ".join(map(_text, value)))
        return Node("items", items=tuple(node(item) for item in value))
    return _leaf(_text(value))


def compact(numbers: Sequence[int]) -> str:
    """Whole numbers with runs of consecutive ones joined: `0–3, 7, 9–10`; the order is kept."""
    runs: list[list[int]] = []
    for value in numbers:
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    return ", ".join(str(a) if a == b else f"{a}–{b}" if b > a + 1 else f"{a}, {b}" for a, b in runs)


def _leaf(text: str) -> Node:
    return Node("empty") if not text else Node("long" if len(text) > _LONG else "text", text)


def _text(value: Any) -> str:
    return {None: "none", True: "yes", False: "no"}[value] if value is None or isinstance(value, bool) else str(value)
