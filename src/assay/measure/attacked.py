"""How much of a map is left when its image is attacked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from assay.attack.base import Attack
from assay.attack.black_box_attack import BlackBoxMapAttack
from assay.attack.distances import Distance, TopK
from assay.attack.map_attack import MapAttack
from assay.attack.noise_attack import NoiseMapAttack
from assay.core.registry import changed, register, short
from assay.core.surroundings import undisturbed
from assay.errors import DerivativeError, SpecError
from assay.explain.base import Explainer
from assay.measure.base import Measure, unranked
from assay.models.case import Case
from assay.models.classifier import Classifier
from assay.models.targets import Targets

__all__ = ["AFTER_NOISE", "ATTACKED", "AttackCurve", "AttackedSimilarity", "attack_curve", "blind_like", "noise_like", "with_floor"]

ATTACKED, AFTER_NOISE = "attacked similarity", "similarity after noise"
"""What is measured: what an attack leaves of a map, and what noise of its size does."""


@register
class AttackedSimilarity(Measure):
    """1 - the distance between the clean map and the map of an attacked image whose prediction is kept.

    An attack gives an upper bound of what is left in the worst case. Random changes of the same size are the floor that tells
    fragile from merely noisy: `AttackedSimilarity(attack=NoiseMapAttack(...))`. An image has no score (NaN) where its clean map does not
    vary, or where the attack had no gradient to climb on a map that moves, and none has where the network cannot be differentiated twice.

    Args:
        attack: The attack.
        distance: What the two maps are compared by; one whose 1 means nothing in common.
        otherwise: Attacks the explainers that `attack` cannot, such as those without derivatives.

    Source: Ghorbani, Abid, Zou, AAAI 2019 (top-k intersection under attack).
    """

    attack: Attack = MapAttack()
    distance: Distance = TopK()
    otherwise: Attack = BlackBoxMapAttack()
    category: ClassVar[str] = "robustness"
    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"explainer"})
    reference: ClassVar[str] = "Ghorbani, Abid, Zou: Interpretation of Neural Networks Is Fragile, AAAI 2019"
    pitfalls: ClassVar[str] = "An upper bound of the worst case: a better attack may leave less."
    takes: ClassVar[str] = "those of the attack per map, without the clean image's"
    meaning: ClassVar[str] = "Change pixels on purpose and too little to see, the prediction staying: a robust map keeps its top pixels."

    def __post_init__(self) -> None:
        if not self.distance.bounded:
            raise SpecError(f"AttackedSimilarity: 1 - {short(self.distance)} is no similarity; take TopK, Cosine, Spearman or SSIM")

    @property
    def statistic(self) -> str:
        """See `Measure.statistic`; what noise leaves is another than what an attack does."""
        return AFTER_NOISE if isinstance(self.attack, NoiseMapAttack) else ATTACKED

    def evaluate(self, case: Case, maps: list[Tensor], explainers: list[Explainer]) -> Tensor:
        """See `Measure.evaluate`."""
        return torch.stack([self._left(case, clean, explainer) for clean, explainer in zip(maps, explainers, strict=True)])

    def chosen(self, explainer: Explainer) -> Attack:
        """What attacks this explainer: `attack`, or `otherwise` where that cannot."""
        return self.attack if self.attack.can(explainer) else self.otherwise

    def _left(self, case: Case, clean: Tensor, explainer: Explainer) -> Tensor:
        try:
            found = self.chosen(explainer).run(case, explainer, clean)
        except DerivativeError:
            return torch.full((len(clean),), torch.nan, device=clean.device)
        left = 1 - self.distance(clean, found.attacked_maps) + unranked(clean.flatten(1))
        return left.masked_fill(found.moved & ~found.climbed, torch.nan)


@dataclass(frozen=True, eq=False)
class AttackCurve:
    """Similarities left at several radii.

    Attributes:
        eps: E radii.
        attacked: (E, N), under attack.
        noise: (E, N), under random changes of the same size.
    """

    eps: tuple[float, ...]
    attacked: Tensor
    noise: Tensor

    @property
    def gap(self) -> Tensor:
        """(E, N) how much more the attack takes than noise; an explainer is fragile only where this is above 0."""
        return self.noise - self.attacked


@undisturbed()
def attack_curve(
    model: Classifier,
    explainer: Explainer,
    images: Tensor,
    eps: Sequence[float],
    attack: Attack | None = None,
    distance: Distance | None = None,
    targets: Targets | None = None,
    seed: int = 0,
    *,
    index: Tensor | None = None,
) -> AttackCurve:
    """What is left of an explainer's maps at several radii, under attack and under noise of the same size.

    Args:
        model: The model.
        explainer: What is attacked.
        images: (N, C, H, W), pixels in [0, 1].
        eps: Radii, in place of the attack's own.
        attack: The attack; `MapAttack()` when None.
        distance: See `AttackedSimilarity`; `TopK()` when None.
        targets: (N,) class ids, or what else is explained (`Targets`); None for the predicted classes.
        seed: Decides all randomness, together with `index`.
        index: (N,) the images' global numbers; 0..N-1 when None.

    Raises:
        AssayError: A wrong input, named in the message, or an explainer that the attack cannot attack.
    """
    maps = explainer(model, images, targets, seed=seed, index=index)
    rows: list[tuple[Tensor, Tensor]] = []
    for radius in eps:
        chosen = changed(attack or MapAttack(), eps=radius)
        measures = (AttackedSimilarity(one, distance or TopK(), one) for one in (chosen, noise_like(chosen)))
        one, other = (each(model, images, maps, targets, seed=seed, index=index, explainer=explainer) for each in measures)
        rows.append((one, other))
    return AttackCurve(tuple(eps), torch.stack([one for one, _ in rows]), torch.stack([other for _, other in rows]))


def noise_like(attack: Attack) -> NoiseMapAttack:
    """Random changes in the same ball, with the same goal and constraints: the floor of `attack`."""
    return NoiseMapAttack(attack.eps, attack.norm, attack.goal, 1, attack.keep_class, attack.tolerance)


def blind_like(attack: Attack, steps: int = BlackBoxMapAttack.steps) -> BlackBoxMapAttack:
    """Black-box search in the same ball, with the same goal and constraints, for explainers that `attack` cannot attack."""
    return BlackBoxMapAttack(attack.eps, attack.norm, steps, attack.goal, keep_class=attack.keep_class, tolerance=attack.tolerance)


def with_floor(attack: Attack) -> tuple[AttackedSimilarity, AttackedSimilarity]:
    """What is left after the attack (after a black-box one in the same ball where it cannot be made), and after noise."""
    blind = blind_like(attack)
    return AttackedSimilarity(attack, otherwise=blind), AttackedSimilarity(noise_like(attack), otherwise=blind)
