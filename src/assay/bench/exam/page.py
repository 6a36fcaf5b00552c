"""The exam's figures as they stand in a document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from assay.bench.document import pipe_table
from assay.bench.exam.exam import COUNTS, SUBSETS, ExamCase, lines
from assay.report.text import plural

__all__ = ["EXAM_MARKS", "exam_markdown"]

EXAM_MARKS = ("<!-- the exam's figures: written by assay bench verdict --page -->", "<!-- end of the exam's figures -->")


def exam_markdown(cases: Sequence[ExamCase], told: str, left_out: Mapping[str, str]) -> str:
    """Tables of what is trusted by measures and images, by half, and what is missed by the default measures, kind by kind.

    Args:
        cases: What was judged.
        told: Which cases these are.
        left_out: Pairs that were left out, and why.
    """
    wrong = {(one.pair, one.draw, one.candidate) for one in cases if not one.right}
    right = {(one.pair, one.draw, one.candidate) for one in cases if one.right}
    pairs = len({one.pair for one in cases})
    parts = [f"{told[:1].upper()}{told[1:]}: {plural(pairs, 'pair')}, {len(wrong)} never to be trusted, {len(right)} to be trusted."]
    parts += [f"Left out: {name} ({why})." for name, why in left_out.items()]
    parts.append(_shares(cases))
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
