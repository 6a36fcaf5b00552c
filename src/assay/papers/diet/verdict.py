"""The DiET study's verdict in plain words, by rules that are written here and shown in the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from assay.papers.diet.choose import LEAST_AGREEMENT, MOST_KEPT
from assay.papers.diet.evaluation import ANOTHER_MASK, BASELINE, BASES_MASK, IOU, MASK, PLAIN_MASK, SHAPE_ALONE, WIDE, refined
from assay.papers.diet.tables import images, interval, values
from assay.papers.diet.work import Found
from assay.report.page import Sentence
from assay.report.text import plural, worded
from assay.stats.intervals import LEVEL, Interval, Moments, listed, means, share
from assay.stats.tests import holm, holm_levels
from assay.tune.drawn_backgrounds import OneOf

__all__ = ["DIET_RULES", "AgainstRival", "compared", "diet_verdict"]

CLOSE, MOVED, RELIES = 0.02, 0.05, 0.2
DIET_RULES = (
    f"Faithful: on every seed the tuned model's class is the baseline's on at least {LEAST_AGREEMENT:.0%} of what its rounded masks leave "
    "of test images, before colours as the authors evaluate (a tenth as wide as tuned with), by the lower end of Wilson's interval, and "
    f"its accuracy is within {100 * CLOSE:.0f} points of the baseline's; the agreement before colours as wide as tuned with is told beside "
    f"it; nothing is said of masks that keep more than {MOST_KEPT:.0%}. Better located "
    "than a rival: the paired difference of the overlaps with the known evidence, test image by test image, masks averaged over seeds, "
    "has its whole interval above zero, at Holm's level over all rivals; better than every map is said only where that holds for each. "
    "Masks as they are learned are held against maps as they are made; masks drawn along the images' edges, by the recipe itself or by "
    "the filter of the refined maps, against all of these and all refined maps too. "
    f"Robust to erasure: no background lowers the agreement by more than {100 * MOVED:.0f} points below that of the background tuned with, "
    "by the upper end of the paired interval, and the baseline, given the same masks, agrees less before the worst of them, by the lower "
    "end; not robust, by the lower end of what is lost; else it is left open; "
    "other images as background are left out, since they bring evidence for other classes. A spurious signal is relied on when moving "
    f"it to the other class costs at least {100 * RELIES:.0f} points of accuracy. A control is failed when the tuned model gives the "
    "baseline's class more often than the baseline's most frequent class is frequent, by the interval's lower end; it is passed when "
    f"that is at most {100 * MOVED:.0f} points more by the upper end."
)


@dataclass(frozen=True)
class AgainstRival:
    """A mask against one rival: the paired difference of their overlaps with the evidence.

    Attributes:
        rival: The rival.
        difference: Its interval is at Holm's level.
        better: Whether the mask is shown to be better located.
        worse: Whether the rival is.
    """

    rival: str
    difference: Interval
    better: bool
    worse: bool


def compared(mask: np.ndarray, rivals: dict[str, np.ndarray]) -> list[AgainstRival]:
    """A mask's overlaps (images,) against those of each rival, two-sided, with Holm's correction over all of them."""
    apart = Moments.of(mask[:, None] - np.stack(list(rivals.values()), 1))
    turned = Moments(apart.count, -apart.mean, apart.spread, -apart.skew)
    p = np.minimum(1.0, 2 * np.minimum(apart.above(), turned.above()))
    sure = [one < LEVEL for one in holm(p)]
    gaps = listed(apart, holm_levels(p))
    return [
        AgainstRival(name, gap, known and gap.low > 0, known and gap.high < 0) for name, gap, known in zip(rivals, gaps, sure, strict=True)
    ]


def diet_verdict(found: Sequence[Found]) -> tuple[Sentence, ...]:
    """Sentences for the top of the report, most important first."""
    made = []
    for one in found:
        prefix = f"{one.variant}: " if len(found) > 1 else ""
        made += [Sentence(sentence.tone, prefix + sentence.text) for sentence in _form(one)]
    return tuple(made)


def _form(found: Found) -> list[Sentence]:
    judged = list(found.finals)
    said = _signal(found)
    for method in judged:
        said += [*_faithful(found, method), *_located(found, method)]
    for method in judged[1:]:
        said += _beside(found, judged[0], method)
    return [*said, *_robust(found, judged[0]), *_controls(found, judged[0]), *_manipulated(found, judged[0]), *_unread(found)]


def _signal(found: Found) -> list[Sentence]:
    """Whether the baseline relies on a planted signal."""
    if "reversed" not in found.data:
        return []
    usual, moved = (interval(values(found.long, model=BASELINE, measure="accuracy", part=part)).mean for part in ("test", "reversed"))
    text = f"The baseline is right on {usual:.1%} of test images, and on {moved:.1%} when the signal is on the other class"
    if usual - moved >= RELIES:
        return [Sentence("note", f"{text}: it relies on the signal, so a faithful map has to show it.")]
    return [Sentence("caution", f"{text}: it hardly uses the signal, so no map of it has to show it.")]


def _faithful(found: Found, method: str) -> list[Sentence]:
    own = values(found.long, model=method)
    seeds = sorted(own["seed"].unique().to_list())
    agreed = [interval(values(own, attribution=MASK, measure="agreement, rounded masks").filter(pl.col("seed") == seed)) for seed in seeds]
    right = [interval(values(own, attribution="", measure="accuracy", part="test").filter(pl.col("seed") == seed)).mean for seed in seeds]
    base = interval(values(found.long, model=BASELINE, attribution="", measure="accuracy", part="test")).mean
    least = min(agreed, key=lambda one: one.low)
    wide = interval(values(own, attribution=MASK, measure=f"agreement, rounded masks, {WIDE}"))
    kept = interval(values(own, attribution=MASK, measure="kept")).mean
    text = (
        f"{method}'s model gives the baseline's class for {least.mean:.1%} ({least.low:.1%} to {least.high:.1%}) of what its rounded masks "
        f"leave of test images{_on_the_worst(seeds)}, which keep {kept:.1%} of them, and for {wide.mean:.1%} before colours as wide as it "
        f"was tuned with; its accuracy is {min(right):.1%}, the baseline's {base:.1%}"
    )
    if kept > MOST_KEPT:
        return [Sentence("caution", f"{text}: masks that keep so much leave next to nothing out, so this tells nothing of them.")]
    if least.low >= LEAST_AGREEMENT and min(right) >= base - CLOSE:
        return [Sentence("good", f"{text}: it can stand in for the baseline, as the authors judge it.")]
    if least.mean >= LEAST_AGREEMENT and min(right) >= base - CLOSE:
        return [
            Sentence(
                "caution",
                f"{text}: {LEAST_AGREEMENT:.0%} is not shown by the interval's lower end, so its masks are said to explain it alone.",
            )
        ]
    return [Sentence("caution", f"{text}: it is not the baseline's equal, so its masks explain it alone.")]


def _located(found: Found, method: str) -> list[Sentence]:
    overlaps = values(found.long, measure=IOU, part="test")
    if overlaps.is_empty():
        return []
    base = values(overlaps, model=BASELINE)
    makers = dict(base.select("attribution", "maker").unique(maintain_order=True).iter_rows())
    names, raw = list(makers), base.filter(~pl.col("finer"))["attribution"].unique(maintain_order=True).to_list()
    passes = _passes(found)
    said = []
    edges = found.finals[method][0].diet.edges
    for attribution, rivals in ((MASK, names), (PLAIN_MASK, raw)) if edges else ((MASK, raw), (refined(MASK), names)):
        mask = images(values(overlaps, model=method, attribution=attribution))
        held = compared(mask, {name: images(values(base, attribution=name)) for name in rivals})
        own = means(mask[:, None])[0]
        price = passes[method, MASK]
        finely = {PLAIN_MASK: ", before they are drawn along the images' edges,", refined(MASK): ", refined,"}.get(attribution, "")
        text = f"{method}'s masks{finely} overlap the known evidence by {_shown(own)} at {price:.0f} passes an image, after tuning"
        close = min(held, key=lambda one: (one.better, one.difference.low))
        told = f"{text}; the closest rival is {close.rival}, a difference of {_shown(close.difference)}"
        worse = [one for one in held if one.worse]
        open_ = [one.rival for one in held if not one.better and not one.worse]
        if all(one.better for one in held):
            said.append(Sentence("good", f"{told}: they are better located than every one of {len(held)} maps of the baseline."))
            continue
        if worse:
            listed_ = worded(
                f"{one.rival} ({-one.difference.mean:.2f} more, {passes[BASELINE, makers[one.rival]]:.0f} passes)" for one in worse
            )
            told += f": better located than the masks is {listed_}" if len(worse) == 1 else f": better located than the masks are {listed_}"
        if open_:
            told += f"{'; and' if worse else ':'} the masks are not shown to be better located than {worded(open_)}"
        said.append(Sentence("bad" if worse else "caution", f"{told}."))
    return said


def _beside(found: Found, first: str, second: str) -> list[Sentence]:
    """The two recipes, each with its chosen setting, on the same images."""
    overlaps = values(found.long, measure=IOU, attribution=MASK, part="test")
    if overlaps.is_empty():
        return []
    one, other = (images(values(overlaps, model=name)) for name in (first, second))
    (held,) = compared(one, {second: other})
    kept = {name: interval(values(found.long, model=name, attribution=MASK, measure="kept")).mean for name in (first, second)}
    work = {name: sum(each.passes for each in found.finals[name]) / len(found.finals[name]) for name in (first, second)}
    text = (
        f"{first} and {second}, each with the best of {len(found.tried[first])} settings: masks that keep {kept[first]:.1%} and "
        f"{kept[second]:.1%} of test images, {work[first]:,.0f} and {work[second]:,.0f} passes a tuning; {first}'s overlap the evidence by "
        f"{_shown(held.difference)} more"
    )
    return [Sentence("note", f"{text}{'' if held.better or held.worse else ', which is not shown to be a difference'}.")]


def _robust(found: Found, method: str) -> list[Sentence]:
    rows = values(found.long, model=method, kind="background")
    if rows.is_empty():
        return []
    background = found.finals[method][0].diet.background
    tuned_with = [type(one).__name__ for one in (background.choices if isinstance(background, OneOf) else (background,))]
    kept = images(values(found.long, model=method, attribution=MASK, measure=f"agreement, rounded masks, {WIDE}"))
    others = {
        what: {
            str(name): images(values(rows, attribution=what, background=str(name)))
            for name in rows["background"].unique(maintain_order=True)
            if name not in {"OtherImages", *tuned_with}
        }
        for what in (MASK, BASES_MASK)
    }
    if not others[MASK]:
        return []
    worst = min(others[MASK], key=lambda name: float(others[MASK][name].mean()))
    lost, gained = (
        means((one - other)[:, None])[0] for one, other in ((kept, others[MASK][worst]), (others[MASK][worst], others[BASES_MASK][worst]))
    )
    text = (
        f"With everything outside the mask erased, {method}'s model keeps the class of {kept.mean():.1%} of test images before the "
        f"background it was tuned with, and of {others[MASK][worst].mean():.1%} before {worst}, the worst of the others: a "
        f"difference of {-100 * lost.mean:+.1f} points ({-100 * lost.high:+.1f} to {-100 * lost.low:+.1f}); "
        f"the baseline of {others[BASES_MASK][worst].mean():.1%} there"
    )
    if lost.high <= MOVED:
        if gained.low <= 0:
            return [Sentence("note", f"{text}, which is not shown to be less. So it may hold there without the tuning.")]
        return [Sentence("good", f"{text}, which is less. The robustness carries over to backgrounds that it was not tuned with.")]
    if lost.low > MOVED:
        return [Sentence("caution", f"{text}. The robustness does not carry over to every background.")]
    return [Sentence("caution", f"{text}. Whether the robustness carries over is not shown by so many images.")]


def _controls(found: Found, method: str) -> list[Sentence]:
    rows = values(found.long, model=method, kind="background").filter(pl.col("attribution").is_in((ANOTHER_MASK, SHAPE_ALONE)))
    if rows.is_empty():
        return []
    found_ = [(interval(one), names) for names, one in rows.group_by("attribution", "measure", maintain_order=True)]
    worst, (what, measure) = max(found_, key=lambda one: one[0].mean)
    text = (
        f"Left with {what} ({measure}), the tuned model gives the baseline's class for {worst.mean:.1%} ({worst.low:.1%} to "
        f"{worst.high:.1%}) of the images, where always saying the most frequent class would give {found.most_frequent:.1%}"
    )
    if worst.low > found.most_frequent:
        return [Sentence("caution", f"{text}: part of what the masks tell is in their shape or place, not in the pixels they keep.")]
    if worst.high <= found.most_frequent + MOVED:
        return [Sentence("good", f"{text}: it is the pixels that are kept which carry the class.")]
    return [Sentence("caution", f"{text}: that shape or place of the masks tells the class is not shown, nor ruled out.")]


def _manipulated(found: Found, method: str) -> list[Sentence]:
    """Whether the masks follow a baseline that is trained to mislead less than its gradients do."""
    if found.manipulated is None:
        return []
    same = share(int(found.manipulated.same.sum()), len(found.manipulated.same))
    text = (
        f"Trained to mislead, the baseline gives the class of before on {same.mean:.1%} ({same.low:.1%} to {same.high:.1%}) of test images"
    )
    lost = []
    # A mask that is drawn along the images' edges is held against a gradient that is, too.
    rival = refined("Gradient") if found.finals[method][0].diet.edges else "Gradient"
    for model, attribution in ((BASELINE, rival), (method, MASK)):
        before, after = (
            values(long, measure=IOU, part="test", model=model, attribution=attribution).filter(pl.col("seed") == 0)
            for long in (found.long, found.manipulated.long)
        )
        if before.is_empty():
            return [Sentence("note", f"{text}; {attribution} was not asked for, so nothing is said of what the masks follow.")]
        lost.append(images(before) - images(after))
    gradient, mask = (means(one[:, None])[0] for one in lost)
    apart = means((lost[0] - lost[1])[:, None])[0]
    text += f"; the overlap with the evidence falls by {_shown(gradient)} for {rival}, by {_shown(mask)} for {method}'s masks, tuned anew"
    if gradient.low <= 0:
        return [Sentence("note", f"{text}: the training did not mislead {rival}, so nothing follows for the masks.")]
    if apart.low > 0:
        return [Sentence("note", f"{text}: the masks follow it less, by {_shown(apart)}.")]
    if apart.high < 0:
        return [Sentence("caution", f"{text}: the masks follow it more, by {_shown(Interval(-apart.mean, -apart.high, -apart.low))}.")]
    return [Sentence("caution", f"{text}: that the masks follow it less is not shown.")]


def _unread(found: Found) -> list[Sentence]:
    if not found.unread:
        return []
    told = f"{plural(len(found.unread), 'file')} could not be read and took no part; the first: {', '.join(found.unread[:3])}."
    return [Sentence("caution", told)]


def _passes(found: Found) -> dict[tuple[str, str], float]:
    sums = found.costs.group_by("model", "attribution").agg(pl.col("images", "passes").sum())
    return {(row["model"], row["attribution"]): row["passes"] / row["images"] for row in sums.iter_rows(named=True)}


def _on_the_worst(seeds: Sequence[int]) -> str:
    return f" on the worst of {len(seeds)} seeds" if len(seeds) > 1 else ""


def _shown(one: Interval) -> str:
    return f"{one.mean:.3f} ({one.low:.3f} to {one.high:.3f})"
