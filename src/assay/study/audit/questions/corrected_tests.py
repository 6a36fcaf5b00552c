"""Which questions each explainer passes, and whom to trust: the tests of one verdict, corrected together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from assay.stats.intervals import LEVEL
from assay.stats.tests import Above, holm, images_needed, stepped
from assay.study.audit.questions.held import QUESTIONS, WAYS, Hardest, HeldScores, Rated
from assay.study.audit.questions.strength import Strength, strength

__all__ = ["Claims", "Test", "questioned"]

_FEW = 12
"""With fewer images nothing is said to fail, unless there is no difference at all."""


@dataclass(frozen=True, eq=False)
class Test:
    """One question asked of one explainer by one measure.

    Attributes:
        explainer: Its name.
        question: One of `QUESTIONS`.
        measure: The measure's name.
        hardest: The hardest of what the explainer's maps are held against.
        factor: What p is multiplied with.
        p: Of the map being no better than that, corrected.
        live: Whether the measure tells enough here for this question.
        smallest: The smallest effect that counts.
        others: Tests any of which could fail the question of any explainer, which a failure is corrected for.
    """

    explainer: str
    question: str
    measure: str
    hardest: Hardest
    factor: float
    p: float
    live: bool
    smallest: float
    others: int

    @property
    def found(self) -> Above:
        """The test before its correction."""
        return self.hardest.best

    @property
    def passes(self) -> bool:
        """Whether the map is shown to be better, by an effect that counts."""
        return self.live and self.p < LEVEL and self.found.effect >= self.smallest

    @property
    def holds(self) -> bool | None:
        """Whether the question is passed; False where it is shown to fail, None where neither is shown, or the measure is not live.

        It fails where there is no difference at all, or where the difference, in whichever way it is taken, is shown to be below the
        smallest effect that counts.
        """
        if not self.live or self.found.count < 2:
            return None
        if self.found.exact:
            return False
        if self.passes:
            return True
        short = self.found.count >= _FEW and all(one.p * self.others < LEVEL for one in self._short())
        return False if short else None

    def needed(self, explainers: int, either: int) -> int | None:
        """Images that would decide: that it passes, or where it falls short so far, that it fails; None where no number would.

        Args:
            explainers: How many the correction is for.
            either: Measures one of which is enough; 0 where all must pass.
        """
        if self.found.count < 2:
            return None
        if self.found.effect >= self.smallest:
            return images_needed(self.found.effect, LEVEL / max(explainers, 1) / (WAYS * either if either else 1))
        each = [images_needed(one.effect, LEVEL / self.others) for one in self._short()]
        return None if None in each else max(_FEW, *(one for one in each if one is not None))

    def _short(self) -> list[Above]:
        return [one.short_of(self.smallest) for one in self.hardest.ways]


@dataclass(frozen=True, eq=False)
class Claims:
    """All tests of one verdict.

    Attributes:
        told: What the measures tell on these images.
        tests: Explainer by explainer, question by question, measure by measure.
        together: p of passing every question at once, corrected for the number of explainers, of those that could.
        trusted: Explainers that pass every question.
    """

    told: Strength
    tests: Sequence[Test]
    together: Mapping[str, float]
    trusted: tuple[str, ...]


def questioned(scores: HeldScores, measures: Mapping[int, Rated], contestants: Mapping[str, bool], smallest: float) -> Claims:
    """Ask every question of every explainer by every measure.

    That an explainer is trusted is one claim: it passes every question, the first three by every measure. It is as weak as its weakest
    test, so that each may be held at the claim's own level (an intersection-union test); the fourth question asks any measure, in either
    of two ways, so that its p is multiplied by their number. Holm's procedure holds the claims of several explainers together, and
    likewise what is said of one question with the same question of the others, whose p are never above those of the whole claim.
    Explainers that cannot be trusted (controls, any without a difference or with an open question) make no such claim: their p are
    multiplied by the number of explainers. Those by silent measures are shown as they are.

    That a map fails a question is another kind of claim: any measure, and anything that it is held against, may fail any explainer, so
    that its p is multiplied by the number of all these; the fourth question is failed where every measure fails it.

    Args:
        scores: All scores; what was tested before, with other measures beside these, is not tested again.
        measures: Those that are asked, by their place on the scores' last axis.
        contestants: The explainers, and whether each may be trusted at all.
        smallest: The smallest effect that counts.

    Source: Berger, Technometrics 1982 (intersection-union tests).
    """
    told = strength(scores, measures, smallest, sum(contestants.values()))
    asked = {question: frozenset(told.asked_of(question)) for question in QUESTIONS}
    named = [(name, question, at) for name in contestants for question in QUESTIONS for at in measures]
    found = [scores.hardest(name, question, at, measures[at].name in told.blind) for name, question, at in named]
    places: dict[tuple[str, str], list[int]] = {}
    for row, (name, question, at) in enumerate(named):
        if measures[at].name in asked[question]:
            places.setdefault((name, question), []).append(row)
    last = QUESTIONS[-1]
    weight = {claim: WAYS * len(rows) if claim[1] == last else 1 for claim, rows in places.items()}
    one_of = {claim: min if claim[1] == last else max for claim in places}
    p = {claim: weight[claim] * one_of[claim](found[row].best.decided for row in rows) for claim, rows in places.items()}
    may = [name for name, one in contestants.items() if one]
    whole = {name: max(p.get((name, one), math.inf) for one in QUESTIONS) for name in may}
    whole = {name: min(1.0, one) for name, one in whole.items() if math.isfinite(one)}
    factor, least = [1.0] * len(named), [0.0] * len(named)
    for question in QUESTIONS:
        steps = stepped({name: p[name, question] for name in whole})
        for name in contestants:
            many, low = steps.get(name, (max(len(may), 1), 0.0))
            for row in places.get((name, question), ()):
                factor[row], least[row] = many * weight[name, question], low
    together = dict(zip(whole, holm(list(whole.values())), strict=True))
    tests = []
    for row, (name, question, at) in enumerate(named):
        measure, one = measures[at].name, found[row]
        # NaN, of what could not be scored, stays NaN.
        corrected = one.best.p if math.isnan(one.best.p) else max(min(1.0, one.best.p * factor[row]), least[row])
        live = measure in told.alive and measure not in told.weak.get(question, {})
        others = len(contestants) * one.among * (1 if question == last else max(len(asked[question]), 1))
        tests.append(Test(name, question, measure, one, factor[row], corrected, live, smallest, others))

    def passed(name: str, question: str) -> bool:
        own = [tests[row].passes for row in places.get((name, question), ())]
        return any(own) if question == last else bool(own) and all(own)

    trusted = tuple(name for name, one in together.items() if one < LEVEL and all(passed(name, question) for question in QUESTIONS))
    return Claims(told, tests, together, trusted)
