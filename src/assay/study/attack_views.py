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
) -> tuple[AttackView, ...]:
    """`views_of` the images at some positions; those that cannot be read are left out."""
    batches = source.read([position] for position in positions)
    return tuple(view for batch in batches if len(batch) for view in views_of(model, explainers, choose, distance, seed, batch, labels))


def views_of(
    model: Classifier,
    explainers: Sequence[Explainer],
    choose: Callable[[Explainer], Attack],
    distance: Distance,
    seed: int,
    batch: Batch,
    labels: Labels,
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
    """
    images, index = batch.images.to(model.device), batch.index.to(model.device)
    found: list[tuple[int, AttackView]] = []
    for explainer in explainers:
        attack = choose(explainer)
        logits = model.unchecked_logits(images)
        targets = logits.argmax(1)
        maps = explainer.attribute(model, images, targets, index, seed)
        fine = (maps.flatten(1).isfinite().all(1) & logits.isfinite().all(1)).nonzero().flatten()
        try:
            result = attack.run(model, explainer, images[fine], targets[fine], index[fine], seed, logits[fine], maps[fine])
        except DerivativeError:  # The verdict says so.
            continue
        before, after = (one.softmax(1).max(1) for one in (result.logits, model.unchecked_logits(result.images)))
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
                (labels.names[int(before.indices[place])], labels.names[int(after.indices[place])]),
                (float(before.values[place]), float(after.values[place])),
                (f"similarity by {short(distance)}", 1 - float(apart[place])),
                bool(result.kept[place]),
            )
            found.append((at, view))
    return tuple(view for _, view in sorted(found, key=lambda one: one[0]))


def _seen(image: Tensor) -> Tensor:
    """What has no colours is shown as the channels' mean."""
    return (image if len(image) in (1, 3) else image.mean(0, keepdim=True)).cpu()
