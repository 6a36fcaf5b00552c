"""What the paper claims, held against the values: a line for each figure and table, by rules written before any run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from assay.explain.smooth import SmoothGrad
from assay.models.sources.trainings import TWINS, is_robust
from assay.papers.robustness.cells import PAPERS, images_by, is_faithful, widths
from assay.papers.robustness.printed import PAPER_NAMES, PRINTED_EXPLAINERS, RANKS, TABLE_1
from assay.report.text import number
from assay.stats.intervals import LEVEL, Moments
from assay.stats.shape import Inside, inside, rank_correlation
from assay.stats.tests import holm
from assay.stats.trends import trend

__all__ = ["CLAIM_RULES", "Claim", "claims"]

Agrees = Literal["yes", "no", "undecided", "not run"]
CLAIM_RULES = (
    "Each line is judged by the paper's own definitions (local Lipschitz constant, marginal contributions), on the class probability, "
    f"image by image; p-values are one-sided, corrected by Holm over the cells of the line, and must be below {LEVEL:g}. Table 1, "
    "standard above robust: yes when every cell (backbone and explainer) is confirmed, no when one is confirmed the other way. Order of "
    "the explainers: Spearman's correlation of our means with the paper's mean ranks, exact permutation test, yes when confirmed on "
    "every network, no when negative on one. Backbones: the same correlation between the model's own constant and that of the gradient "
    "explainers over the networks, yes when confirmed for all four, no when one is not positive. Figure 3: the same within one backbone, "
    "over its networks of graded robustness, for the gradient explainers that were measured. Figure 4: yes when the constant falls "
    "with the width on every network by the test of `assay.stats.trends`, no when it rises on one. Figure 5: a network supports it when "
    "some inner width is above both 0 and the widest, by an intersection-union test, and refutes it when 0 or the widest is above every "
    "inner width; yes when every network supports it, no when one refutes it. Figure 6: the same across the explainers in order of "
    "their constants. Else undecided."
)
_GRADIENTS = tuple(name for name, rank in zip(PRINTED_EXPLAINERS, RANKS["standard"], strict=True) if rank == 1.0)
"""Those whose correlation over the backbones the paper prints as 1."""


@dataclass(frozen=True)
class Claim:
    """One line of "printed in the paper / measured here / agrees?".

    Attributes:
        where: Figure or table of the paper.
        printed: What it says.
        measured: What came out here.
        agrees: Whether it does.
    """

    where: str
    printed: str
    measured: str
    agrees: Agrees


def claims(values: pl.DataFrame) -> list[Claim]:
    """All lines.

    Args:
        values: As `distinct_cells` gives them.
    """
    of_class = values.filter(output="probability")
    own, papers = of_class.filter(graded=False), of_class.filter(pl.col("usual"), measure=PAPERS)
    table, doses = papers.filter(graded=False), papers.filter(graded=True)
    return [
        _above(table),
        *_orders(table),
        *_backbones(table),
        _doses(doses),
        _falls(own.filter(statistic="lipschitz")),
        *(_optimum(own.filter(is_faithful(one)), one) for one in ("inverse_l2", "pearson", "spearman")),
        *(_across(table, own.filter(is_faithful(one)), one) for one in ("inverse_l2", "pearson", "spearman")),
    ]


def _networks(rows: pl.DataFrame) -> list[str]:
    return rows["network"].unique(maintain_order=True).to_list()


def _above(table: pl.DataFrame) -> Claim:
    up, down, cell = [], [], 0
    for name in _networks(table):
        twin = f"{name}{TWINS}"
        twins = table.filter(pl.col("network") == twin, pl.col("method").is_in(PRINTED_EXPLAINERS))
        for explainer in twins["explainer"].unique(maintain_order=True):
            pair = [table.filter((pl.col("network") == one) & (pl.col("explainer") == explainer)) for one in (name, twin)]
            joined = pair[0].join(pair[1], on="image", suffix="_twin")
            with np.errstate(divide="ignore"):
                change = np.log(joined["value"].to_numpy()) - np.log(joined["value_twin"].to_numpy())
            cell += 1
            up.append(Moments.of(change[:, None]).above()[0])
            down.append(Moments.of(-change[:, None]).above()[0])
    if not cell:
        return Claim("Table 1", "standard above robust (Linf 8/255) in every cell", "no twins were studied", "not run")
    confirmed, against = (sum(p < LEVEL for p in holm(one)) for one in (up, down))
    agrees: Agrees = "yes" if confirmed == cell else "no" if against else "undecided"
    found = f"{confirmed} of {cell} cells confirmed, {against} the other way"
    return Claim("Table 1", "standard above robust (Linf 8/255) in all 30 cells", found, agrees)


def _means(rows: pl.DataFrame) -> dict[str, float]:
    known = rows.filter(pl.col("method").is_in(PRINTED_EXPLAINERS))
    return dict(known.group_by("method", maintain_order=True).agg(pl.col("value").mean()).iter_rows())


def _orders(table: pl.DataFrame) -> Iterator[Claim]:
    for kind, side in (("standard", 1), ("robust", 2)):
        printed = np.mean([np.argsort(np.argsort(row[side])) for row in TABLE_1.values()], axis=0)
        order = " > ".join(PRINTED_EXPLAINERS[place] for place in np.argsort(-printed))
        found = {}
        for name in _networks(table):
            means = _means(table.filter(pl.col("network") == name))
            if is_robust(name) == (kind == "robust") and len(means) == len(PRINTED_EXPLAINERS):
                found[name] = rank_correlation([means[one] for one in PRINTED_EXPLAINERS], printed)
        said = f"order of the explainers, {kind}: {order}"
        if not found:
            yield Claim("Table 1", said, "no network has all six", "not run")
            continue
        p = holm([one[1] for one in found.values()])
        rhos = [one[0] for one in found.values()]
        agrees: Agrees = "yes" if max(p) < LEVEL else "no" if min(rhos) < 0 else "undecided"
        sure = sum(one < LEVEL for one in p)
        told = f"rank correlation {number(min(rhos), 2)} to {number(max(rhos), 2)} on {len(rhos)} networks, {sure} confirmed"
        yield Claim("Table 1", said, told, agrees)


def _backbones(table: pl.DataFrame) -> Iterator[Claim]:
    for kind, printed in RANKS.items():
        names = [name for name in _networks(table) if is_robust(name) == (kind == "robust")]
        told, agrees = _together(table.filter(pl.col("network").is_in(names)))
        said = f"rank correlation of model and explanation over the backbones, {kind}: " + ", ".join(
            f"{name} {value:g}" for name, value in zip(PRINTED_EXPLAINERS, printed, strict=True)
        )
        yield Claim("Table 1", said, told, agrees)


def _together(table: pl.DataFrame) -> tuple[str, Agrees]:
    """How the constants of the explanations go with the models' own over networks: in words, and whether the gradient explainers' do."""
    by = {name: table.filter(pl.col("network") == name) for name in _networks(table)}
    model = {name: rows.filter(method="model")["value"].to_numpy() for name, rows in by.items()}
    means = {name: _means(rows) for name, rows in by.items()}
    told, rhos, p = [], [], []
    for explainer in PRINTED_EXPLAINERS:
        known = [name for name in by if explainer in means[name] and len(model[name])]
        rho, chance = rank_correlation([means[name][explainer] for name in known], [model[name].mean() for name in known])
        if math.isfinite(rho):
            told.append(f"{explainer} {rho:.2f} (p {number(chance, 2)})")
            if explainer in _GRADIENTS:
                rhos.append(rho)
                p.append(chance)
    agrees: Agrees = "not run" if not p else "yes" if max(holm(p)) < LEVEL else "no" if min(rhos) <= 0 else "undecided"
    return f"{len(by)} networks: {', '.join(told)}" if told else "fewer than three networks", agrees


def _doses(rows: pl.DataFrame) -> Claim:
    said = "ten ResNets of graded robustness: rank correlation of model and explanation near 1"
    if rows.is_empty():
        return Claim("Fig. 3", said, "no networks of graded robustness were given", "not run")
    told, agrees = _together(rows)
    return Claim("Fig. 3", said, told, agrees)


def _falls(rows: pl.DataFrame) -> Claim:
    said = "the constant of SmoothGrad falls with sigma on every network"
    found = {}
    for name in _networks(rows):
        own = _widest(rows.filter(pl.col("network") == name))
        known = widths(own)
        table = images_by(own, list(known.values())) if len(known) > 2 else np.empty((0, 0))
        if len(table) > 1:
            found[name] = trend(table)
    if not found:
        return Claim("Fig. 4", said, "no widths were studied", "not run")
    p = holm([one.p for one in found.values()])
    down = sum(chance < LEVEL and one.rank_correlation < 0 for chance, one in zip(p, found.values(), strict=True))
    up = sum(chance < LEVEL and one.rank_correlation > 0 for chance, one in zip(p, found.values(), strict=True))
    agrees: Agrees = "yes" if down == len(found) else "no" if up else "undecided"
    return Claim("Fig. 4", said, f"falls on {down} of {len(found)} networks, rises on {up}", agrees)


def _widest(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of the measure by which most widths were measured."""
    counts = rows.filter(method=PAPER_NAMES[SmoothGrad]).group_by("measure").agg(pl.col("explainer").n_unique())
    if counts.is_empty():
        return rows.clear()
    return rows.filter(pl.col("measure") == counts.sort("explainer", "measure")["measure"][-1])


