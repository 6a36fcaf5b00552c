"""From the scores of maps and their nulls to answers: which measures tell anything, which questions an explainer passes, whom to trust."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import polars as pl

from assay.stats.intervals import LEVEL, Interval, ratio
from assay.stats.shape import even_rows
from assay.stats.tests import holm, not_worse
from assay.study.audit.nulls import ELSEWHERE, OWN, POSITIVE_NAME, TRUTH
from assay.study.audit.questions.corrected_tests import Claims, Test, questioned
from assay.study.audit.questions.held import QUESTIONS, WAYS, HeldScores, Rated
from assay.study.audit.questions.strength import Strength

__all__ = ["SMALLEST", "Answers", "QuestionStatus", "answer"]

QuestionStatus = Literal["passes", "fails", "undecided", "open"]
"""Shown to pass; shown to fail; neither; or not to be asked, since there is nothing to hold the maps against."""

SMALLEST = 0.2
"""The smallest effect that counts, unless the user says otherwise: a mean paired difference of that many standard deviations."""
_WORDS: Mapping[bool | None, QuestionStatus] = {True: "passes", False: "fails", None: "undecided"}
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
    "status": pl.String(),
    "needed": pl.Int64(),
}


@dataclass(frozen=True, eq=False)
class Answers:
    """What the questions come to.

    Attributes:
        table: explainer, question, measure, difference (own less null, positive being better), low, high (its interval; each end is
            corrected, low for passing and high for failing), effect (in standard deviations), p (one-sided, corrected), holds (empty:
            neither is shown, or not asked), status (the same in a word: passes, fails, undecided, open, or not asked), needed (images
            that would do where it is undecided).
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
        stands: The same with 95% intervals.
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
        own, last = self.rows(explainer, question), question == QUESTIONS[-1]
        holds, p = own["holds"].to_list(), own["p"]
        if not holds and (self.faint or self.weak.get(question)):
            return "undecided"
        if not holds or (p.is_nan().all() if last else p.is_nan().any()):
            return "open"
        if any(one is True for one in holds) if last else all(one is True for one in holds):
            return "passes"
        return "fails" if (all(one is False for one in holds) if last else any(one is False for one in holds)) else "undecided"

    def rows(self, explainer: str, question: str) -> pl.DataFrame:
        """The table's rows of one question of one explainer, by the measures that it is asked of."""
        own = self.table.filter((pl.col("explainer") == explainer) & (pl.col("question") == question))
        return own.filter(pl.col("measure").is_in(self.asked_of(question)))

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
    scores = HeldScores.of_measures(values, items, measures)
    made = questioned(scores, dict(enumerate(measures)), contestants, smallest)
    told, many = made.told, len(made.together) or len(contestants)
    columns = [at for at, one in enumerate(measures) if one.name in told.alive]
    stands = {(name, measures[at].name): _standing(scores, name, at) for name in contestants for at in columns}
    own = np.stack([scores.values[:, scores.places[name, OWN]] for name in contestants], 1)
    places = {question: [at for at in columns if measures[at].name in told.asked_of(question)] for question in QUESTIONS}
    return Answers(
        pl.DataFrame([_row(one, made, many) for one in made.tests], schema=_SCHEMA),
        trusted=made.trusted,
        recommended=_recommended(scores, made.trusted, places, [one.name in told.blind for one in measures]),
        together=made.together,
        silent=told.silent,
        faint=tuple(told.faint),
        weak={question: tuple(names) for question, names in told.weak.items()},
        alive=told.alive,
        blind=told.blind,
        needed={name: _needed(name, made, many) for name in contestants},
        standing={key: one.mean for key, one in stands.items()},
        stands=stands,
        best={one.name: tuple(list(contestants)[place] for place in not_worse(own[:, :, at])) for at, one in enumerate(measures)},
        saturated={one.name: even_rows(values[:, :, at]) for at, one in enumerate(measures) if one.category == "faithfulness"},
        faithful=told.faithful,
        images=images,
        tests=len(made.together),
    )


def _row(one: Test, made: Claims, many: int) -> dict[str, object]:
    """A test as a row of the answers' table."""
    found, holds = one.found, one.holds
    status = "not asked" if not one.live else "open" if math.isnan(found.p) else _WORDS[holds]
    # Each end is corrected for what it decides: that a question is passed, or failed.
    low, high = (found.moments.interval(2 * LEVEL / times)[end] for end, times in enumerate((one.factor, one.others)))
    either = len(made.told.asked_of(one.question)) if one.question == QUESTIONS[-1] else 0
    needed = one.needed(many, either) if status == "undecided" else None
    needed = None if needed is not None and needed <= found.count else needed  # A number that did not do says nothing.
    difference, ends = float(found.moments.mean[0]), (float(low[0]), float(high[0]))
    cells = (one.explainer, one.question, one.measure, difference, *ends, found.effect, one.p, holds, status, needed)
    return dict(zip(_SCHEMA, cells, strict=True))


def _needed(name: str, made: Claims, explainers: int) -> int | None:
    """Images that would decide the undecided questions of an explainer, by measures that tell enough then; None where no number would."""
    many: list[int | None] = []
    for question in QUESTIONS:
        hoped, last = made.told.hoped(question), question == QUESTIONS[-1]
        asked = tuple(hoped) or made.told.asked_of(question)
        own = [one for one in made.tests if (one.explainer, one.question) == (name, question) and one.measure in asked]
        if hoped:
            many.append(min((one for one in hoped.values() if one is not None), default=None))
        unsure = [one for one in own if one.holds is None and one.found.count > 1]
        each = [one.needed(explainers, len(own) if last else 0) for one in unsure]
        decided = any(one.holds if last else one.holds is False for one in own)
        if each and not decided:
            # One measure is enough for the last question.
            many += [min((one for one in each if one is not None), default=None)] if last else each
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
        p = [checking.hardest(best, question, at, blind[at]).best.p for at in places[question]]
        # All must hold, so that each may be tested at the level itself; more than the image by one of them, so that these are corrected.
        if not (WAYS * np.nanmin(holm(p)) < LEVEL if question == QUESTIONS[-1] else max(p) < LEVEL):
            return None
    return best
