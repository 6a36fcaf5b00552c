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
from assay.study.audit.nulls import ANOTHER, CONTROL_NAMES, ELSEWHERE, FLIPPED, LAST, OWN, POSITIVE_NAME, RANDOM, TRUTH

__all__ = ["QUESTIONS", "SMALLEST", "Answers", "QuestionStatus", "Rated", "answer"]

QuestionStatus = Literal["yes", "no", "undecided", "open"]

QUESTIONS = ("where", "this image", "this model", "more than the image")
SMALLEST = 0.2
"""The smallest effect that counts, unless the user says otherwise: a mean paired difference of that many standard deviations."""
_FLAT = 0.01
"""An image on which all maps score the same within this share tells nothing."""
_WAYS = 2
"""In which a control may be beaten: by the score, or by what the place adds to it."""
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
        together: p of passing every question at once, corrected for the number of explainers, of those that could.
        silent: Measures that tell nothing on these images.
        faint: Measures that tell something, but too little for these images to show that a map as good as the control passes.
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
        if not holds and self.faint:
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
    alive, silent, faint, blind = _alive(scores, measures, smallest, sum(contestants.values()))
    saturated = {one.name: _saturated(values[:, :, at]) for at, one in enumerate(measures) if one.category == "faithfulness"}
    asked = [(name, question, at) for name in contestants for question in QUESTIONS for at in range(len(measures))]
    faithful = tuple(one.name for one in measures if one.category == "faithfulness")
    counted = {question: _asked_of(question, alive, faithful, blind) for question in QUESTIONS}
    tests = [scores.hardest(name, question, at, measures[at].name in blind) for name, question, at in asked]
    named = [(name, question, measures[at].name) for name, question, at in asked]
    rows, together = _tested(named, tests, counted, alive, contestants, smallest)
    table = pl.DataFrame([row for row, _ in rows], schema=_SCHEMA)
    columns = [at for at, one in enumerate(measures) if one.name in alive]
    stands = {(name, measures[at].name): _standing(scores, name, at) for name in contestants for at in columns}
    least = None if alive else min((one for one in faint.values() if one is not None), default=None)
    hoped = counted if alive else {question: _asked_of(question, tuple(faint), faithful, blind) for question in QUESTIONS}
    claims, own = len(together), np.stack([scores.values[:, scores.places[name, OWN]] for name in contestants], 1)
    found = Answers(
        table,
        together=together,
        silent=tuple(silent),
        faint=tuple(faint),
        alive=tuple(alive),
        blind=tuple(blind),
        needed={
            name: _needed([one for one in rows if one[0]["explainer"] == name], claims or len(contestants), hoped, least)
            for name in contestants
        },
        standing={key: one.mean for key, one in stands.items()},
        stands=stands,
        best={one.name: tuple(list(contestants)[place] for place in not_worse(own[:, :, at])) for at, one in enumerate(measures)},
        saturated=saturated,
        faithful=faithful,
        images=images,
        tests=claims,
    )
    trusted = tuple(name for name, p in together.items() if p < LEVEL and all(found.status(name, one) == "yes" for one in QUESTIONS))
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

    def hardest(self, name: str, question: str, at: int, blind: bool) -> Above:
        """The hardest of what a question holds a map against; all must be beaten, each in the easiest of the ways there are."""
        ways = self._against(name, question, at, blind)
        return max((min(map(Above.of, one), key=lambda way: way.hardness) for one in ways), key=lambda way: way.hardness)

    def _against(self, name: str, question: str, at: int, blind: bool) -> list[tuple[np.ndarray, ...]]:
        """Own less each of what the question holds it against."""
        own = self.of(name, OWN, at)
        with np.errstate(invalid="ignore"):  # infinity less infinity
            if question == "where":
                return [(own - self.of(name, kind, at),) for kind in ([ELSEWHERE] if blind else [ELSEWHERE, FLIPPED])]
            if question == "this image":
                return [(own - self.of(name, ANOTHER, at),)]
            if question == "this model":
                random, kept = self.of(name, RANDOM, at), self.of(name, LAST, at)
                # What most maps do not lose with the last layer is no work of that layer: there is no difference at all.
                same = np.isfinite(kept).sum() * 2 > np.isfinite(own).sum() > 0
                return [(np.where(np.isfinite(own - random), 0.0, np.nan) if same else own - random,)]
            # Fine grain erases an image by its texture alone, a smooth map has most to lose elsewhere: either comparison may be unfair.
            gain = own - self.of(name, ELSEWHERE, at)
            controls = [other for other in CONTROL_NAMES if (other, OWN) in self.places]
            scores = [(self.of(one, OWN, at), self.of(one, ELSEWHERE, at)) for one in controls]
            return [(own - there, gain - (there - elsewhere)) for there, elsewhere in scores]

    def only(self, rows: np.ndarray) -> _Scores:
        return _Scores(self.values[rows], self.places)