def _optimum(rows: pl.DataFrame, similarity: str) -> Claim:
    said = f"faithfulness ({similarity}) over sigma first rises, then falls"
    found, best = {}, {}
    for name in _networks(rows):
        own = rows.filter(pl.col("network") == name)
        known = widths(own)
        table = images_by(own, list(known.values())) if len(known) > 2 else np.empty((0, 0))
        if len(table) > 1:
            found[name] = inside(table)
            best[name] = list(known)[found[name].best]
    return _supported("Fig. 5", said, found, lambda name: f"best sigma {best[name]:g}")


def _across(table: pl.DataFrame, faithful: pl.DataFrame, similarity: str) -> Claim:
    said = f"across explainers from least to most robust, faithfulness ({similarity}) rises, then falls"
    found, best = {}, {}
    for name in _networks(table):
        rows = table.filter(pl.col("network") == name, pl.col("method").is_in(PRINTED_EXPLAINERS))
        constants = rows.group_by("explainer", "method").agg(pl.col("value").mean()).sort("value", descending=True)
        order, called = constants["explainer"].to_list(), constants["method"].to_list()
        values = images_by(faithful.filter(pl.col("network") == name), order)
        if len(order) == len(PRINTED_EXPLAINERS) and len(values) > 1:
            found[name] = inside(values)
            best[name] = called[found[name].best]
    return _supported("Fig. 6", said, found, lambda name: f"best {best[name]}")


def _supported(where: str, said: str, found: Mapping[str, Inside], word: Callable[[str], str]) -> Claim:
    if not found:
        return Claim(where, said, "not measured", "not run")
    held, lost = (
        {name for name, chance in zip(found, holm([getattr(one, side) for one in found.values()]), strict=True) if chance < LEVEL}
        for side in ("p", "against")
    )
    agrees: Agrees = "yes" if len(held) == len(found) else "no" if lost else "undecided"
    told = "; ".join(f"{name}: {word(name)}{' (+)' if name in held else ' (-)' if name in lost else ''}" for name in found)
    return Claim(where, said, f"confirmed (+) on {len(held)} of {len(found)} networks, refuted (-) on {len(lost)}. {told}", agrees)
