"""The exam: scores of all candidates and what they are held against, and what the verdict makes of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
import torch

from assay.bench.exam.pairs import IMAGES, ExamPair, Seat
from assay.core import noise
from assay.core.progress import Progress, counting, silent
from assay.core.whole_files import replacing
from assay.errors import DataError
from assay.measure.base import Measure
from assay.measure.contribution import MarginalContribution, SingleDeletion
from assay.measure.keep import KeepTop
from assay.measure.linearity import Infidelity, LocalLinearError
from assay.measure.localisation import MaskIoU, PointingGame
from assay.measure.perturbation import Deletion, Insertion
from assay.stats.intervals import Interval, share
from assay.study.asked import Asked
from assay.study.audit.answers import SMALLEST
from assay.study.audit.looks import model_looks, model_sentences
from assay.study.audit.nulls import NULL_STEPS
from assay.study.audit.questions.corrected_tests import questioned
from assay.study.audit.questions.held import HeldScores, Rated
from assay.study.audit.scores import block_scores
from assay.study.audit.study import AuditStudy

__all__ = [
    "COUNTS",
    "EVERY_SUBSET",
    "EXAM_MEASURES",
    "HALVES",
    "SUBSETS",
    "ExamCase",
    "ExamLine",
    "SeatScores",
    "examined",
    "judge",
    "lines",
    "run_seat",
    "sweep",
]

COUNTS = (32, 64)
HALVES: Mapping[str, bool | None] = {"practice": False, "aside": True, "all": None}
"""Whether a half's cases are set aside, by its name."""
_BLOCK = 32
_PANEL = 6
"""Explainers audited together, as many as an audit has by default."""
EXAM_MEASURES: tuple[Measure, ...] = (
    Deletion(steps=NULL_STEPS),
    Insertion(steps=NULL_STEPS),
    Infidelity(scaled=True, relative=True),
    LocalLinearError(scaled=True, relative=True),
    SingleDeletion(),
    MarginalContribution(),
    KeepTop(),
    MaskIoU(),
    PointingGame(),
)
_DEFAULT = ("Deletion", "Insertion", "SingleDeletion", "Infidelity", "LocalLinearError", "MaskIoU")
_README = "README (Deletion, MaskIoU)"
"""Examined only where all of it can be measured, since without truth it is another line of the table."""
SUBSETS: Mapping[str, tuple[str, ...]] = {
    "default": _DEFAULT,
    _README: ("Deletion", "MaskIoU"),
    "Deletion, Insertion": ("Deletion", "Insertion"),
    **{type(one).__name__: (type(one).__name__,) for one in EXAM_MEASURES},
    "all nine": tuple(type(one).__name__ for one in EXAM_MEASURES),
}
"""Measures that the verdict is examined with; those that need truth are left out where there is none."""
EVERY_SUBSET: tuple[tuple[str, ...], ...] = tuple(
    own for many in range(1, len(EXAM_MEASURES) + 1) for own in combinations([type(one).__name__ for one in EXAM_MEASURES], many)
)
"""Every set of these measures; one with measures that need truth is accepted, and examined, only where truth is known."""


@dataclass(frozen=True, eq=False)
class SeatScores:
    """Scores of one seat.

    Attributes:
        pair: The pair's name.
        draw: Which of its sets of images.
        values: (images, items, measures).
        items: Whose map and of which kind, as `assay.study.audit.nulls.Nulls.items`.
        measures: What the last axis is.
        right: Whether each candidate is to be trusted.
        sound: Whether the model may be explained at all, by number of images.
    """

    pair: str
    draw: int
    values: np.ndarray
    items: tuple[tuple[str, str], ...]
    measures: tuple[Rated, ...]
    right: Mapping[str, bool]
    sound: Mapping[int, bool]

    def save(self, path: Path) -> None:
        """Keep it as a .npz file."""
        told = {"items": self.items, "measures": [asdict(one) for one in self.measures], "right": self.right, "sound": self.sound}
        with replacing(path) as draft, draft.open("wb") as file:
            np.savez_compressed(file, values=self.values, told=np.array(json.dumps(told | {"pair": self.pair, "draw": self.draw})))

    @classmethod
    def load(cls, path: Path) -> SeatScores:
        """What `save` kept."""
        with np.load(path) as kept:
            told, values = json.loads(str(kept["told"])), kept["values"]
        return cls(
            told["pair"],
            told["draw"],
            values,
            tuple(map(tuple, told["items"])),
            tuple(Rated(**one) for one in told["measures"]),
            told["right"],
            {int(many): sound for many, sound in told["sound"].items()},
        )


