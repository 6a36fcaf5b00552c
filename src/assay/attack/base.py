"""What every attack on maps is: a frozen object that proposes images, and a base that alone judges them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar, final

from torch import Tensor

from assay.attack.ball import Norm, ball
from assay.attack.goals import Goal
from assay.attack.judge import Explain, Judge, Scene, clean_maps
from assay.core.display import Shown
from assay.core.registry import build, check_at_least, check_choice
from assay.core.surroundings import undisturbed
from assay.errors import ImageTypeError, SpecError
from assay.explain.base import Explainer, check_case, check_explains, is_fixed
from assay.models.case import Case
from assay.models.classifier import Classifier
from assay.models.targets import Targets

__all__ = ["Attack", "AttackResult", "check_common"]


@dataclass(frozen=True, eq=False)
class AttackResult(Shown):
    """What an attack found.

    Attributes:
        images: (N, C, H, W) in [0, 1]; the clean image where nothing better was found.
        maps: Maps of the clean images.
        attacked_maps: Maps of `images`, same targets and seed.
        distance: (N,) what the goal says of the two maps, such as their distance; 0 for the clean image.
        kept: (N,) bool, whether `images` keeps the prediction (and its probability, where a tolerance is set), lies in [0, 1]
            and in the ball, by the model itself. An attack that must keep the class returns nothing else.
        climbed: (N,) bool, whether there was a gradient to climb, where the attack needs one.
        moved: (N,) bool, whether any image that was tried has another map. One that moves where there was no gradient to climb is not
            known to be robust, however little was reached.
        targets: (N,) explained classes.
        logits: (N, K) of the clean images, (N, K, ...) of outputs at positions.
    """

    images: Tensor
    maps: Tensor
    attacked_maps: Tensor
    distance: Tensor
    kept: Tensor
    climbed: Tensor
    moved: Tensor
    targets: Tensor
    logits: Tensor

    face: ClassVar[str] = "assay.report.faces:attack"

    def __repr__(self) -> str:
        many = len(self.images)
        mean = f"{float(self.distance.mean()):.3g}" if many else "nan"
        still = int((~self.climbed).sum())
        told = f", no gradient to climb on {still}" if still else ""
        return f"AttackResult({many} images: prediction kept on {int(self.kept.sum())}, mean distance {mean}{told})"


class Attack(ABC):
    """Base of all attacks on maps: `attack(model, explainer, images)` looks for small changes that change the map.

    A subclass is decorated with `register`, has the fields below and writes `search`.
    """

    eps: float
    norm: Norm
    goal: Goal
    keep_class: bool
    tolerance: float | None
    reference: ClassVar[str]
    """The paper that defines it."""
    pitfalls: ClassVar[str] = ""
    """What it is known to miss, in a sentence."""
    takes: ClassVar[str] = ""
    """Passes of the model for one image, in words."""

    @final
    @undisturbed()
    def __call__(
        self,
        model: Classifier,
        explainer: Explain | str,
        images: Any,
        targets: Targets | None = None,
        seed: int = 0,
        *,
        index: Tensor | None = None,
    ) -> AttackResult:
        """Attack the maps of `images`.

        Args:
            model: The model.
            explainer: What is attacked: an explainer, its spec, or a callable `explain(model, images, targets)` that gives maps.
            images: (N, C, H, W), pixels in [0, 1]; or what `assay.data.as_batch` takes.
            targets: (N,) explained classes, the same before and after, or what else is explained (`Targets`); None for the
                clean images' predicted classes.
            seed: Decides all randomness, together with `index`.
            index: (N,) the images' global numbers; 0..N-1 when None.

        Raises:
            AssayError: A wrong input, named in the message, or an explainer that this attack cannot attack.
        """
        if isinstance(explainer, str):
            explainer = build(explainer, Explainer)
        if not callable(explainer):
            raise ImageTypeError(f"the explainer must be an assay.Explainer, its spec or a callable, not {type(explainer).__name__}")
        check_explains(explainer, type(self).__name__)
        home = images.device if isinstance(images, Tensor) else None
        self.check(explainer)
        case = check_case(model, images, targets, seed, index)
        found = self.run(case, explainer, clean_maps(case, explainer))
        return AttackResult(**{field.name: getattr(found, field.name).to(home) for field in fields(AttackResult)})

    @final
    @undisturbed()
    def run(self, case: Case, explainer: Explain, maps: Tensor) -> AttackResult:
        """The attack on checked images, with their maps known already."""
        check_explains(explainer, type(self).__name__)
        scene = Scene(case, explainer, maps, ball(self.norm, self.eps), self.goal, self.keep_class, self.tolerance)
        if scene.keep_class and scene.tolerance is None and not scene.decision.head.decides:
            raise SpecError(
                f"{case.model.name} gives values, not classes, so {type(self).__name__} has no class to keep; give it tolerance=, the most "
                "that a value may move, or keep_class=False"
            )
        judge = Judge(scene)
        if self.eps > 0:
            self.search(scene, judge)
        return AttackResult(judge.images, maps, judge.maps, judge.value, judge.kept, judge.climbed, judge.moved, case.targets, case.logits)

    def check(self, explainer: Explain) -> None:
        """Refuse, before any work, an explainer that cannot be attacked this way; here, none.

        Raises:
            SpecError: It cannot.
        """
        del explainer

    @property
    def ball_words(self) -> str:
        """The ball in words, in 8-bit steps for Linf."""
        size = f"{255 * self.eps:.3g}/255 in every pixel" if self.norm == "linf" else f"{self.norm.upper()} norm {self.eps:.3g}"
        return f"at most {size}"

    @final
    def can(self, explainer: Explain) -> bool:
        """Whether this attack can attack the explainer."""
        try:
            self.check(explainer)
        except SpecError:
            return False
        return not is_fixed(explainer)

    @abstractmethod
    def search(self, scene: Scene, judge: Judge) -> None:
        """Show candidates to `judge.consider`; what it keeps is the result."""


def check_common(attack: Attack) -> None:
    """Raise SpecError unless the fields that all attacks share make sense."""
    check_at_least(attack, 0, "eps", "tolerance")
    check_choice(attack, "norm", ("linf", "l2", "l1"))
