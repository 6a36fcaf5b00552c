"""The exam's figures as they stand in a document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from assay.bench.document import pipe_table
from assay.bench.exam.exam import COUNTS, EXAM_MEASURES, SUBSETS, ExamCase, ExamLine, lines
from assay.report.text import plural
from assay.stats.intervals import share

__all__ = ["EXAM_MARKS", "every_subset", "exam_markdown"]

EXAM_MARKS = ("<!-- the exam's figures: written by assay bench verdict --page -->", "<!-- end of the exam's figures -->")


_WRONG, _BOUND = 0.02, 0.05
"""The goal: at most this share wrongly trusted, and its 95% upper bound."""
_RIGHT = {32: 0.6, 64: 0.8}
"""The goal: at least this share rightly trusted, by images."""
_HEAD = ("sets of measures", "images", "sets", "of", "wrongly trusted at worst", "by", "beyond the goal", "reach the goal of what is right")


def exam_markdown(cases: Sequence[ExamCase], swept: Sequence[ExamLine], told: str, left_out: Mapping[str, str]) -> str:
    """Tables of what is trusted by measures and images, by every set of measures, by half, and what the default measures miss.

    Args:
        cases: What was judged.
        swept: What every set of measures comes to.
        told: Which cases these are.
        left_out: Pairs that were left out, and why.
    """
    wrong = {(one.pair, one.draw, one.candidate) for one in cases if not one.right}
    right = {(one.pair, one.draw, one.candidate) for one in cases if one.right}
    pairs = len({one.pair for one in cases})
    parts = [f"{told[:1].upper()}{told[1:]}: {plural(pairs, 'pair')}, {len(wrong)} never to be trusted, {len(right)} to be trusted."]
    parts += [f"Left out: {name} ({why})." for name, why in left_out.items()]
    parts += [_shares(cases), *_swept(swept)]
    halves = {half: [one for one in cases if one.set_aside is half] for half in (False, True)}
    if all(halves.values()):
        parts.append("By the default measures, by half; rules are looked at on the practice half alone:")
        parts.append(_halves(halves))
    many = max(COUNTS)
    parts.append(f"Rightly trusted by the default measures, by kind of case, of {many} images:")
    parts.append(_kinds([one for one in cases if one.subset == "default" and one.images == many and one.right]))
    found = [one for one in cases if one.trusted and not one.right]
    parts += [f"Wrongly trusted: {one.candidate} on {one.pair}, {one.images} images, by {one.subset}." for one in found]
    return "\n\n".join(parts)


def _shares(cases: Sequence[ExamCase]) -> str:
    rows = [
        (
            one.subset,
            str(one.images),
            f"{one.wrong.mean:.1%} (at most {one.wrong.high:.1%})",
            str(one.wrong_of),
            f"{one.right.mean:.0%} ({one.right.low:.0%} to {one.right.high:.0%})" if one.right_of else "",
            str(one.right_of),
        )
        for one in lines(cases)
        if one.wrong_of or one.right_of
    ]
    return pipe_table(("measures", "images", "wrongly trusted", "of", "rightly trusted", "of"), rows)


def every_subset(swept: Sequence[ExamLine]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """What every set of measures comes to: a table's head and rows, for sets with and without known truth, by images.

    Args:
        swept: As `assay.bench.exam.exam.sweep` gives it.
    """
    truth = {type(one).__name__ for one in EXAM_MEASURES if "truth" in one.needs}
    groups: dict[tuple[str, int], list[ExamLine]] = {}
    for one in swept:
        kind = "with known truth" if truth & {*one.measures} else "of faithfulness alone"
        groups.setdefault((kind, one.images), []).append(one)
    return _HEAD, [_group(kind, images, own) for (kind, images), own in groups.items()]


def _swept(swept: Sequence[ExamLine]) -> list[str]:
    """The same for a document."""
    if not swept:
        return []
    sets = len({one.measures for one in swept})
    text = f"By every set of measures that the command accepts ({sets}; those with known truth where it is known). Beyond the goal is more"
    text += f" than {_WRONG:.0%} wrongly trusted, or a bound above {_BOUND:.0%}:"
    few = sum(share(0, one.wrong_of).high > _BOUND for one in swept)
    note = f"{plural(few, 'set')}, images counted apart, cannot reach the bound: of so few cases, none wrongly trusted has a higher one."
    return [text, pipe_table(*every_subset(swept)), *([note] if few else [])]


def _group(kind: str, images: int, own: Sequence[ExamLine]) -> tuple[str, ...]:
    """A row of sets of a kind."""
    worst = max(own, key=lambda one: one.wrong.high)
    tied = sum(one.wrong == worst.wrong for one in own)
    by = worst.subset if tied == 1 else "each" if tied == len(own) else f"{worst.subset} and {plural(tied - 1, 'other')}"
    beyond = sum(one.wrong.mean > _WRONG or one.wrong.high > _BOUND for one in own)
    reach = sum(one.right.mean >= _RIGHT[images] for one in own)
    told = f"{worst.wrong.mean:.1%} (at most {worst.wrong.high:.1%})"
    return kind, str(images), str(len(own)), str(worst.wrong_of), told, by, str(beyond), f"{reach} ({_RIGHT[images]:.0%})"


def _halves(halves: Mapping[bool, Sequence[ExamCase]]) -> str:
    rows = []
    for aside, own in halves.items():
        for one in lines(own):
            if one.subset == next(iter(SUBSETS)):
                right = f"{one.right.mean:.0%} of {one.right_of}"
                rows.append(("set aside" if aside else "practice", str(one.images), f"{one.wrong.mean:.1%} of {one.wrong_of}", right))
    return pipe_table(("half", "images", "wrongly trusted", "rightly trusted"), rows)


def _kinds(cases: Sequence[ExamCase]) -> str:
    of = Counter((one.pair, one.candidate) for one in cases)
    yes = Counter((one.pair, one.candidate) for one in cases if one.trusted)
    rows = [(pair, name, f"{yes[pair, name]} of {many}") for (pair, name), many in of.items()]
    return pipe_table(("pair", "map", "trusted"), rows)
