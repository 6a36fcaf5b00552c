"""What a sweep comes to for one explainer: means and paired losses with intervals, trends, and plain sentences by stated rules."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import polars as pl

from assay.report.page import Sentence, Tone
from assay.report.text import number, plural, worded
from assay.stats.intervals import Moments
from assay.study.frontier.statistics import FREE_WITHIN, LEVEL, Bend, TradeOutcome, bend, holm, outcome, resampled, trend

__all__ = ["FRONTIER_RULES", "cube", "frontier_sentences", "frontier_summary", "frontier_trends", "knee_of", "p_words"]

FEW = 30
FRONTIER_RULES = (
    "Every width is compared with width 0, image by image. A quantity gains at a width when the 95% interval of the mean paired "
    "difference lies on the good side of zero, costs when on the bad side, is free when it holds zero and no loss above "
    f"{FREE_WITHIN:.0%} of the value at width 0 (a one-sided test at 0.025), and is undecided otherwise. A quantity gets better (worse) "
    f"over these widths when its rank correlation with the width, image by image, is above (below) zero: two-sided p below {LEVEL:g}, "
    "the larger one of Page's test and of a t test of these correlations, after Holm's correction over the explainer's quantities. "
    "That holds for other images at these widths. Images that move together are one witness of what widths do, so that a trend with "
    "the width, for other widths too, is said only where the mean curve's steps differ from a random walk's as well. Smoothing is a "
    "gain where the robustness that is named first gains at the largest width and gets better over the widths. A notion of "
    "faithfulness is free when it is free at the largest width, has a cost when it costs there and gets worse over the widths, gains "
    "when it gains there and gets better; else it is undecided as a whole."
)


def cube(table: pl.DataFrame) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Values (images, widths, quantities) of one explainer's rows, signs that make higher better, and the quantities' names."""
    names = table["quantity"].unique(maintain_order=True).to_list()
    signs = np.where(table["higher_is_better"].to_numpy()[: len(names)], 1.0, -1.0)
    return table["value"].to_numpy().reshape(-1, table["kernel"].n_unique(), len(names)), signs, names


def frontier_summary(table: pl.DataFrame, seed: int) -> pl.DataFrame:
    """One row for each width and quantity of one explainer.

    Args:
        table: Its rows of the long table, in their order.
        seed: Decides the bootstrap's resamples.

    Returns:
        Columns explainer, kernel, width, quantity, kind, higher_is_better, mean, low, high (95% interval of the mean), change,
        change_low, change_high (mean paired difference to width 0, positive being better), loss, loss_low, loss_high (minus the
        change as a share of the mean at width 0, and the interval of this ratio of means), outcome ("gains", "free", "costs",
        "undecided"; empty at width 0 and where nothing is known) and count (images).
    """
    values, signs, _ = cube(table)
    images, widths, many = values.shape
    with np.errstate(invalid="ignore"):  # infinity less infinity
        differences = (values - values[:, :1]) * signs
    columns = np.concatenate([values, differences], 1).reshape(images, -1)
    drawn = resampled(columns, seed).reshape(-1, 2, widths, many)
    ends = np.stack(Moments.of(columns).interval(), -1).reshape(2, widths, many, 2)
    counts = np.isfinite(columns).sum(0).reshape(2, widths, many)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(np.isfinite(columns), columns, 0.0).sum(0).reshape(2, widths, many) / counts
        shares = -drawn[:, 1] / np.abs(drawn[:, 0, :1])
    heads = table.head(widths * many)
    rows = []
    for at, head in enumerate(heads.iter_rows(named=True)):
        width, quantity = divmod(at, many)
        low, high = (tuple(map(float, ends[kind, width, quantity])) for kind in (0, 1))
        mean, change, size = (float(one) for one in (*means[:, width, quantity], abs(means[0, 0, quantity])))
        share = _ends(shares[:, width, quantity], counts[1, width, quantity] if size else 0)
        losses = (0.0 - change / size if size else math.nan, *share)
        known = width > 0 and not math.isnan(high[0])
        rows.append(
            {name: head[name] for name in ("explainer", "kernel", "width", "quantity", "kind", "higher_is_better")}
            | dict(zip(("mean", "low", "high", "change", "change_low", "change_high"), (mean, *low, change, *high), strict=True))
            | dict(zip(("loss", "loss_low", "loss_high"), losses, strict=True))
            | {"outcome": outcome(high[0], high[1], size) if known else "", "count": int(counts[0, width, quantity])}
        )
    return pl.DataFrame(rows)


