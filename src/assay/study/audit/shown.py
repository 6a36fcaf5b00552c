"""Which images an audit's report shows, and why: failures first, then the worst by a measure, then disagreement, then typical ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from assay.core.registry import plain_name
from assay.models.labels import Labels
from assay.study.audit.answers import Answers
from assay.study.audit.scores import AuditPlan, block_scores
from assay.study.gallery_images import GalleryImage, places, unpack
from assay.study.study import Asked, Done

__all__ = ["DISAGREE", "TYPICAL", "WRONG", "shown"]

WRONG, DISAGREE, TYPICAL = "wrong prediction", "the explanations disagree most", "typical"
_ROOM = 6
"""A gallery of fewer images than this shows failures and typical images only."""


def shown(plan: AuditPlan, asked: Asked, done: Done, answers: Answers, labels: Labels) -> tuple[list[GalleryImage], list[str]]:
    """The gallery's images in order, and why each is there.

    Half of the gallery at most is for wrong predictions, the surest of those shown first; these and the one worst image are explained
    again for the page, since nobody knew of them before.

    Args:
        plan: What was done.
        asked: The images and the model.
        done: All blocks.
        answers: Answers to the verdict's questions.
        labels: Names of labels and classes.
    """
    status = done.table("status").with_row_index("place")
    wanted = _failures(status, labels, plan.gallery // 2)
    if asked.images > plan.gallery >= _ROOM:
        for image, why in (_worst(done, answers), _apart(done, answers)):
            place = status.filter(pl.col("image") == image)["place"].to_list() if image is not None else []
            wanted |= {place[0]: why} if place and place[0] not in wanted else {}
    found = [(one, wanted[place]) for place, one in _again(plan, asked, list(wanted))]
    found.sort(key=lambda item: (item[1] != WRONG, -_sureness(item[0]) if item[1] == WRONG else 0.0))
    names = {one.name for one, _ in found}
    for one in _typical(plan, asked, done):
        if len(found) < plan.gallery and one.name not in names:
            found.append((one, TYPICAL))
    return [one for one, _ in found], [why for _, why in found]


def _failures(status: pl.DataFrame, labels: Labels, most: int) -> dict[int, str]:
    """Positions of some wrong predictions, evenly among all of them."""
    rows = status.filter((pl.col("status") == "ok") & pl.col("label").is_not_null() & pl.col("predicted").is_not_null())
    wrong = [place for place, label, guess in rows.select("place", "label", "predicted").rows() if labels.id_of(label) not in (None, guess)]
    if "findings" in status.columns:
        wrong = status.filter((pl.col("status") == "ok") & (pl.col("findings right") < pl.col("findings")))["place"].to_list()
    return {wrong[at]: WRONG for at in places(most, len(wrong))} if wrong and most else {}


def _worst(done: Done, answers: Answers) -> tuple[int | None, str]:
    """The image on which the explainer that counts most scores worst, by the first measure that tells anything."""
    measure = next(iter(answers.seeing or answers.alive), None)
    explainer = answers.recommended or next(iter(answers.trusted), None)
    if measure is None or explainer is None:
        return None, ""
    own = done.table("scores").filter((pl.col("measure") == measure) & (pl.col("explainer") == explainer)).drop_nans("value")
    if own.is_empty():
        return None, ""
    up = own["direction"][0] == "higher"
    image = int(own.sort("value", descending=not up, maintain_order=True)["image"][0])
    return image, f"{plain_name(explainer)} is worst by {measure}"


def _apart(done: Done, answers: Answers) -> tuple[int | None, str]:
    """The image on which the trusted explainers, or all where fewer than two are, have least in common."""
    parts = [part for part in done.parts("agreement") if part.height]
    if not parts:
        return None, ""
    whole = pl.concat(parts)
    if len(answers.trusted) > 1:
        whole = whole.filter(pl.col("first").is_in(answers.trusted) & pl.col("second").is_in(answers.trusted))
    mean = whole.group_by("image", maintain_order=True).agg(pl.col("overlap").mean()).drop_nulls().sort("overlap", maintain_order=True)
    return (int(mean["image"][0]), DISAGREE) if mean.height else (None, "")


def _again(plan: AuditPlan, asked: Asked, wanted: Sequence[int]) -> list[tuple[int, GalleryImage]]:
    """The images at these positions, explained and measured again, without what they were held against."""
    alone = replace(plan, nulls=replace(plan.nulls, measures=()))
    found = []
    for block in asked.read([range(place, place + 1) for place in sorted(wanted)]):
        kept = block_scores(alone, block, lambda _: None).shown([block.rows.start])
        found += [(block.rows.start, one) for _, one in kept]
    return found


def _typical(plan: AuditPlan, asked: Asked, done: Done) -> list[GalleryImage]:
    """Images evenly spaced; where no block had a sound image at or after its positions, the first sound image of all."""
    found = [one for part in done.parts("gallery") for one in unpack(part)]
    if not found:
        first = done.tally.first or 0
        block = next(asked.read([done.blocks.rows(first // done.blocks.size)]))
        found = block_scores(plan, block, lambda _: None).shown([first])
    return [one for _, one in sorted(found, key=lambda item: item[0])]


def _sureness(one: GalleryImage) -> float:
    return float(one.probabilities.max()) if one.probabilities.ndim else 0.0
