"""The DiET study's verdict in plain words, by rules that are written here and shown in the report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from assay.core.registry import build, short
from assay.explain.base import Explainer
from assay.models.accuracy import Accuracy
from assay.papers.diet.outcome import BASELINE, MASK, NETWORK, Outcome
from assay.papers.diet.presets import PAPER_BASELINES
from assay.report.page import Sentence
from assay.report.text import plural
from assay.stats.intervals import LEVEL, Interval, Moments, listed, means
from assay.stats.tests import holm, holm_levels
from assay.tune.backgrounds import OneOf, OtherImages

__all__ = ["RULES", "Target", "targets", "verdict"]

SAME, CLOSE, AHEAD, MOVED, RELIES, CONTROL = 0.97, 0.02, 0.2, 0.05, 0.2, 0.5
RULES = (
    f"Faithful: the tuned model's class is the baseline's on at least {SAME:.0%} of what its rounded masks leave of test images, by "
    f"the lower end of Wilson's 95 % interval, and its accuracy is within {100 * CLOSE:.0f} points of the baseline's. Better "
    "located: the paired difference of the overlaps with the known evidence, test image by test image, has its whole interval "
    "above zero against every explainer of the baseline, after Holm's correction over them; clearly better, if every difference is "
    f"at least {AHEAD:g}. Robust to erasure: no background lowers the agreement by more than {100 * MOVED:.0f} points below that of "
    "the background tuned with; other images as background are left out, since they bring evidence for other classes. A spurious "
    f"signal is relied on when moving it to the other class costs at least {100 * RELIES:.0f} points of accuracy. A control is "
    f"failed when the tuned model gives the baseline's class for more than {CONTROL:.0%} of images of which only the mask's shape, "
    "or the pixels under another image's mask, are left."
)


@dataclass(frozen=True)
class Target:
    """A figure that the study is expected to reach."""

    name: str
    value: float
    bound: float

    @property
    def met(self) -> bool:
        """Whether it is reached."""
        return self.value >= self.bound


def verdict(outcomes: Sequence[Outcome], long: pl.DataFrame, method: str, seed: int) -> tuple[Sentence, ...]:
    """Sentences for the top of the report.

    Args:
        outcomes: What the forms of the data came to.
        long: As `assay.papers.diet.summary.long_table` makes it.
        method: The recipe that is judged.
        seed: The study's; nothing is drawn here.
    """
    found: list[Sentence] = []
    for outcome in outcomes:
        rows = long.filter(pl.col("variant") == outcome.variant)
        one = [
            *_signal(rows),
            *_faithful(rows, method),
            *_located(rows, method, seed),
            *_robust(rows, method, outcome),
            *_controls(rows, method),
            *_beside(rows, method, outcome),
            *_absence(outcome, method),
            *_unread(outcome),
        ]
        prefix = f"{outcome.variant}: " if len(outcomes) > 1 else ""
        found += [Sentence(sentence.tone, prefix + sentence.text) for sentence in one]
    return tuple(found)


def targets(outcome: Outcome, long: pl.DataFrame, method: str) -> tuple[Target, ...]:
    """What the project expects of the small preset on Hard MNIST, and of the tag of strength 0.2 on chest X-rays."""
    rows = long.filter(pl.col("variant") == outcome.variant)
    overlaps = _means(rows, "maps", "IoU")
    own = overlaps.get((method, MASK), np.nan)
    dataset = outcome.data["test"].name
    if dataset == "chest-xray":
        return (Target("overlap of the mask with the tag, test images", own, 0.85),) if "0.2" in outcome.variant else ()
    if dataset != "hard-mnist":
        return ()
    base, tuned = (_mean(rows, "model", model, "", "accuracy") for model in (BASELINE, method))
    accuracy = _mean(rows, "simplified", method, MASK, "accuracy, rounded masks")
    agreement = _share(rows, "simplified", method, MASK, "agreement, rounded masks")
    rivals = [overlaps[BASELINE, name] for name in _paper_names(rows)]
    return (
        Target("test accuracy of the baseline", base, 0.975),
        Target("agreement on simplified test images, lower end of its interval", agreement.low, SAME),
        Target("accuracy on rounded-mask test images", accuracy, 0.95),
        Target("test accuracy of the tuned model, less the baseline's", tuned - base, -CLOSE),
        Target("overlap of the mask with the digit, test images", own, 0.6),
        Target("overlap above the best explainer of the paper", own - max(rivals, default=np.nan), AHEAD),
    )


def _signal(rows: pl.DataFrame) -> list[Sentence]:
    """Whether the baseline relies on a planted signal."""
    usual, moved = (_mean(rows, "model", BASELINE, "", "accuracy", part) for part in ("test", "reversed"))
    if np.isnan(moved):
        return []
    text = f"The baseline is right on {usual:.1%} of test images, and on {moved:.1%} when the signal is on the other class"
    if usual - moved >= RELIES:
        return [Sentence("note", f"{text}: it relies on the signal, so a faithful map has to show it.")]
    return [Sentence("caution", f"{text}: it hardly uses the signal, so no map of it has to show it.")]


def _faithful(rows: pl.DataFrame, method: str) -> list[Sentence]:
    agreement = _share(rows, "simplified", method, MASK, "agreement, rounded masks")
    base, tuned = (_mean(rows, "model", model, "", "accuracy") for model in (BASELINE, method))
    fine = agreement.low >= SAME and tuned >= base - CLOSE
    text = (
        f"{method}'s model gives the baseline's class for {agreement.value:.1%} ({agreement.low:.1%} to {agreement.high:.1%}) of what its "
        f"rounded masks leave of test images; its accuracy is {tuned:.1%}, the baseline's {base:.1%}"
    )
    if fine:
        return [Sentence("good", f"{text}: what the masks erase does not matter to it, and it can stand in for the baseline.")]
    return [Sentence("caution", f"{text}: it is not the baseline's equal, so its masks explain it alone.")]


def _located(rows: pl.DataFrame, method: str, seed: int = 0) -> list[Sentence]:  # noqa: ARG001 (nothing is drawn any more)
    part = rows.filter((pl.col("kind") == "maps") & (pl.col("part") == "test") & (pl.col("measure") == "IoU"))
    if part.is_empty():
        return []
    mask = _values(part, method, MASK)
    rivals = [str(name) for name in part.filter(pl.col("model") == BASELINE)["attribution"].unique(maintain_order=True)]
    others = np.stack([_values(part, BASELINE, name) for name in rivals], 1)
    apart = Moments.of(mask[:, None] - others)
    p = np.minimum(1.0, 2 * apart.above())
    gaps, own = listed(apart, holm_levels(p)), means(mask[:, None])[0]
    better = [one < LEVEL and gap.low > 0 for one, gap in zip(holm(p), gaps, strict=True)]
    closest = min(range(len(rivals)), key=lambda place: (better[place], np.nan_to_num(gaps[place].low, nan=-np.inf)))
    text = (
        f"The masks overlap the known evidence by {_interval(own)}; the explainer of the baseline that comes closest, by the interval of "
        f"the difference, {rivals[closest]}, by {np.nanmean(others[:, closest]):.2f}, a difference of {_interval(gaps[closest])}"
    )
    if all(better):
        far = " clearly" if min(gap.mean for gap in gaps) >= AHEAD else ""
        return [Sentence("good", f"{text}: the masks are{far} better located than every map of the baseline.")]
    lost = [name for name, shown in zip(rivals, better, strict=True) if not shown]
    return [Sentence("bad", f"{text}: the masks are not shown to be better located than {_listed(lost)}.")]


def _robust(rows: pl.DataFrame, method: str, outcome: Outcome) -> list[Sentence]:
    means = _means(rows.filter(pl.col("attribution") == MASK), "erasure")
    own = {measure: value for (model, measure), value in means.items() if model == method}
    base = {measure: value for (model, measure), value in means.items() if model == BASELINE}
    background = outcome.tuned[method].settings.background
    used = short(background)
    known = {used, *(short(one) for one in (background.choices if isinstance(background, OneOf) else ()))}
    # Another image shows evidence for its own class, which the model does right to see.
    others = [name for name in own if name not in known and not name.startswith(OtherImages.__name__)]
    if used not in own or not others:
        return []
    worst = min(others, key=lambda name: own[name])
    text = (
        f"With everything outside the mask erased, {method}'s model keeps the class of {own[used]:.1%} of test images before {used}, "
        f"which it was tuned with, and of {own[worst]:.1%} before {worst}, the worst other background; the baseline of "
        f"{base[used]:.1%} and {base[worst]:.1%}"
    )
    if own[used] - own[worst] <= MOVED:
        return [Sentence("good", f"{text}. The robustness carries over to backgrounds that it was not tuned with.")]
    return [Sentence("caution", f"{text}. The robustness does not carry over to every background.")]


def _controls(rows: pl.DataFrame, method: str) -> list[Sentence]:
    controls = rows.filter((pl.col("kind") == "erasure") & (pl.col("model") == method) & (pl.col("attribution") != MASK))
    if controls.is_empty():
        return []
    worst = controls.group_by("attribution", "measure", maintain_order=True).agg(pl.col("value").mean()).sort("value").row(-1, named=True)
    text = (
        f"Left with {worst['attribution']} (before {worst['measure']}), the tuned model gives the baseline's class for {worst['value']:.1%}"
    )
    if worst["value"] > CONTROL:
        return [Sentence("caution", f"{text}: part of what the masks tell is in their shape or place, not in the pixels they keep.")]
    return [Sentence("good", f"{text} of the images at most: it is the pixels that are kept which carry the class.")]


def _beside(rows: pl.DataFrame, method: str, outcome: Outcome) -> list[Sentence]:
    """The other recipes, and the mask network, in figures."""
    found = []
    overlaps = _means(rows, "maps", "IoU")
    for other in outcome.tuned:
        if other == method:
            continue
        agreement = _mean(rows, "simplified", other, MASK, "agreement, rounded masks")
        kept = _mean(rows, "simplified", other, MASK, "kept by rounded masks")
        located = f", and overlap the evidence by {overlaps[other, MASK]:.2f}" if (other, MASK) in overlaps else ""
        text = (
            f"{other}: its rounded masks keep {kept:.1%} of test images, on which its model gives the baseline's class for {agreement:.1%}"
        )
        found.append(Sentence("note", f"{text}{located}."))
    if any(one.attribution == NETWORK for one in outcome.scored):
        agreement = _mean(rows, "simplified", method, NETWORK, "agreement, rounded masks")
        located = f" and overlap the evidence by {overlaps[method, NETWORK]:.2f}" if (method, NETWORK) in overlaps else ""
        text = f"Masks that the small network predicts in one pass keep the baseline's class for {agreement:.1%} of test images{located}"
        found.append(Sentence("note", f"{text}."))
    return found


def _absence(outcome: Outcome, method: str) -> list[Sentence]:
    """Masks of images without the signal."""
    part = outcome.gallery["tune"]
    if part.truth is None or "reversed" not in outcome.data:
        return []
    kept = next(one for one in outcome.scored if (one.kind, one.part, one.model) == ("simplified", "test", method))
    overlap = next(one for one in outcome.scored if (one.part, one.model, one.attribution) == ("test", method, MASK) and one.kind == "maps")
    bare = overlap.values["IoU"].isnan()
    if not bool(bare.any()) or bool(bare.all()):
        return []
    sizes = kept.values["kept by rounded masks"]
    return [
        Sentence(
            "note",
            f"Masks keep {float(sizes[~bare].mean()):.2%} of test images with the signal and {float(sizes[bare].mean()):.2%} of those "
            "without: there the evidence is its absence, which no mask can show.",
        )
    ]


def _unread(outcome: Outcome) -> list[Sentence]:
    if not outcome.unread:
        return []
    first = ", ".join(outcome.unread[:3])
    return [Sentence("caution", f"{plural(len(outcome.unread), 'file')} could not be read and took no part; the first: {first}.")]


def _paper_names(rows: pl.DataFrame) -> list[str]:
    names = rows.filter((pl.col("kind") == "maps") & (pl.col("model") == BASELINE))["attribution"].unique(maintain_order=True)
    return [name for name in names if type(build(name, Explainer)).__name__ in PAPER_BASELINES]


def _values(part: pl.DataFrame, model: str, attribution: str) -> np.ndarray:
    rows = part.filter((pl.col("model") == model) & (pl.col("attribution") == attribution))
    found: np.ndarray = rows.sort("image", maintain_order=True)["value"].to_numpy()
    return found


def _mean(rows: pl.DataFrame, kind: str, model: str, attribution: str, measure: str, part: str = "test") -> float:
    """The mean of one measure, NaN where there is none."""
    wanted = {"kind": kind, "part": part, "model": model, "attribution": attribution, "measure": measure}
    values = rows.filter(*(pl.col(name) == value for name, value in wanted.items()))["value"].drop_nans()
    return float(values.mean()) if len(values) else np.nan  # type: ignore[arg-type]


def _share(rows: pl.DataFrame, kind: str, model: str, attribution: str, measure: str) -> Accuracy:
    wanted = {"kind": kind, "part": "test", "model": model, "attribution": attribution, "measure": measure}
    values = rows.filter(*(pl.col(name) == value for name, value in wanted.items()))["value"]
    return Accuracy.of(round(values.sum()), len(values))


def _means(rows: pl.DataFrame, kind: str, measure: str | None = None) -> dict[tuple[str, str], float]:
    """Means on test images by model and attribution, or by model and measure where no measure is named."""
    part = rows.filter((pl.col("kind") == kind) & (pl.col("part") == "test"))
    if measure is not None:
        part = part.filter(pl.col("measure") == measure)
    by = "measure" if measure is None else "attribution"
    means = part.drop_nans("value").group_by("model", by, maintain_order=True).agg(pl.col("value").mean())
    return {(str(model), str(name)): float(value) for model, name, value in means.iter_rows()}


def _interval(one: Interval) -> str:
    return f"{one.mean:.2f} ({one.low:.2f} to {one.high:.2f})"


def _listed(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
