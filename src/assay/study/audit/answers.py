"""From the scores of maps and their nulls to answers: which measures tell anything, which questions an explainer passes, whom to trust."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import polars as pl

from assay.stats.intervals import LEVEL, Interval, ratio
from assay.stats.tests import Above, holm, images_needed, not_worse, stepped
from assay.study.audit.nulls import ELSEWHERE, OWN, POSITIVE_NAME, TRUTH
from assay.study.audit.questions.held import QUESTIONS, WAYS, HeldScores, Rated
from assay.study.audit.questions.strength import Strength, strength

__all__ = ["SMALLEST", "Answers", "QuestionStatus", "answer"]

QuestionStatus = Literal["yes", "no", "undecided", "open"]

SMALLEST = 0.2
"""The smallest effect that counts, unless the user says otherwise: a mean paired difference of that many standard deviations."""
_FLAT = 0.01
"""An image on which all maps score the same within this share tells nothing."""
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


@dataclass(frozen=True, eq=False)
class Answers:
    """What the questions come to.

    Attributes:
        table: explainer, question, measure, difference (own less null, positive being better), low, high (corrected interval), effect
            (in standard deviations), p (one-sided, corrected), holds (empty: undecided or open).
        trusted: Explainers that pass every question.
        recommended: The trusted explainer chosen on one half of the images and confirmed on the other, or None.
        together: p of passing every question at once, corrected for the number of explainers, of those that could.
        silent: Measures that tell nothing on these images.
        faint: Measures that tell something, but too little for these images to show that a map as good as the control passes.
        weak: Live measures that are not asked a question, since the control itself would not be shown to pass it, by question.
        alive: Measures that tell enough; they are asked.
        blind: Live measures that would not notice a map whose signs are flipped.
        needed: Images that would decide what is undecided, by explainer; None where no number would.
        standing: Where each explainer's mean lies from its own map elsewhere (0) to the positive control (1), by (explainer, measure).
        stands: The same with 95 % intervals.
        best: Explainers not shown to be worse than the best by each measure.
        saturated: Images on which no map moves a measure, by measure.
        faithful: Measures of faithfulness among those that answer questions.
        images: Images that were held against nulls.
        tests: How many claims, each that an explainer passes every question, the correction is for.
    """

    table: pl.DataFrame
    trusted: tuple[str, ...] = ()
    recommended: str | None = None
    together: Mapping[str, float] = field(default_factory=dict)
    silent: tuple[str, ...] = ()
    faint: tuple[str, ...] = ()
    weak: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
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
        """The live measures that a question is asked of; see `Strength`."""
        weak = {name: dict.fromkeys(own) for name, own in self.weak.items()}
        return Strength(alive=self.alive, blind=self.blind, weak=weak, faithful=self.faithful).asked_of(question)

    def status(self, explainer: str, question: str) -> QuestionStatus:
        """What the measures that answer a question say of it: more than the image is asked of any, the others of all."""
        own = self.table.filter((pl.col("explainer") == explainer) & (pl.col("question") == question))
        own = own.filter(pl.col("measure").is_in(self.asked_of(question)))
        last = question == QUESTIONS[-1]
        holds, p = own["holds"].to_list(), own["p"]
        if not holds and (self.faint or self.weak.get(question)):
            return "undecided"
        if not holds or (p.is_nan().all() if last else p.is_nan().any()):
            return "open"
        if any(one is True for one in holds) if last else all(one is True for one in holds):
            return "yes"
        return "no" if (all(one is False for one in holds) if last else any(one is False for one in holds)) else "undecided"

    @property
    def seeing(self) -> tuple[str, ...]:
        """Live measures of faithfulness that notice flipped signs."""
        return self.asked_of(QUESTIONS[-1])


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
    scores = HeldScores(values * signs, {item: at for at, item in enumerate(items)})
    told = strength(scores, measures, smallest, sum(contestants.values()))
    saturated = {one.name: _saturated(values[:, :, at]) for at, one in enumerate(measures) if one.category == "faithfulness"}
    asked = [(name, question, at) for name in contestants for question in QUESTIONS for at in range(len(measures))]
    counted = {question: told.asked_of(question) for question in QUESTIONS}
    tests = [scores.hardest(name, question, at, measures[at].name in told.blind) for name, question, at in asked]
    named = [(name, question, measures[at].name) for name, question, at in asked]
    rows, together = _tested(named, tests, told, contestants, smallest)
    table = pl.DataFrame([row for row, _ in rows], schema=_SCHEMA)
    columns = [at for at, one in enumerate(measures) if one.name in told.alive]
    stands = {(name, measures[at].name): _standing(scores, name, at) for name in contestants for at in columns}
    claims, own = len(together), np.stack([scores.values[:, scores.places[name, OWN]] for name in contestants], 1)
    found = Answers(
        table,
        together=together,
        silent=told.silent,
        faint=tuple(told.faint),
        weak={question: tuple(own) for question, own in told.weak.items()},
        alive=told.alive,
        blind=told.blind,
        needed={
            name: _needed([one for one in rows if one[0]["explainer"] == name], claims or len(contestants), told, smallest)
            for name in contestants
        },
        standing={key: one.mean for key, one in stands.items()},
        stands=stands,
        best={one.name: tuple(list(contestants)[place] for place in not_worse(own[:, :, at])) for at, one in enumerate(measures)},
        saturated=saturated,
        faithful=told.faithful,
        images=images,
        tests=claims,
    )
    trusted = tuple(name for name, p in together.items() if p < LEVEL and all(found.status(name, one) == "yes" for one in QUESTIONS))
    places = {question: [at for at in columns if measures[at].name in counted[question]] for question in QUESTIONS}
    return replace(found, trusted=trusted, recommended=_recommended(scores, trusted, places, [one.name in told.blind for one in measures]))


def _tested(
    asked: Sequence[tuple[str, str, str]],
    tests: Sequence[Above],
    told: Strength,
    contestants: Mapping[str, bool],
    smallest: float,
) -> tuple[list[tuple[dict[str, object], Above]], dict[str, float]]:
    """A row for each question by each measure, and each explainer's p of passing all questions at once.

    That an explainer is trusted is one claim: it passes every question, the first three by every measure. It is as weak as its weakest
    test, so that each may be held at the claim's own level (an intersection-union test); the fourth question asks any measure, in either
    of two ways, so that its p is multiplied by their number. Holm's procedure holds the claims of several explainers together, and
    likewise what is said of one question with the same question of the others, whose p are never above those of the whole claim.
    Explainers that cannot be trusted (controls, any without a difference or with an open question) make no such claim: their p are
    multiplied by the number of explainers. Those by silent measures are shown as they are.

    Args:
        asked: (explainer, question, measure) of each test.
        tests: What each found.
        told: What measures tell.
        contestants: The explainers, and whether each may be trusted at all.
        smallest: The smallest effect that counts.

    Source: Berger, Technometrics 1982 (intersection-union tests).
    """
    places: dict[tuple[str, str], list[int]] = {}
    for at, (name, question, measure) in enumerate(asked):
        if measure in told.asked_of(question):
            places.setdefault((name, question), []).append(at)
    any_of = {claim: claim[1] == QUESTIONS[-1] for claim in places}
    weight = {claim: WAYS * len(rows) if any_of[claim] else 1 for claim, rows in places.items()}
    p = {claim: weight[claim] * (min if any_of[claim] else max)(tests[at].decided for at in rows) for claim, rows in places.items()}
    may = [name for name, one in contestants.items() if one]
    whole = {name: max(p.get((name, one), math.inf) for one in QUESTIONS) for name in may}
    whole = {name: min(1.0, one) for name, one in whole.items() if math.isfinite(one)}
    factor, least = np.ones(len(asked)), np.zeros(len(asked))
    for question in QUESTIONS:
        steps = stepped({name: p[name, question] for name in whole})
        for (name, other), own in places.items():
            if other == question:
                many, least[own] = steps.get(name, (max(len(may), 1), 0.0))
                factor[own] = many * weight[name, question]
    together = dict(zip(whole, holm(list(whole.values())), strict=True))
    rows: list[tuple[dict[str, object], Above]] = []
    for at, (name, question, measure) in enumerate(asked):
        one, low_high = tests[at], tests[at].moments.interval(2 * LEVEL / factor[at])
        corrected = float(np.maximum(np.minimum(1.0, one.p * factor[at]), least[at]))
        effect = one.effect
        holds = _holds(corrected, effect, one, smallest) if measure in told.alive and measure not in told.weak.get(question, {}) else None
        cells = (
            name,
            question,
            measure,
            float(one.moments.mean[0]),
            float(low_high[0][0]),
            float(low_high[1][0]),
            effect,
            corrected,
            holds,
        )
        rows.append((dict(zip(_SCHEMA, cells, strict=True)), one))
    return rows, together


def _holds(p: float, effect: float, found: Above, smallest: float) -> bool | None:
    """Whether a question is passed; None where there are too few images to say, or none at all."""
    if found.count < 2:
        return None
    if found.exact:
        return False
    if p < LEVEL and effect >= smallest:
        return True
    return None if found.count < _FEW or effect >= smallest else False


def _needed(rows: Sequence[tuple[Mapping[str, object], Above]], claims: int, told: Strength, smallest: float) -> int | None:
    """Images that would decide the undecided questions of an explainer, by measures that tell enough then; None where no number would.

    What is smaller than counts is not passed with any number, and is said not to hold from `_FEW` images on.
    """
    many: list[int | None] = []
    for question in QUESTIONS:
        hoped = told.hoped(question)
        asked = tuple(hoped) or told.asked_of(question)
        own = [(row["holds"], one) for row, one in rows if row["question"] == question and row["measure"] in asked]
        last = question == QUESTIONS[-1]
        level = LEVEL / max(claims, 1) / (WAYS * max(len(own), 1) if last else 1)
        effects = [one.effect for holds, one in own if holds is None and one.count > 1]
        each = [images_needed(effect, level) if effect >= smallest else _FEW for effect in effects]
        if hoped:
            many.append(min((one for one in hoped.values() if one is not None), default=None))
        if not last:
            many += each
        elif each and not any(holds for holds, _ in own):
            # One of these measures is enough.
            many.append(min((one for one in each if one is not None), default=None))
    return None if not many or None in many else max(one for one in many if one is not None)


def _standing(scores: HeldScores, name: str, at: int) -> Interval:
    """Mean own score, from the same maps elsewhere (0) to the positive control (1)."""
    control = TRUTH if (TRUTH, OWN) in scores.places else POSITIVE_NAME
    null = scores.of(name, ELSEWHERE, at)
    with np.errstate(invalid="ignore"):
        return ratio(scores.of(name, OWN, at) - null, scores.of(control, OWN, at) - null)


def _recommended(scores: HeldScores, trusted: Sequence[str], places: Mapping[str, Sequence[int]], blind: Sequence[bool]) -> str | None:
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
        p = [checking.hardest(best, question, at, blind[at]).p for at in places[question]]
        # All must hold, so that each may be tested at the level itself; more than the image by one of them, so that these are corrected.
        if not (WAYS * np.nanmin(holm(p)) < LEVEL if question == QUESTIONS[-1] else max(p) < LEVEL):
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
