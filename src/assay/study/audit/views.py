"""An audit as a figure, in notebooks, in the terminal, in a line, and as tables of pandas and xarray."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from assay.core.display import needed_library
from assay.core.registry import plain_name
from assay.report.export import to_pandas
from assay.report.faces import Face, figure_picture, fragment
from assay.report.figures.plots import Dot, dots
from assay.report.page import Page, TextTable
from assay.report.text import between
from assay.study.audit.answers import Answers
from assay.study.audit.questions.held import QUESTIONS
from assay.study.study import TerminalTable

if TYPE_CHECKING:  # Loaded where a figure is drawn: it takes a third of a second.
    from matplotlib.figure import Figure

__all__ = ["AuditViews", "scores_grid"]

_TABLES = ("scores", "summary", "answers", "status")
_SIGNS = {"better than random": " +", "worse than random": " -", "not shown to be better than random": " ="}
_TITLE = "Mean scores; + better than the random map, - worse, = neither shown; ↑ higher is better, ↓ lower"
_CAPTION = "Every explainer's mean score with its 95% interval; the grey line is a random map's, diamonds are trusted explainers."


class AuditViews:
    """Ways of looking at an audit; see `assay.Audit` for what it holds."""

    scores: pl.DataFrame
    summary: pl.DataFrame
    status: pl.DataFrame
    page: Page
    _answers: Answers

    def plot(self) -> Figure:
        """Every explainer's mean score with its interval by every measure, beside a random map's; trusted ones stand out."""
        groups, floors = {}, {}
        for (measure,), rows in self.summary.group_by("measure", maintain_order=True):
            title = f"{measure} {'↑' if rows['higher_is_better'][0] else '↓'}"
            keys = rows.select("explainer", "mean", "low", "high").rows()
            groups[title] = [Dot(name, mean, low, high, name in self._answers.trusted) for name, mean, low, high in keys]
            floors[title] = float(rows["floor"][0])
        return dots(groups, "mean, 95% interval", reference=floors)

    def to_pandas(self, table: str = "scores") -> Any:
        """One of the tables (scores, summary, answers, status) as a pandas DataFrame.

        Raises:
            AssayError: There is no such table, or pandas is not installed.
        """
        return to_pandas(self, table, _TABLES)

    def to_xarray(self) -> Any:
        """The scores as an xarray Dataset: a variable for each measure, by image (global number) and explainer, the random map included.

        Raises:
            AssayError: xarray is not installed.
        """
        xarray = needed_library("xarray")
        images, explainers = (self.scores[name].unique(maintain_order=True).to_list() for name in ("image", "explainer"))
        places = {name: {key: at for at, key in enumerate(keys)} for name, keys in (("image", images), ("explainer", explainers))}
        variables = {}
        for (measure,), rows in self.scores.group_by("measure", maintain_order=True):
            values = np.full((len(images), len(explainers)), np.nan)
            at = [[places[name][key] for key in rows[name]] for name in ("image", "explainer")]
            values[at[0], at[1]] = rows["value"].to_numpy()
            direction = {"higher_is_better": bool(rows["direction"][0] == "higher")}
            variables[measure] = (("image", "explainer"), values, direction)
        return xarray.Dataset(variables, coords={"image": images, "explainer": explainers})

    def __repr__(self) -> str:
        counts = [self.summary[name].n_unique() for name in ("explainer", "measure")]
        trusted = ", ".join(self._answers.trusted) or "none"
        return f"Audit({self.status.height} images, {counts[0]} explainers, {counts[1]} measures; trusted: {trusted})"

    def _repr_html_(self) -> str:
        names = self.summary["explainer"].unique(maintain_order=True).to_list()
        asked = bool(self._answers.table.height)
        lines = tuple((name, *(self._answers.status(name, question) for question in QUESTIONS)) for name in names if asked)
        grid = TextTable("Does its map say", "…", ("explainer", *QUESTIONS), lines, (False,) * (1 + len(QUESTIONS)))
        return fragment(Face(repr(self), self.page.verdict, (grid,) if lines else (), (figure_picture(self.plot(), _CAPTION),)))


def scores_grid(summary: pl.DataFrame) -> TerminalTable:
    """Explainers down, measures across, the random map last: means with their 95% intervals.

    Args:
        summary: As `assay.study.audit.statistics.summarise` makes it.
    """
    measures = summary["measure"].unique(maintain_order=True).to_list()
    rows = {
        name: part.rows_by_key("explainer", named=True, unique=True) for (name,), part in summary.group_by("measure", maintain_order=True)
    }
    head = [f"{plain_name(name)} {'↑' if next(iter(rows[name].values()))['higher_is_better'] else '↓'}" for name in measures]
    # Two measures of one class are told apart by their parameters.
    head = [text if head.count(text) == 1 else f"{name} {text[-1]}" for name, text in zip(measures, head, strict=True)]
    lines = [
        (explainer, *(_cell(rows[name].get(explainer), "") for name in measures))
        for explainer in summary["explainer"].unique(maintain_order=True)
    ]
    floor = ("random map", *(_cell(next(iter(rows[name].values())), "floor_") for name in measures))
    return TerminalTable(_TITLE, ("explainer", *head), (*lines, floor))


def _cell(row: Mapping[str, Any] | None, prefix: str) -> str:
    """A mean with its interval and its sign."""
    if row is None:
        return ""
    mean, low, high = row["floor" if prefix else "mean"], row[prefix + "low"], row[prefix + "high"]
    if math.isnan(mean):
        return "n/a"
    sign = "" if prefix else _SIGNS.get(row["verdict"], "")
    return f"{mean:.3f}{between(low, high, '{:.3f}'.format)}{sign}"
