"""From the scores of maps and their nulls to answers: which measures tell anything, which questions an explainer passes, whom to trust."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import polars as pl

from assay.stats.intervals import LEVEL, Interval, Moments, ratio
from assay.stats.tests import holm, images_needed, not_worse
from assay.study.audit.nulls import ANOTHER, ELSEWHERE, FLIPPED, LAST, OWN, RANDOM, TRUTH

__all__ = ["QUESTIONS", "SMALLEST", "Answers", "QuestionStatus", "Rated", "answer"]

QuestionStatus = Literal["yes", "no", "undecided", "open"]

QUESTIONS = ("where", "this image", "this model", "more than the image")
SMALLEST = 0.2
"""The smallest effect that counts, unless the user says otherwise: a mean paired difference of that many standard deviations."""
_FLAT = 0.01
"""An image on which all maps score the same within this share tells nothing."""
_SAME = 1e-7
"""Scores that differ by no more are the same but for rounding."""
_FEW = 12
"""With fewer images nothing is said not to hold, unless there is no difference at all."""
_SCHEMA: dict[str, pl.DataType] = {
    "explainer": pl.String(),
    "question": pl.String(),
    "measure": pl.String(),
    "difference": pl.Float64(),
    "low": pl.Float64(),
    "high": pl.Float64(),
    "effect": pl.Float64(),
    "p": pl.Float64(),
    "holds": pl.Boolean(),
}


@dataclass(frozen=True)
class Rated:
    """What answers need to know of a measure."""

    name: str
    higher_is_better: bool
    category: str
    needs_truth: bool


@dataclass(frozen=True, eq=False)
class Answers:
    """What the questions come to.

    Attributes:
        table: explainer, question, measure, difference (own less null, positive being better), low, high (corrected interval), effect
            (in standard deviations), p (one-sided, corrected), holds (empty: undecided or open).
        trusted: Explainers that pass every question.
        recommended: The trusted explainer chosen on one half of the images and confirmed on the other, or None.
        silent: Measures that tell nothing on these images.
        alive: Measures that do.
        blind: Live measures that would not notice a map whose signs are flipped.
        needed: Images that would decide what is undecided, by explainer; None where no number would.
        standing: Where each explainer's mean lies from its own map elsewhere (0) to the positive control (1), by (explainer, measure).
        stands: The same with 95 % intervals.
        best: Explainers not shown to be worse than the best by each measure.
        saturated: Images on which no map moves a measure, by measure.
        faithful: Measures of faithfulness among those that answer questions.
        images: Images that were held against nulls.
        tests: How many claims, each that an explainer passes a question, the correction is for.
    """

    table: pl.DataFrame
    trusted: tuple[str, ...] = ()
    recommended: str | None = None
    silent: tuple[str, ...] = ()
    alive: tuple[str, ...] = ()
    blind: tuple[str, ...] = ()
    needed: Mapping[str, int | None] = field(default_factory=dict)
    standing: Mapping[tuple[str, str], float] = field(default_factory=dict)
    stands: Mapping[tuple[str, str], Interval] = field(default_factory=dict)
    best: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    saturated: Mapping[str, int] = field(default_factory=dict)
    faithful: tuple[str, ...] = ()
    images: int = 0
    tests: int = 0

    def asked_of(self, question: str) -> tuple[str, ...]:
        """The live measures that answer a question; see `_asked_of`."""
        return _asked_of(question, self.alive, self.faithful, self.blind)

    def status(self, explainer: str, question: str) -> QuestionStatus:
        """What the measures that answer a question say of it: more than the image is asked of any, the others of all."""
        own = self.table.filter((pl.col("explainer") == explainer) & (pl.col("question") == question))
        own = own.filter(pl.col("measure").is_in(self.asked_of(question)))
        last = question == QUESTIONS[-1]
        holds, p = own["holds"].to_list(), own["p"]
        if not holds or (p.is_nan().all() if last else p.is_nan().any()):
            return "open"
        if any(one is True for one in holds) if last else all(one is True for one in holds):
            return "yes"
        return "no" if (all(one is False for one in holds) if last else any(one is False for one in holds)) else "undecided"

    @property
    def seeing(self) -> tuple[str, ...]:
        """Live measures of faithfulness that notice flipped signs."""
        return self.asked_of(QUESTIONS[-1])


def _asked_of(question: str, alive: Sequence[str], faithful: Sequence[str], blind: Sequence[str]) -> tuple[str, ...]:
    """The live measures that answer a question.

    Known evidence says where a map should lie whatever the model is, so that it is not asked whether a map is of this model; and what
    would not notice flipped signs is not asked whether a map says more than the image.
    """
    own = [one for one in alive if one in faithful or question in QUESTIONS[:2]]
    return tuple(one for one in own if one not in blind or question != QUESTIONS[-1])


def answer(
    values: np.ndarray,
    items: Sequence[tuple[str, str]],
    measures: Sequence[Rated],
    contestants: Mapping[str, bool],
    smallest: float = SMALLEST,
) -> Answers:
    """Answers from scores.

    Args:
        values: (images, items, measures); NaN where there is nothing to score.
        items: As `assay.study.audit.nulls.Nulls.items`.
        measures: What the last axis is.
        contestants: The explainers, and whether each may be trusted at all (controls never may).
        smallest: The smallest effect that counts.
    """
    images = len(values)
    if not images or not measures or not contestants:
        return Answers(pl.DataFrame(schema=_SCHEMA))
    signs = np.array([1.0 if one.higher_is_better else -1.0 for one in measures])
    scores = _Scores(values * signs, {item: at for at, item in enumerate(items)})
    alive, silent, blind = _alive(scores, measures, smallest)
    saturated = {one.name: _saturated(values[:, :, at]) for at, one in enumerate(measures) if one.category == "faithfulness"}
    asked = [(name, question, at) for name in contestants for question in QUESTIONS for at in range(len(measures))]
    faithful = tuple(one.name for one in measures if one.category == "faithfulness")
    counted = {question: _asked_of(question, alive, faithful, blind) for question in QUESTIONS}
    tests = [_hardest(scores.against(name, question, at, measures[at].name in blind)) for name, question, at in asked]
    named = [(name, question, measures[at].name) for name, question, at in asked]
    rows, claims = _tested(named, tests, counted, alive, contestants, smallest)
    table = pl.DataFrame([row for row, _ in rows], schema=_SCHEMA)
    columns = [at for at, one in enumerate(measures) if one.name in alive]
    stands = {(name, measures[at].name): _standing(scores, name, at) for name in contestants for at in columns}
    found = Answers(
        table,
        silent=tuple(silent),
        alive=tuple(alive),
        blind=tuple(blind),
        needed={name: _needed([one for one in rows if one[0]["explainer"] == name], claims, counted) for name in contestants},
        standing={key: one.mean for key, one in stands.items()},
        stands=stands,
        best={measures[at].name: _best(scores, list(contestants), at) for at in range(len(measures))},
        saturated=saturated,
        faithful=faithful,
        images=images,
        tests=claims,
    )
    passed = (name for name, may in contestants.items() if may and all(found.status(name, one) == "yes" for one in QUESTIONS))
    trusted = tuple(passed)
    places = {question: [at for at in columns if measures[at].name in counted[question]] for question in QUESTIONS}
    return replace(found, trusted=trusted, recommended=_recommended(scores, trusted, places, [one.name in blind for one in measures]))


@dataclass(frozen=True, eq=False)
class _Scores:
    """Scores (images, items, measures), higher being better, by item."""

    values: np.ndarray
    places: Mapping[tuple[str, str], int]

    def of(self, name: str, kind: str, at: int) -> np.ndarray:
        found: np.ndarray = self.values[:, self.places[name, kind], at]
        return found

    def against(self, name: str, question: str, at: int, blind: bool) -> list[np.ndarray]:
        """Own less each of what the question holds it against; all must be beaten."""
        own = self.of(name, OWN, at)
        with np.errstate(invalid="ignore"):  # infinity less infinity
            if question == "more than the image":
                return [own - self.values[:, place, at] for (other, _), place in self.places.items() if other.startswith("control ")]
            kinds = {"where": [ELSEWHERE] if blind else [ELSEWHERE, FLIPPED], "this image": [ANOTHER], "this model": [RANDOM, LAST]}[
                question
            ]
            return [own - self.of(name, kind, at) for kind in kinds]

    def only(self, rows: np.ndarray) -> _Scores:
        return _Scores(self.values[rows], self.places)


@dataclass(frozen=True)
class _Found:
    """The hardest of a question's tests: moments of one column, and its one-sided p."""

    moments: Moments
    p: float
    count: int
    exact: bool

    @property
    def decided(self) -> float:
        """p; infinite where there is none, or no difference at all."""
        return math.inf if self.exact or math.isnan(self.p) else self.p