def frontier_trends(table: pl.DataFrame) -> pl.DataFrame:
    """One row for each quantity of one explainer: how it moves with the width.

    Args:
        table: Its rows of the long table, in their order.

    Returns:
        Columns explainer, quantity, kind, rank_correlation (mean over images of Spearman's correlation of the width with the quantity,
        positive meaning better), page_p, p (for other images at these widths, `images_p` of `assay.stats.trends.trend`), p_holm
        (corrected over the quantities), widths_p (for other widths too, `p` of the same, corrected alike),
        trend ("better" with the width, "worse", "none"; empty where it could not be tested) and images.
    """
    values, signs, names = cube(table)
    found = [trend(values[:, :, at] * sign) for at, sign in enumerate(signs)]
    corrected, wider = holm([one.images_p for one in found]), holm([one.p for one in found])
    rows = []
    for head, one, p, other in zip(table.head(len(names)).iter_rows(named=True), found, corrected, wider, strict=True):
        word = "" if math.isnan(p) else "none" if p >= LEVEL else "better" if one.rank_correlation > 0 else "worse"
        rows.append(
            {name: head[name] for name in ("explainer", "quantity", "kind")}
            | {"rank_correlation": one.rank_correlation, "page_p": one.page_p, "p": one.images_p, "p_holm": p, "widths_p": other}
            | {"trend": word, "images": one.images}
        )
    return pl.DataFrame(rows)


def knee_of(table: pl.DataFrame, robustness: str, notion: str, seed: int) -> Bend | None:
    """The knee of one notion of faithfulness against a robustness; see `assay.study.frontier.statistics.bend`."""
    values, signs, names = cube(table)
    robust, faithful = ((values * signs)[:, :, names.index(name)] for name in (robustness, notion))
    return bend(robust, faithful, seed)


def frontier_sentences(table: pl.DataFrame, summary: pl.DataFrame, trends: pl.DataFrame, robustness: str, seed: int) -> Iterator[Sentence]:
    """What somebody who chooses a width must know, the robustness first, then each notion of faithfulness.

    Args:
        table: The explainer's rows of the long table.
        summary: As `frontier_summary` makes it.
        trends: As `frontier_trends` makes it.
        robustness: The quantity that robustness is told by.
        seed: Decides the bootstrap's resamples.
    """
    explainer = table["explainer"][0]
    moves = {row["quantity"]: row for row in trends.iter_rows(named=True)}
    rows = {name: list(summary.filter(pl.col("quantity") == name).iter_rows(named=True)) for name in moves}
    own, move = rows[robustness], moves[robustness]
    rises = move["trend"] == "better" and own[-1]["outcome"] == "gains"
    told = f"{robustness} is {_from_to(own)}; {_trend_words(move)}"
    notions = {name: _word(lines[-1], moves[name]) for name, lines in rows.items() if lines[0]["kind"] == "faithfulness"}
    if rises:
        yield Sentence("good", f"{explainer}: smoothing makes its maps more robust, {_price(notions)}. {_capital(told)}.")
    else:
        yield Sentence("bad", f"{explainer}: no gain. Smoothing is not shown to make its maps more robust: {told}.")
    for name, word in notions.items():
        bent = knee_of(table, robustness, name, seed) if rises else None
        yield _notion(explainer, name, rows[name], moves[name], word, rises, rows[name][bent.place]["width"] if bent else None)
    if own[0]["count"] < FEW:
        yield Sentence(
            "caution",
            f"{robustness} was measured on {plural(own[0]['count'], 'image')} only: intervals are wide; take {FEW} or more "
            "before you rely on this.",
        )


