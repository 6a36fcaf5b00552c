"""An audit's scores as a table for the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import polars as pl

from assay.study.study import TerminalTable

__all__ = ["scores_grid"]

_SIGNS = {"better than random": " +", "worse than random": " -", "no better than random": " ="}
_TITLE = "Mean scores; + better than the random map, - worse, = no better; ↑ higher is better, ↓ lower"


def scores_grid(summary: pl.DataFrame) -> TerminalTable:
    """Explainers down, measures across, the random map last: means with their 95 % intervals.

    Args:
        summary: As `assay.study.audit.statistics.summarise` makes it.
    """
    measures = summary["measure"].unique(maintain_order=True).to_list()
    rows = {
        name: part.rows_by_key("explainer", named=True, unique=True) for (name,), part in summary.group_by("measure", maintain_order=True)
    }
    head = [f"{_short(name)} {'↑' if next(iter(rows[name].values()))['higher_is_better'] else '↓'}" for name in measures]
    # Two measures of one class are told apart by their parameters.
    head = [text if head.count(text) == 1 else f"{name} {text[-1]}" for name, text in zip(measures, head, strict=True)]
    lines = [
        (explainer, *(_cell(rows[name].get(explainer), "") for name in measures))
        for explainer in summary["explainer"].unique(maintain_order=True)
    ]
    floor = ("random map", *(_cell(next(iter(rows[name].values())), "floor_") for name in measures))
    return TerminalTable(_TITLE, ("explainer", *head), (*lines, floor))


def _short(measure: str) -> str:
    return measure.partition("(")[0]


def _cell(row: Mapping[str, Any] | None, prefix: str) -> str:
    """A mean with its interval and its sign."""
    if row is None:
        return ""
    mean, low, high = row["floor" if prefix else "mean"], row[prefix + "low"], row[prefix + "high"]
    if math.isnan(mean):
        return "n/a"
    sign = "" if prefix else _SIGNS.get(row["verdict"], "")
    return f"{mean:.3f}" + ("" if math.isnan(low) else f" ({low:.3f} to {high:.3f})") + sign