def _hardest(differences: Sequence[np.ndarray]) -> _Found:
    found = []
    for one in differences:
        moments, known = Moments.of(one[:, None]), one[np.isfinite(one)]
        same = len(known) > 1 and bool((np.abs(known) <= _SAME).all())
        found.append(_Found(moments, 1.0 if same else float(moments.above()[0]), len(known), same))
    return max(found, key=lambda one: (math.isnan(one.p), one.p, -float(np.nan_to_num(one.moments.effect[0]))))


def _alive(scores: _Scores, measures: Sequence[Rated], smallest: float) -> tuple[list[str], list[str], list[str]]:
    """Measures that tell a control from itself elsewhere, those that do not, and of the live those that are blind to signs.

    A measure of which too few images are there to tell is in none of them.
    """
    tests: list[tuple[int, _Found]] = []
    for at, one in enumerate(measures):
        pairs = [] if one.needs_truth else ["positive control"]
        pairs += [TRUTH] if (TRUTH, OWN) in scores.places else []
        tests += [(at, _hardest([scores.of(name, OWN, at) - scores.of(name, ELSEWHERE, at)])) for name in pairs]
    corrected = holm([found.p for _, found in tests])
    counted: dict[int, int] = {}
    told: set[int] = set()
    for (at, found), p in zip(tests, corrected, strict=True):
        counted[at] = max(counted.get(at, 0), found.count)
        if p < LEVEL and found.moments.effect[0] >= smallest:
            told.add(at)
    alive = [one.name for at, one in enumerate(measures) if at in told]
    enough = [at for at in counted if 0.5 ** counted[at] * len(tests) < LEVEL]
    silent = [measures[at].name for at in enough if at not in told]
    blind = []
    for at, one in enumerate(measures):
        seen = _hardest([scores.of("positive control", OWN, at) - scores.of("positive control", FLIPPED, at)])
        if one.name in alive and not (seen.p < LEVEL / len(measures) and seen.moments.effect[0] >= smallest):
            blind.append(one.name)
    return alive, silent, blind


