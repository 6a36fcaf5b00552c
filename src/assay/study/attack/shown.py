"""Attacked images for reports."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from assay.attack.base import Attack
from assay.attack.distances import Distance
from assay.core.registry import short
from assay.errors import DerivativeError
from assay.explain.base import Explainer
from assay.models.labels import Labels
from assay.report.attack_views import AttackView
from assay.report.figures.picture import visible
from assay.study.asked import Asked, Block

__all__ = ["shown_attacks"]


def shown_attacks(
    asked: Asked,
    positions: Iterable[int],
    explainers: Sequence[Explainer],
    choose: Callable[[Explainer], Attack],
    distance: Distance,
    labels: Labels,
) -> tuple[AttackView, ...]:
    """Attacked images to show, image by image, explainer by explainer; those that cannot be read, or are not finite, are left out.

    Args:
        asked: The model and the images.
        positions: The images' positions.
        explainers: What is attacked.
        choose: What attacks an explainer.
        distance: What maps are compared by.
        labels: Names of predictions.
    """
    blocks = asked.read(range(position, position + 1) for position in positions)
    found = (_view(block, one, choose(one), distance, labels) for block in blocks if block.at for one in explainers)
    return tuple(view for view in found if view is not None)


def _view(block: Block, explainer: Explainer, attack: Attack, distance: Distance, labels: Labels) -> AttackView | None:
    """The first image of a block under attack; None where its output or map is not finite, or there is no gradient to climb."""
    case = block.case
    maps = explainer.attribute(case.model, case.images, case.targets, case.index, case.seed)
    if not block.fine({"": maps}):
        return None
    try:
        result = attack.run(case, explainer, maps)
    except DerivativeError:  # The verdict says so.
        return None
    before, after = (case.model.decide(one, result.targets) for one in (result.logits, case.model.unchecked_logits(result.images)))
    stakes = [one.head.stake(one.outputs, one.ids) for one in (before, after)]
    (names, shares), (later, changed) = (labels.told(one, ids) for one, ids in zip((before, after), stakes, strict=True))
    return AttackView(
        block.batch.names[0],
        short(explainer),
        f"{short(attack)}, {attack.ball_words}",
        visible(case.images[0]).cpu(),
        visible(result.images[0]).cpu(),
        result.maps[0].cpu(),
        result.attacked_maps[0].cpu(),
        (names[0], later[0]),
        (shares[0], changed[0]),
        (f"similarity by {short(distance)}", 1 - float(distance(result.maps, result.attacked_maps)[0])),
        bool(result.kept[0]),
    )