def p_words(p: float) -> str:
    """A p-value in words."""
    return "not tested" if math.isnan(p) else "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _word(last: Mapping[str, Any], move: Mapping[str, Any]) -> TradeOutcome:
    """What the largest width does to a quantity; a cost or a gain only where the trend agrees."""
    word: TradeOutcome = last["outcome"] or "undecided"
    if (word == "costs" and move["trend"] != "worse") or (word == "gains" and move["trend"] != "better"):
        return "undecided"
    return word


def _price(notions: Mapping[str, TradeOutcome]) -> str:
    """What robustness costs, by each notion of faithfulness."""
    heads: dict[TradeOutcome, str] = {"free": "free by", "costs": "at a cost by", "gains": "with a gain by", "undecided": "undecided by"}
    groups = {head: [name for name, word in notions.items() if word == own] for own, head in heads.items()}
    return "; ".join(f"{head} {', '.join(names)}" for head, names in groups.items() if names)


def _notion(
    explainer: str, name: str, lines: list[dict[str, Any]], move: Mapping[str, Any], word: TradeOutcome, rises: bool, knee: float | None
) -> Sentence:
    last = lines[-1]
    heads: dict[TradeOutcome, tuple[Tone, str]] = {
        "gains": ("good", "gains"),
        "free": ("good", "free"),
        "costs": ("caution", f"at a cost: {_cost(last)}"),
        "undecided": ("note", "undecided"),
    }
    tone, head = heads[word]
    if not rises:
        tone, head = "note", f"{head}, for no gain" if word == "costs" else head
    text = f"{explainer} by {name}: {head}. The value is {_from_to(lines)}, where {_better(lines[0])} is better; {_trend_words(move)}"
    parts = [f"{verb} at {_listed(widths)}" for verb, widths in _by_outcome(lines).items()]
    if word in ("costs", "undecided") and parts:
        text += f". Width by width: {', '.join(parts)}"
    if knee is not None:
        text += f". The knee is at {knee:g}"
    return Sentence(tone, f"{text}.")


def _by_outcome(lines: list[dict[str, Any]]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for line in lines[1:]:
        if line["outcome"]:
            found.setdefault(line["outcome"], []).append(line["width"])
    return found


def _from_to(lines: list[dict[str, Any]]) -> str:
    return f"{number(lines[0]['mean'])} at width 0 and {number(lines[-1]['mean'])} at {lines[-1]['width']:g}"


def _cost(line: Mapping[str, Any]) -> str:
    """The loss: as a share of the value at width 0, as a multiple of it above twice, as it is where that value is 0."""
    loss, low, high = (line[name] for name in ("loss", "loss_low", "loss_high"))
    if math.isnan(loss):
        return f"{number(-line['change'])} worse ({number(-line['change_high'])} to {number(-line['change_low'])})"
    if loss > 1 and not line["higher_is_better"]:
        return f"{1 + loss:.2g} times the value at width 0 ({1 + low:.2g} to {1 + high:.2g})"
    return f"{loss:.0%} worse ({low:.0%} to {high:.0%})"


def _trend_words(move: Mapping[str, Any]) -> str:
    over = "with the width" if move["widths_p"] < LEVEL else "over these widths"
    words = {
        "better": f"it gets better {over}",
        "worse": f"it gets worse {over}",
        "none": "no steady trend",
        "": "no trend test",
    }
    told = words[move["trend"]]
    return (
        told if math.isnan(move["p_holm"]) else f"{told} (mean rank correlation {move['rank_correlation']:.2f}, {p_words(move['p_holm'])})"
    )


def _better(line: Mapping[str, Any]) -> str:
    return "higher" if line["higher_is_better"] else "lower"


def _listed(widths: list[float]) -> str:
    return worded(f"{width:g}" for width in widths)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _ends(drawn: np.ndarray, count: int) -> tuple[float, float]:
    """A 95% interval; none of a single value, which says nothing of how far another would lie."""
    if count < 2:
        return math.nan, math.nan
    with np.errstate(invalid="ignore"):  # ratios to a mean of 0 are infinite
        low, high = np.nanquantile(drawn, [LEVEL / 2, 1 - LEVEL / 2])
    return float(low), float(high)
