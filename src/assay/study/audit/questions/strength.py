"""Which measures tell enough on these images to be asked each question: all meet maps made from the model's own answers, or the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from assay.stats.intervals import LEVEL
from assay.stats.tests import Above, holm, images_needed
from assay.study.audit.nulls import ANOTHER, ELSEWHERE, FLIPPED, OWN, POSITIVE_NAME, RANDOM, TRUTH
from assay.study.audit.questions.held import QUESTIONS, HeldScores, Rated

__all__ = ["Strength", "strength"]

_NULLS = {QUESTIONS[1]: ANOTHER, QUESTIONS[2]: RANDOM}
"""What questions beside the first hold the control against."""


@dataclass(frozen=True)
class Strength:
    """What measures tell.

    Attributes:
        silent: Measures that tell nothing: they do not tell the control from itself elsewhere.
        faint: Measures that tell it, but so little that a map as good would not be shown to pass; with the images that would do.
        alive: The others.
        blind: Live measures that would not notice a map whose signs are flipped.
        weak: Live measures by which the control would not be shown to pass a question, by question; with the images that would do.
        faithful: Which of all measures are of faithfulness.
    """

    silent: tuple[str, ...] = ()
    faint: Mapping[str, int | None] = field(default_factory=dict)
    alive: tuple[str, ...] = ()
    blind: tuple[str, ...] = ()
    weak: Mapping[str, Mapping[str, int | None]] = field(default_factory=dict)
    faithful: tuple[str, ...] = ()

    def answering(self, question: str) -> tuple[str, ...]:
        """The live measures that a question could be asked of.

        Known evidence says where a map should lie whatever the model is, so that it is not asked whether a map is of this model; and what
        would not notice flipped signs is not asked whether a map says more than the image.
        """
        own = [one for one in self.alive if one in self.faithful or question in QUESTIONS[:2]]
        return tuple(one for one in own if one not in self.blind or question != QUESTIONS[-1])

    def asked_of(self, question: str) -> tuple[str, ...]:
        """The live measures that a question is asked of: those that tell enough to answer it, one that notices flipped signs among them."""
        strong = [one for one in self.answering(question) if one not in self.weak.get(question, {})]
        lost = [one for one in self.weak.get(question, {}) if one not in self.blind]
        return () if lost and all(one in self.blind for one in strong) else tuple(strong)

    def hoped(self, question: str) -> Mapping[str, int | None]:
        """Measures that would answer a question that none answers yet, with the images that they would take."""
        if self.asked_of(question):
            return {}
        known = self.weak.get(question, {}) if self.alive else self.faint
        own = [one for one in known if one in self.faithful or question in QUESTIONS[:2]]
        return {one: known[one] for one in own if one not in self.blind}


def strength(scores: HeldScores, measures: Mapping[int, Rated], smallest: float, explainers: int) -> Strength:
    """What measures tell on these images.

    A measure tells something where a control, or the truth, is told from itself elsewhere; enough, where so many images would show, at the
    level of a verdict on so many explainers, that a map as good as that passes: a weaker measure would fail every map. The same is asked
    for the questions of this image and this model. A measure of which too few images are there to tell is not called silent.

    Args:
        scores: All scores.
        measures: Those that are asked, by their place on the last axis.
        smallest: The smallest effect that counts.
        explainers: How many may be trusted.
    """
    truth = (TRUTH, OWN) in scores.places
    tests = [
        (at, scores.against(name, ELSEWHERE, at))
        for at, one in measures.items()
        for name in ([] if one.needs_truth else [POSITIVE_NAME]) + ([TRUTH] if truth else [])
    ]
    would, told = _would(tests, smallest, explainers), _told(tests, smallest)
    counted = {at: max(found.count for place, found in tests if place == at) for at, _ in tests}
    alive = [at for at in measures if at in told and would[at][1]]
    blind = [at for at in alive if not _sees(scores.against(POSITIVE_NAME, FLIPPED, at), len(measures), smallest)]
    weak: dict[str, dict[str, int | None]] = {}
    for question, kind in _NULLS.items():
        own = [
            (at, found)
            for at in alive
            for name in ([] if measures[at].needs_truth else [POSITIVE_NAME]) + ([TRUTH] if truth else [])
            if (found := scores.against(name, kind, at)).count > 1
        ]
        weak[question] = {measures[at].name: many for at, (many, enough) in _would(own, smallest, explainers).items() if not enough}
    return Strength(
        tuple(measures[at].name for at, many in counted.items() if 0.5**many * len(tests) < LEVEL and at not in told),
        {measures[at].name: would[at][0] for at in sorted(told) if at not in alive},
        tuple(measures[at].name for at in alive),
        tuple(measures[at].name for at in blind),
        weak,
        tuple(one.name for one in measures.values() if one.category == "faithfulness"),
    )


def _told(tests: Sequence[tuple[int, Above]], smallest: float) -> set[int]:
    """Measures that tell a control from its null, after Holm."""
    corrected = holm([found.p for _, found in tests])
    return {at for (at, found), p in zip(tests, corrected, strict=True) if p < LEVEL and found.effect >= smallest}


def _would(tests: Sequence[tuple[int, Above]], smallest: float, explainers: int) -> dict[int, tuple[int | None, bool]]:
    """Images by which a map as good as the control, or the truth, would be shown to pass, by measure, and whether there are as many."""
    found: dict[int, tuple[int | None, bool]] = {}
    for at, one in tests:
        many = images_needed(one.effect, LEVEL / max(explainers, 1)) if one.count > 1 and one.effect >= smallest else None
        enough = many is not None and many <= one.count
        before = found.get(at, (None, False))
        least = min((each for each in (many, before[0]) if each is not None), default=None)
        found[at] = least, enough or before[1]
    return found


def _sees(found: Above, measures: int, smallest: float) -> bool:
    return bool(found.p < LEVEL / measures and found.effect >= smallest and not np.isnan(found.p))
