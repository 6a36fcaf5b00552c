"""Attacked images for reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from assay.attack.base import Attack
from assay.attack.distances import Distance
from assay.core.registry import short
from assay.data.base import Batch
from assay.errors import DerivativeError
from assay.explain.base import Explainer
from assay.models.classifier import Classifier
from assay.report.attack import AttackView
from assay.study.labels import Labels
from assay.study.source import Source
from assay.study.targeting import PREDICTED, Targeting

__all__ = ["shown_attacks", "views_of"]


def shown_attacks(
    source: Source,
    positions: Sequence[int],
    model: Classifier,
    explainers: Sequence[Explainer],
    choose: Callable[[Explainer], Attack],
    distance: Distance,
    seed: int,
    labels: Labels,
    targets: Targeting = PREDICTED,
) -> tuple[AttackView, ...]:
    """`views_of` the images at some positions; those that cannot be read are left out."""
    batches = zip(positions, source.read([position] for position in positions), strict=True)
    return tuple(
        view
        for position, batch in batches
        if len(batch)
        for view in views_of(model, explainers, choose, distance, seed, batch, labels, targets, [position])
    )


def views_of(
    model: Classifier,
    explainers: Sequence[Explainer],
    choose: Callable[[Explainer], Attack],
    distance: Distance,
    seed: int,
    batch: Batch,
    labels: Labels,
    targeting: Targeting = PREDICTED,
    positions: Sequence[int] = (0,),
) -> tuple[AttackView, ...]:
    """Attacked images to show, image by image, explainer by explainer; those whose output or map is not finite are left out.

    Args:
        model: The model.
        explainers: What is attacked.
        choose: What attacks an explainer.
        distance: What maps are compared by.
        seed: Decides all randomness.
        batch: The images.
        labels: Names of predictions.
        targeting: What is explained.
        positions: The images' positions.
    """
    images, index = batch.images.to(model.device), batch.index.to(model.device)
    found: list[tuple[int, AttackView]] = []
    for explainer in explainers:
        attack = choose(explainer)
        logits = model.unchecked_logits(images)
        targets = targeting.of(model, logits, batch, positions)
        maps = explainer.attribute(model, images, targets, index, seed)
        fine = (maps.flatten(1).isfinite().all(1) & logits.flatten(1).isfinite().all(1)).nonzero().flatten()
        try:
            result = attack.run(model, explainer, images[fine], targets[fine], index[fine], seed, logits[fine], maps[fine])
        except DerivativeError:  # The verdict says so.
            continue
        before, after = (model.decide(one, result.targets) for one in (result.logits, model.unchecked_logits(result.images)))
        stakes = [one.head.stake(one.outputs, one.ids) for one in (before, after)]
        (names, shares), (later, changed) = (labels.told(one, ids) for one, ids in zip((before, after), stakes, strict=True))
        apart = distance(result.maps, result.attacked_maps)
        for place, at in enumerate(fine.tolist()):
            view = AttackView(
                batch.names[at],
                short(explainer),
                f"{short(attack)}, {attack.ball_words}",
                _seen(images[at]),
                _seen(result.images[place]),
                result.maps[place].cpu(),
                result.attacked_maps[place].cpu(),
                (names[place], later[place]),
                (shares[place], changed[place]),
                (f"similarity by {short(distance)}", 1 - float(apart[place])),
                bool(result.kept[place]),
            )
            found.append((at, view))
    return tuple(view for _, view in sorted(found, key=lambda one: one[0]))


def _seen(image: Tensor) -> Tensor:
    """What has no colours is shown as the channels' mean."""
    return (image if len(image) in (1, 3) else image.mean(0, keepdim=True)).cpu()