@dataclass(frozen=True)
class ExamCase:
    """One candidate in one audit, and what came of it."""

    pair: str
    draw: int
    candidate: str
    right: bool
    images: int
    subset: str
    trusted: bool
    set_aside: bool


@dataclass(frozen=True)
class ExamLine:
    """What one subset of measures comes to with so many images."""

    subset: str
    measures: tuple[str, ...]
    images: int
    wrong: Interval
    wrong_of: int
    right: Interval
    right_of: int


def examined(
    pairs: Sequence[ExamPair], folder: Path, seed: int = 0, progress: Progress = silent
) -> tuple[list[SeatScores], dict[str, str]]:
    """Scores of all seats of the pairs, and which pairs are left out and why.

    Args:
        pairs: Pairs of model and data.
        folder: Keeps the scores; what it holds is not run again.
        seed: Decides all randomness.
        progress: Told about images done.
    """
    found, left_out = [], {}
    folder.mkdir(parents=True, exist_ok=True)
    for pair in pairs:
        for draw in range(pair.draws):
            path = folder / f"{pair.name.replace(' ', '-')}-{draw}-{seed}.npz"
            try:
                if not path.exists():
                    run_seat(pair, draw, seed, progress).save(path)
                found.append(SeatScores.load(path))
            except DataError as error:
                if not pair.needs_data:
                    raise
                left_out[pair.name] = str(error)
    return found, left_out


