"""`MapAttack`: small changes that keep the prediction and change the map, found by climbing through the explainer."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from assay.attack.ascent import Climb, ascend
from assay.attack.ball import Norm
from assay.attack.base import Attack, check_common
from assay.attack.forms import gradient_forms, layer_forms, surrogate_forms
from assay.attack.forms.form import Form, Step, form
from assay.attack.forms.softened import Softened, faithful
from assay.attack.goals import Goal, PushOutTopK
from assay.attack.judge import Explain, Judge, Scene
from assay.attack.optimiser import Optimiser, SteepestAscent
from assay.attack.predictions.prediction import loss_gradient
from assay.core.noise import derive
from assay.core.registry import check_at_least, check_positive, register
from assay.explain.smooth import with_copies
from assay.models.heads import Sigmoid

__all__ = ["MapAttack"]

for _cls, _make in (gradient_forms.FORMS | layer_forms.FORMS | surrogate_forms.FORMS).items():
    form.register(_cls, _make)


@register
class MapAttack(Attack):
    """Projected ascent of a goal through the explainer, differentiated on a softplus copy and judged on the model itself.

    Args:
        eps: Radius of the ball, in units of a [0, 1] pixel.
        norm: Norm of the ball: "linf", "l2" or "l1".
        steps: Steps of each restart.
        goal: What is climbed and reached.
        optimiser: Turns gradients into steps.
        restarts: Starting points, every second one opposite to the one before.
        keep_class: Whether the predicted class must stay.
        tolerance: How far the predicted class's probability, or the value of head "scalar", may move; None for anywhere.
        margin: Lead of the predicted class's logit, in units of the clean logits' spread, below which it is defended.
        weight: Weight of that defence against the goal.
        beta: Sharpness of the softplus; up to 1024 times as sharp at images where the copy's outputs are further from the network's
            than these are large.
        samples: Noisy copies per step for explainers that average over noise, drawn anew each step; None for the explainer's
            own number. The judge keeps the explainer's own number and noise.
        judge_every: Steps between judgements, each of which costs a forward pass and a map; the last step is always judged.
        stop: Value of the goal at which an image is left alone; None to go on.

    Source: Ghorbani, Abid, Zou, AAAI 2019; Dombrowski et al., NeurIPS 2019.
    """

    eps: float = 8 / 255
    norm: Norm = "linf"
    steps: int = 50
    goal: Goal = PushOutTopK()
    optimiser: Optimiser = SteepestAscent()
    restarts: int = 2
    keep_class: bool = True
    tolerance: float | None = None
    margin: float = 0.25
    weight: float = 1.0
    beta: float = 10.0
    samples: int | None = 8
    judge_every: int = 10
    stop: float | None = None
    reference: ClassVar[str] = "Ghorbani, Abid, Zou: Interpretation of Neural Networks Is Fragile, AAAI 2019"
    pitfalls: ClassVar[str] = "Climbs a softened copy of the network; what it does not find may still be there."
    takes: ClassVar[str] = (
        "the explainer's per step and per restart, backward twice (with more copies than a chunk holds, forward twice and backward "
        "three times), and one forward where they are passes of other images alone; a map and a forward pass per judged step, two of "
        "each per restart, one of each for the clean image; one forward of the softened copy"
    )

    def __post_init__(self) -> None:
        check_common(self)
        check_at_least(self, 1, "steps", "restarts", "samples", "judge_every")
        check_at_least(self, 0, "margin", "weight")
        check_positive(self, "beta")

    def check(self, explainer: Explain) -> None:
        """See `Attack.check`."""
        form(with_copies(explainer, self.samples))

    def search(self, scene: Scene, judge: Judge) -> None:
        """See `Attack.search`."""
        shape = form(with_copies(scene.explainer, self.samples))
        case, every = scene.case, torch.ones(len(scene.case.images), dtype=torch.bool, device=scene.case.images.device)
        soft = Softened(case.model, self.beta)
        alone = case.decision.ids if isinstance(case.decision.head, Sigmoid) and case.logits.ndim == 2 else None
        copies = faithful(soft, case.images, case.logits, alone) if shape.softens else [(soft, every)]
        judge.climbed.fill_(False)
        for restart in range(self.restarts):

            def climb(pixels: Tensor, rows: Tensor, step: int, restart: int = restart) -> Tensor:
                found, seed = torch.zeros_like(pixels), derive(scene.case.seed, f"MapAttack {restart} {step}")
                for soft, mine in copies:
                    part = mine[rows]
                    if bool(part.any()):
                        found[part] = self._climb(scene, soft, shape, pixels[part], rows[part], seed)
                judge.climbed[rows] |= (found != 0).flatten(1).any(1)
                return found

            def look(rows: Tensor, pixels: Tensor, done: int) -> Tensor | None:
                if done % self.judge_every and done != self.steps:
                    return None
                judge.consider(rows, pixels)
                return judge.short(rows, self.stop)

            ascend(scene.case.images, self._begin(scene, judge, restart, climb), scene.ball, self.optimiser, self.steps, climb, look)

    def _begin(self, scene: Scene, judge: Judge, restart: int, climb: Climb) -> Tensor:
        """Half way from a random point along its gradient or against it: where it ends up better, then, at a second start, where not.

        A distance has no slope at the clean map and grows both ways from it, but seldom alike.
        """
        rows = torch.arange(len(scene.case.images), device=scene.case.images.device)
        start = scene.start("MapAttack", restart // 2)
        way = scene.ball.eps * scene.ball.steepest(climb(scene.case.images + start, rows, -1).nan_to_num(0.0, 0.0, 0.0))
        ends = (judge.consider(rows, scene.case.images + start + sign * way) for sign in (1, -1))
        ahead, behind = (scene.worth(seen, rows, self.margin, self.weight) for seen in ends)
        side = torch.where((ahead >= behind) == (restart % 2 == 0), 0.5, -0.5).view(-1, 1, 1, 1)
        return scene.ball.project(start + side * way, scene.case.images)

    def _climb(self, scene: Scene, soft: Softened, shape: Form, pixels: Tensor, rows: Tensor, seed: int) -> Tensor:
        def steer(maps: Tensor, part: Tensor) -> Tensor:
            with torch.inference_mode(False), torch.enable_grad():
                moved = maps.detach().clone().requires_grad_()
                return torch.autograd.grad(self.goal.climb(scene.maps[rows[part]], moved).sum(), moved)[0]

        def hold(logits: Tensor, part: Tensor) -> Tensor:
            return self.weight * scene.lost(logits, rows[part], self.margin)

        targets, index = scene.case.targets[rows], scene.case.index[rows]
        found = shape.pull(Step(scene.case.model, soft, pixels, targets, index, seed, steer, hold))
        if not shape.holds and scene.constrained:
            every = torch.arange(len(rows), device=rows.device)
            found = found - loss_gradient(scene.case.model, pixels, lambda logits, part: hold(logits, every[part]))
        return found
