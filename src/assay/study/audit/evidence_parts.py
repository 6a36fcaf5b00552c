"""The evidence that an audit's page shows beside answers and scores: standings, agreement, robustness against faithfulness."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import polars as pl

from assay.measure.attacked import AFTER_NOISE, ATTACKED
from assay.report.evidence import Agreement, Ends, Standings, TradeOff, TradeOffs
from assay.report.page import Part
from assay.stats.intervals import means
from assay.study.audit.answers import Answers

__all__ = ["agreement_part", "standings_part", "trade_offs_part"]


def standings_part(answers: Answers) -> tuple[Part, ...]:
    """Where scores by live measures lie from null to control; nothing where no measure tells anything.

    Args:
        answers: What the questions come to.
    """
    measures: dict[str, dict[str, Ends]] = {}
    for (name, measure), one in answers.stands.items():
        measures.setdefault(measure, {})[name] = (one.mean, one.low, one.high)
    return (Standings(measures, answers.trusted),) if measures else ()


def agreement_part(explainers: Sequence[str], parts: Iterable[pl.DataFrame]) -> tuple[Part, ...]:
    """How much of their top tenth of the pixels each two explainers have in common.

    Args:
        explainers: In order.
        parts: Tables as `assay.study.audit.nulls.agreements` makes them.
    """
    known = [one for one in parts if one.height]
    if not known:
        return ()
    whole = pl.concat(known)
    shares = {}
    for pair, rows in whole.group_by("first", "second", maintain_order=True):
        (one,) = means(rows["overlap"].to_numpy()[:, None])
        shares[str(pair[0]), str(pair[1])] = (one.mean, one.low, one.high)
    return (Agreement(tuple(explainers), shares, whole["image"].n_unique()),)


def trade_offs_part(summary: pl.DataFrame, trusted: tuple[str, ...]) -> tuple[Part, ...]:
    """Each measure of faithfulness against robustness: against attacks where there were any, else against the first measure of it.

    Args:
        summary: One row for each explainer and measure, with the measure's kind and statistic.
        trusted: The trusted explainers.
    """
    robust = summary.filter((pl.col("kind") == "robustness") & (pl.col("statistic") != AFTER_NOISE))
    attacked = robust.filter(pl.col("statistic") == ATTACKED)
    across = list(dict.fromkeys((attacked if attacked.height else robust)["measure"]))
    up = list(dict.fromkeys(summary.filter(pl.col("kind") == "faithfulness")["measure"]))
    panels = tuple(_panel(summary, one, other) for one in (across if attacked.height else across[:1]) for other in up)
    return (TradeOffs(panels, trusted),) if panels else ()


def _panel(summary: pl.DataFrame, across: str, up: str) -> TradeOff:
    rows = [summary.filter(pl.col("measure") == one) for one in (across, up)]
    ends = [{name: (mean, low, high) for name, mean, low, high in one.select("explainer", "mean", "low", "high").rows()} for one in rows]
    points = [(name, ends[0][name], ends[1][name]) for name in ends[0] if name in ends[1]]
    (right, high) = (bool(one["higher_is_better"][0]) for one in rows)
    return TradeOff((across, right), (up, high), points)
