"""The robustness study's verdict, by rules that were written before any run and are shown in the report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from assay.report.page import Sentence, Tone
from assay.report.text import number, plural
from assay.study.frontier.statistics import LEVEL, TOLERANCE
from assay.study.frontier.sweep import ATTACKED, CHANGE, NOISE

__all__ = ["RULES", "Judgement", "judge", "judgements", "sentences"]

Verdict = Literal["reproduced", "not reproduced", "undecided"]

MOST, SOME = 0.75, 0.25
RULES = (
    "A cell is one backbone and one explainer (for claims 2 and 3 one network, explainer and kind of kernel). A claim about cells is "
    f"reproduced when at least {MOST:.0%} of them support it and none contradicts it, not reproduced when at least {SOME:.0%} contradict "
    "it, undecided otherwise, and undecided without cells. So a claim must hold for all but a family, and a single contradiction leaves "
    "it open; a quarter of the cells is a whole backbone, and a general claim that fails there fails. Claim 1: a cell supports it when "
    "the mean paired difference, robust twin less standard twin on the same images, has its whole 95 % bootstrap interval on the robust "
    f"side of zero and Wilcoxon's signed-rank test gives p below {LEVEL:g} after Holm's correction over the cells, and contradicts it "
    "when the same holds on the other side. It is judged by each attacked similarity and by the mean change under random noise; as a "
    "whole it is reproduced when it is by all of them, not reproduced when it is not by one of them, else undecided. That it is free is "
    "judged notion by notion of faithfulness, each map being held against its own model: a cell supports it when the difference is a "
    f"gain or is free (an interval that allows no loss above {TOLERANCE:.0%} of the standard twin's mean), and contradicts it when it is "
    "a loss by interval and test. Claim 2, standard networks: a cell supports it when robustness at the largest width lies above that at "
    "width 0 by its paired interval, and rises with the width by Page's test and the t test of the images' rank correlations, p below "
    f"{LEVEL:g} after Holm's correction over the cells; it contradicts it when both say the opposite. It is judged by the same "
    "quantities, for each kind of kernel. Claim 3, notion by notion, standard and robust networks apart: a cell supports it when "
    "faithfulness to the unsmoothed model at the largest width lies below that at width 0 and falls with the width by the same tests, "
    "and contradicts it when the largest width gains or is free. Notions are never averaged."
)


@dataclass(frozen=True)
class Judgement:
    """One claim by one quantity.

    Attributes:
        claim: Such as "1. More robust".
        subject: What it is judged by, and on which networks.
        support: Cells that support it.
        against: Cells that contradict it.
        cells: Cells in all.
    """

    claim: str
    subject: str
    support: int
    against: int
    cells: int

    @property
    def verdict(self) -> Verdict:
        """By the rules."""
        return judge(self.support, self.against, self.cells)


CLAIMS = ("1. For free: more robust", "1. For free: as faithful", "2. More robust with a kernel", "3. At the cost of faithfulness")


def judge(support: int, against: int, cells: int) -> Verdict:
    """The verdict on a claim about cells, of which so many support it and so many contradict it."""
    if cells and against >= SOME * cells:
        return "not reproduced"
    return "reproduced" if cells and support >= MOST * cells and not against else "undecided"


def judgements(twins: pl.DataFrame, cells: pl.DataFrame) -> tuple[Judgement, ...]:
    """All claims by all quantities.

    Args:
        twins: As `assay.papers.robustness.cells.twin_cells` makes them.
        cells: As `assay.papers.robustness.cells.smoothed_cells` makes them.
    """
    found: list[Judgement] = []
    gains, costs = pl.col("outcome") == "gains", pl.col("outcome") == "costs"
    holds = pl.col("outcome").is_in(("gains", "free"))
    better, worse = pl.col("trend") == "better", pl.col("trend") == "worse"
    if twins.height:
        found += _judged(CLAIMS[0], twins.filter(_decisive()), ("quantity",), gains, costs)
        found += _judged(CLAIMS[1], twins.filter(pl.col("kind") == "faithfulness"), ("quantity",), holds, costs)
    if cells.height:
        known = cells.filter(pl.col("outcome") != "")
        standard = known.filter(_decisive() & (pl.col("twin") == "standard"))
        found += _judged(CLAIMS[2], standard, ("family", "quantity"), gains & better, costs & worse)
        faithful = known.filter(pl.col("kind") == "faithfulness").sort("twin", descending=True, maintain_order=True)
        found += _judged(CLAIMS[3], faithful, ("twin", "quantity"), costs & worse, holds)
    return tuple(found)


def sentences(found: Sequence[Judgement], twins: pl.DataFrame, widths: pl.DataFrame) -> tuple[Sentence, ...]:
    """The verdict in plain words.

    Args:
        found: As `judgements` makes them.
        twins: As `assay.papers.robustness.cells.twin_cells` makes them.
        widths: As `assay.papers.robustness.cells.width_cells` makes them.
    """
    own = {claim: [one for one in found if one.claim == claim] for claim in CLAIMS}
    told = [
        *_whole("Claim 1, a robust network's explanations are more robust with the explainer unchanged", own[CLAIMS[0]]),
        *_notions("Claim 1, this costs no faithfulness (of each map to its own network)", own[CLAIMS[1]]),
        *_whole("Claim 2, explaining a standard network through a kernel is more robust", own[CLAIMS[2]]),
    ]
    for twin in ("standard", "robust"):
        lines = [one for one in own[CLAIMS[3]] if one.subject.startswith(twin)]
        told += _notions(f"Claim 3, wider kernels cost faithfulness to the {twin} networks", lines, drop=f"{twin}, ")
    return (*told, *_choice(widths), *_floor(twins))


def _decisive() -> pl.Expr:
    return pl.col("quantity").str.starts_with(ATTACKED) | (pl.col("quantity") == CHANGE)


def _judged(claim: str, rows: pl.DataFrame, by: Sequence[str], support: pl.Expr, against: pl.Expr) -> Iterator[Judgement]:
    counted = rows.group_by(*by, maintain_order=True).agg(
        support.sum().alias("support"), against.sum().alias("against"), pl.len().alias("cells")
    )
    for *names, one, other, cells in counted.iter_rows():
        yield Judgement(claim, ", ".join(names), one, other, cells)


def _whole(text: str, lines: Sequence[Judgement]) -> Iterator[Sentence]:
    """A claim that every quantity must bear out."""
    if not lines:
        return
    verdicts = {one.verdict for one in lines}
    whole: Verdict = "not reproduced" if "not reproduced" in verdicts else "reproduced" if verdicts == {"reproduced"} else "undecided"
    tones: dict[Verdict, Tone] = {"reproduced": "good", "not reproduced": "bad", "undecided": "caution"}
    parts = "; ".join(f"{one.subject}: {_counts(one)}" for one in lines)
    yield Sentence(tones[whole], f"{text}: {whole}. {parts}.")


def _notions(text: str, lines: Sequence[Judgement], drop: str = "") -> Iterator[Sentence]:
    """A claim that each notion of faithfulness answers for itself."""
    if not lines:
        return
    parts = []
    for verdict in ("reproduced", "not reproduced", "undecided"):
        own = [f"{one.subject.removeprefix(drop)} ({_counts(one, short=True)})" for one in lines if one.verdict == verdict]
        parts += [f"{verdict} by {', '.join(own)}"] if own else []
    verdicts = {one.verdict for one in lines}
    tone: Tone = "good" if verdicts == {"reproduced"} else "caution" if "reproduced" in verdicts or "undecided" in verdicts else "bad"
    yield Sentence(tone, f"{text}: {'; '.join(parts)}.")


def _counts(one: Judgement, short: bool = False) -> str:
    text = f"{one.support} of {one.cells} cells for, {one.against} against"
    return text if short else f"{one.verdict} ({text})"


def _choice(widths: pl.DataFrame) -> Iterator[Sentence]:
    """For each kind of kernel, how wide it may be before a notion of faithfulness pays, and what robustness that brings."""
    if widths.is_empty():
        return
    rows = widths.filter((pl.col("twin") == "standard") & (pl.col("width") > 0) & (pl.col("outcome") != ""))
    for (family,), own in rows.group_by("family", maintain_order=True):
        parts = []
        for (notion,), group in own.filter(pl.col("kind") == "faithfulness").group_by("quantity", maintain_order=True):
            counted = group.group_by("width").agg(
                pl.col("outcome").is_in(("gains", "free")).sum().alias("kept"),
                (pl.col("outcome") == "costs").sum().alias("costs"),
                pl.len(),
            )
            parts.append(f"{notion} {_widest(counted.sort('width'))}")
        won = []
        for (name,), group in own.filter(pl.col("quantity").str.starts_with(ATTACKED)).group_by("quantity", maintain_order=True):
            changes = group.group_by("width").agg(pl.col("change").mean()).sort("width")
            won.append(f"{name} by {', '.join(f'{number(change, 2)} at {width:g}' for width, change in changes.iter_rows())}")
        brought = f" Meanwhile means move towards the robust side: {'; '.join(won)}." if won else ""
        yield Sentence("note", f"Choosing the width of a {family} kernel for standard networks: {'; '.join(parts)}.{brought}")


def _widest(counted: pl.DataFrame) -> str:
    """The widest width up to which most cells gain or lose nothing, and what stands against the next."""
    widest = None
    for width, kept, costs, cells in counted.iter_rows():
        if kept < MOST * cells:
            known = "is not shown to be kept" if widest is None else f"is kept up to {widest:g}, not shown to be"
            return f"{known} at {width:g} ({costs} of {plural(cells, 'cell')} pay, {cells - kept - costs} undecided)"
        widest = width
    return f"is kept up to {widest:g}"


def _floor(twins: pl.DataFrame) -> Iterator[Sentence]:
    """Cells in which the attack takes no more than noise of its size, so that the attacked similarity says little."""
    if twins.is_empty():
        return
    cell = ("part", "backbone", "explainer")
    one, other = (
        twins.filter(pl.col("quantity").str.starts_with(f"{base} (")).select(
            *cell, pl.col("quantity").str.slice(len(base)).alias("by"), pl.col("standard").alias(base)
        )
        for base in (ATTACKED, NOISE)
    )
    weak = one.join(other, on=[*cell, "by"], maintain_order="left").filter(pl.col(ATTACKED) >= pl.col(NOISE))
    if weak.height:
        names = ", ".join(dict.fromkeys(f"{row['backbone']} {row['explainer']}" for row in weak.iter_rows(named=True)))
        text = f"The attack takes no more than noise of its size in {plural(weak.height, 'cell')} of standard networks: {names}."
        yield Sentence("caution", text)