def _alive(
    scores: _Scores, measures: Sequence[Rated], smallest: float, explainers: int
) -> tuple[list[str], list[str], dict[str, int | None], list[str]]:
    """Measures that tell enough, those that tell nothing, those that tell too little, and of the first those that are blind to signs.

    A measure tells something where a control, or the truth, is told from itself elsewhere; enough, where so many images would show, at the
    level of a verdict on so many explainers, that a map as good as that passes: a weaker measure would fail every map. A measure of
    which too few images are there to tell is not called silent.
    """
    tests: list[tuple[int, Above]] = []
    for at, one in enumerate(measures):
        pairs = [] if one.needs_truth else [POSITIVE_NAME]
        pairs += [TRUTH] if (TRUTH, OWN) in scores.places else []
        tests += [(at, Above.of(scores.of(name, OWN, at) - scores.of(name, ELSEWHERE, at))) for name in pairs]
    corrected = holm([found.p for _, found in tests])
    counted: dict[int, int] = {}
    told: dict[int, int | None] = {}
    enough: set[int] = set()
    for (at, found), p in zip(tests, corrected, strict=True):
        counted[at] = max(counted.get(at, 0), found.count)
        effect = found.effect
        if p < LEVEL and effect >= smallest:
            told[at] = would = images_needed(effect, LEVEL / max(explainers, 1))
            enough |= {at} if would is not None and would <= found.count else set()
    alive = [one.name for at, one in enumerate(measures) if at in enough]
    faint = {one.name: told[at] for at, one in enumerate(measures) if at in told and at not in enough}
    silent = [measures[at].name for at, many in counted.items() if 0.5**many * len(tests) < LEVEL and at not in told]
    blind = []
    for at, one in enumerate(measures):
        seen = Above.of(scores.of(POSITIVE_NAME, OWN, at) - scores.of(POSITIVE_NAME, FLIPPED, at))
        if one.name in alive and not (seen.p < LEVEL / len(measures) and seen.effect >= smallest):
            blind.append(one.name)
    return alive, silent, faint, blind


def _tested(
    asked: Sequence[tuple[str, str, str]],
    tests: Sequence[Above],
    counted: Mapping[str, Sequence[str]],
    alive: Sequence[str],
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
        counted: The measures that answer each question.
        alive: Live measures.
        contestants: The explainers, and whether each may be trusted at all.
        smallest: The smallest effect that counts.

    Source: Berger, Technometrics 1982 (intersection-union tests).
    """
    places: dict[tuple[str, str], list[int]] = {}
    for at, (name, question, measure) in enumerate(asked):
        if measure in counted[question]:
            places.setdefault((name, question), []).append(at)
    any_of = {claim: claim[1] == QUESTIONS[-1] for claim in places}
    weight = {claim: _WAYS * len(rows) if any_of[claim] else 1 for claim, rows in places.items()}
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
        holds = _holds(corrected, effect, one, smallest) if measure in alive else None
        told = (name, question, measure, float(one.moments.mean[0]), float(low_high[0][0]), float(low_high[1][0]), effect, corrected, holds)
        rows.append((dict(zip(_SCHEMA, told, strict=True)), one))
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


def _needed(
    rows: Sequence[tuple[Mapping[str, object], Above]], claims: int, counted: Mapping[str, Sequence[str]], least: int | None
) -> int | None:
    """Images, `least` or more, that would decide the undecided questions of an explainer; None where no number would."""
    many: list[int | None] = []
    for question in QUESTIONS:
        own = [(row["holds"], one) for row, one in rows if row["question"] == question and row["measure"] in counted[question]]
        last = question == QUESTIONS[-1]
        level = LEVEL / max(claims, 1) / (_WAYS * max(len(own), 1) if last else 1)
        each = [images_needed(one.effect, level) for holds, one in own if holds is None and one.count > 1]
        if not last:
            many += each
        elif each and not any(holds for holds, _ in own):
            # One of these measures is enough.
            many.append(min((one for one in each if one is not None), default=None))
    return None if not many or None in many else max(one for one in (*many, least) if one is not None)


def _standing(scores: _Scores, name: str, at: int) -> Interval:
    """Mean own score, from the same maps elsewhere (0) to the positive control (1)."""
    control = TRUTH if (TRUTH, OWN) in scores.places else POSITIVE_NAME
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
        p = [checking.hardest(best, question, at, blind[at]).p for at in places[question]]
        # All must hold, so that each may be tested at the level itself; more than the image by one of them, so that these are corrected.
        if not (_WAYS * np.nanmin(holm(p)) < LEVEL if question == QUESTIONS[-1] else max(p) < LEVEL):
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