def _tested(
    asked: Sequence[tuple[str, str, str]],
    tests: Sequence[_Found],
    counted: Mapping[str, Sequence[str]],
    alive: Sequence[str],
    contestants: Mapping[str, bool],
    smallest: float,
) -> tuple[list[tuple[dict[str, object], _Found]], int]:
    """A row for each question by each measure, and how many claims the correction is for.

    A claim is that an explainer passes a question. The first three ask all their measures, so that a claim is as weak as its weakest test
    and each may be held at the claim's own level (an intersection-union test); the last asks any, at the level's share. Holm's procedure
    holds the claims together: those of explainers that may be trusted, save where there is no difference at all, which no test could
    find. What no claim rests on is multiplied by their number, of live measures; of silent ones it is shown as it is.

    Args:
        asked: (explainer, question, measure) of each test.
        tests: What each found.
        counted: The measures that answer each question.
        alive: Live measures.
        contestants: The explainers, and whether each may be trusted at all.
        smallest: The smallest effect that counts.

    Source: Berger, Technometrics 1982 (intersection-union tests).
    """
    places: dict[tuple[str, str], list[int]] = {}
    for at, (name, question, measure) in enumerate(asked):
        if contestants[name] and measure in counted[question]:
            places.setdefault((name, question), []).append(at)
    any_of = {claim: claim[1] == QUESTIONS[-1] for claim in places}
    weight = {claim: len(rows) if any_of[claim] else 1 for claim, rows in places.items()}
    p = {claim: (min if any_of[claim] else max)(tests[at].decided for at in rows) for claim, rows in places.items()}
    # What could not be asked, or has no difference, can be claimed by no test.
    kept = [claim for claim in places if p[claim] <= 1]
    kept.sort(key=lambda claim: weight[claim] * p[claim])
    factor, least = np.where([one in alive for _, _, one in asked], float(max(len(kept), 1)), 1.0), np.zeros(len(asked))
    before = 0.0
    for place, claim in enumerate(kept):
        factor[places[claim]], least[places[claim]] = (len(kept) - place) * weight[claim], before
        before = max(before, min(1.0, p[claim] * (len(kept) - place) * weight[claim]))  # As in Holm's procedure, p never fall.
    rows = []
    for at, (name, question, measure) in enumerate(asked):
        one, low_high = tests[at], tests[at].moments.interval(2 * LEVEL / factor[at])
        corrected = float(np.maximum(np.minimum(1.0, one.p * factor[at]), least[at]))
        effect = float(one.moments.effect[0])
        row: dict[str, object] = {"explainer": name, "question": question, "measure": measure, "difference": float(one.moments.mean[0])}
        row |= {"low": float(low_high[0][0]), "high": float(low_high[1][0]), "effect": effect, "p": corrected}
        rows.append((row | {"holds": _holds(corrected, effect, one, smallest) if measure in alive else None}, one))
    return rows, len(kept)