def run_seat(pair: ExamPair, draw: int, seed: int = 0, progress: Progress = silent) -> SeatScores:
    """Run one seat of the exam through the audit's own blocks.

    Args:
        pair: The pair.
        draw: Which of its sets of images.
        seed: Decides all randomness.
        progress: Told about images done.
    """
    seat = pair.make(draw, seed)
    batch = seat.batch
    asked = Asked.given(seat.model, batch.images, seed=seed, index=batch.index).beside(batch.labels, batch.truth)
    measures = tuple(one for one in EXAM_MEASURES if not (one.needs & {"truth"}) - asked.masks)
    plan = AuditStudy(explainer=seat.candidates, measure=measures, gallery=1).plan(asked)
    tables = []
    for at, block in enumerate(asked.read(range(start, start + _BLOCK) for start in range(0, IMAGES, _BLOCK))):
        tables.append(block_scores(plan, block, counting(progress, pair.name, at * _BLOCK, IMAGES)).tables)
    items, rated = tuple(plan.nulls.items), tuple(plan.rated)
    parts = [one["nulls"]["value"].to_numpy().reshape(-1, len(items), len(rated)) for one in tables]
    sound = {many: _sound(seat, tables[: many // _BLOCK], many, seed) for many in COUNTS}
    right = {one.short_name: one.right for one in seat.candidates}
    return SeatScores(pair.name, draw, np.concatenate(parts), items, rated, right, sound)


def _sound(seat: Seat, tables: Sequence[Mapping[str, pl.DataFrame]], images: int, seed: int) -> bool:
    """Whether the model may be explained, by the first so many images."""
    looks = model_looks([one["classes"] for one in tables], [one["flat"] for one in tables])
    right = None
    if seat.batch.labels is not None:
        predicted = seat.model.unchecked_logits(seat.batch.images[:images]).argmax(1)
        right = int((predicted == seat.batch.labels[:images]).sum())
    return model_sentences(seat.model, looks, right, images, seed)[1]


def judge(found: Sequence[SeatScores], seed: int = 0) -> list[ExamCase]:
    """What the verdict makes of every candidate, by every subset of measures, in panels of as many as an audit has by default.

    Half of each pair's candidates, of those to be trusted and of the others, are set aside: they share no audit with the rest.

    Args:
        found: All seats.
        seed: Decides halves and panels.
    """
    cases = []
    for one in found:
        held = _held(one)
        for panel, aside in _panels(one, seed):
            for subset, names in SUBSETS.items():
                columns = [at for at, rated in enumerate(one.measures) if rated.name in names]
                if not columns or (subset == _README and len(columns) < len(names)):
                    continue
                for images in COUNTS:
                    trusted = _trusted(one, held[images], panel, columns, images)
                    cases += [ExamCase(one.pair, one.draw, name, one.right[name], images, subset, name in trusted, aside) for name in panel]
    return cases


def sweep(found: Sequence[SeatScores], seed: int = 0, aside: bool | None = None, progress: Progress = silent) -> list[ExamLine]:
    """Shares wrongly and rightly trusted by every set of measures, in the same panels, where all of the set can be measured.

    What does not depend on the set, all tests of maps against their nulls, is made once.

    Args:
        found: All seats.
        seed: Decides halves and panels.
        aside: Only the cases that are set aside (True), only the others (False), or all.
        progress: Told about panels done.
    """
    hits: Counter[tuple[tuple[str, ...], int, bool]] = Counter()
    many: Counter[tuple[tuple[str, ...], int, bool]] = Counter()
    work = [(one, panel) for one in found for panel, half in _panels(one, seed) if aside in (None, half)]
    held: dict[int, HeldScores] = {}
    before = None
    for done, (one, panel) in enumerate(work):
        progress("every set of measures", done, len(work))
        held, before = held if one is before else _held(one), one
        places = {rated.name: at for at, rated in enumerate(one.measures)}
        for names in EVERY_SUBSET:
            if not places.keys() >= {*names}:
                continue
            for images in COUNTS:
                trusted = _trusted(one, held[images], panel, [places[name] for name in names], images)
                for name in panel:
                    hits[names, images, one.right[name]] += name in trusted
                    many[names, images, one.right[name]] += 1
    return [
        ExamLine(
            ", ".join(names), names, images, share(hits[wrong], many[wrong]), many[wrong], share(hits[right], many[right]), many[right]
        )
        for names in EVERY_SUBSET
        for images in COUNTS
        if many[wrong := (names, images, False)] + many[right := (names, images, True)]
    ]


def _panels(one: SeatScores, seed: int) -> Iterator[tuple[list[str], bool]]:
    # By the pair's name alone, so that a candidate is in the same half in every draw.
    row = torch.zeros(1, dtype=torch.long)
    drawn = noise.uniform(seed, f"exam {one.pair}", row, row, (len(one.right),))[0].argsort().tolist()
    names = [list(one.right)[place] for place in drawn]
    for aside in (False, True):
        half = [name for kind in (True, False) for name in [name for name in names if one.right[name] is kind][aside::2]]
        # Sound and other maps mixed, in panels of about equal size.
        panels = -(-len(half) // _PANEL)
        for at in range(panels):
            yield half[at::panels], aside


def _held(one: SeatScores) -> dict[int, HeldScores]:
    """The scores of a seat's first images, by their number."""
    return {images: HeldScores.of_measures(one.values[:images], one.items, one.measures) for images in COUNTS}


def _trusted(one: SeatScores, held: HeldScores, panel: Sequence[str], columns: Sequence[int], images: int) -> tuple[str, ...]:
    """Whom an audit of these candidates by these measures trusts: the claims that `assay.study.audit.answers.answer` makes."""
    if not one.sound[images]:
        return ()
    return questioned(held, {at: one.measures[at] for at in columns}, dict.fromkeys(panel, True), SMALLEST).trusted


def lines(cases: Sequence[ExamCase]) -> list[ExamLine]:
    """Shares wrongly and rightly trusted, with Wilson's 95% intervals, by subset and number of images."""
    found = []
    for subset, names in SUBSETS.items():
        for images in COUNTS:
            own = [one for one in cases if one.subset == subset and one.images == images]
            shares = {kind: [one.trusted for one in own if one.right is kind] for kind in (False, True)}
            wrong, right = (share(sum(shares[kind]), len(shares[kind])) for kind in (False, True))
            found.append(ExamLine(subset, names, images, wrong, len(shares[False]), right, len(shares[True])))
    return found