def _holds(p: float, effect: float, found: _Found, smallest: float) -> bool | None:
    """Whether a question is passed; None where there are too few images to say, or none at all."""
    if found.count < 2:
        return None
    if found.exact:
        return False
    if p < LEVEL and effect >= smallest:
        return True
    return None if found.count < _FEW or effect >= smallest else False


def _needed(rows: Sequence[tuple[Mapping[str, object], _Found]], claims: int, counted: Mapping[str, Sequence[str]]) -> int | None:
    """Images that would decide the undecided questions of an explainer, as far as they would; None where there is no such number."""
    many: list[int | None] = []
    for question in QUESTIONS:
        own = [(row["holds"], one) for row, one in rows if row["question"] == question and row["measure"] in counted[question]]
        last = question == QUESTIONS[-1]
        level = LEVEL / max(claims, 1) / (max(len(own), 1) if last else 1)
        each = [images_needed(float(one.moments.effect[0]), level) for holds, one in own if holds is None and one.count > 1]
        if not last:
            many += each
        elif each and not any(holds for holds, _ in own):
            # One of these measures is enough.
            many.append(min((one for one in each if one is not None), default=None))
    return None if not many or None in many else max(one for one in many if one is not None)


def _best(scores: _Scores, names: Sequence[str], at: int) -> tuple[str, ...]:
    return tuple(names[place] for place in not_worse(np.stack([scores.of(name, OWN, at) for name in names], 1)))


def _standing(scores: _Scores, name: str, at: int) -> Interval:
    """Mean own score, from the same maps elsewhere (0) to the positive control (1)."""
    control = TRUTH if (TRUTH, OWN) in scores.places else "positive control"
    null = scores.of(name, ELSEWHERE, at)
    with np.errstate(invalid="ignore"):
        return ratio(scores.of(name, OWN, at) - null, scores.of(control, OWN, at) - null)


def _recommended(scores: _Scores, trusted: Sequence[str], places: Mapping[str, Sequence[int]], blind: Sequence[bool]) -> str | None:
    """Of the trusted, the one of the best mean standing on every other image, where the rest of the images bear it out.

    Args:
        scores: All scores.
        trusted: The trusted explainers.
        places: The measures that answer each question.
        blind: Which measures would not notice flipped signs.
    """
    if not trusted:
        return None
    even = np.arange(len(scores.values)) % 2 == 0
    choosing, checking = scores.only(even), scores.only(~even)

    def stand(name: str) -> float:
        return float(np.nan_to_num(np.mean([_standing(choosing, name, at).mean for at in places[QUESTIONS[-1]]]), nan=-math.inf))

    best = max(trusted, key=stand)
    for question in QUESTIONS:
        p = [_hardest(checking.against(best, question, at, blind[at])).p for at in places[question]]
        # All must hold, so that each may be tested at the level itself; more than the image by one of them, so that these are corrected.
        if not (np.nanmin(holm(p)) < LEVEL if question == QUESTIONS[-1] else max(p) < LEVEL):
            return None
    return best


def _saturated(values: np.ndarray) -> int:
    """Images on which all maps score the same."""
    known = np.isfinite(values)
    rows = values[known.sum(1) > 1]
    if not len(rows):
        return 0
    span, size = np.nanmax(rows, 1) - np.nanmin(rows, 1), np.nanmax(np.abs(rows), 1)
    return int((span <= _FLAT * size).sum())
