"""Every choice of the robustness study as one frozen, checked value, and its two presets."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from assay.core.precision import AnyPrecision, Precision
from assay.core.registry import short
from assay.explain.smooth import SmoothGrad, samples_for
from assay.models.heads import Output
from assay.papers.robustness.networks import default_models
from assay.papers.settings import Many, Preset, Strict, merged
from assay.study.audit.standard import PAPER_EXPLAINERS

__all__ = ["NOTIONS", "RobustnessSettings", "StudyPart", "robustness_preset", "robustness_settings"]


class StudyPart(Strict):
    """Explainers and measures on some of the images.

    Attributes:
        explainers: Specs of the explainers; may be none where the score is asked for.
        measures: Specs of the measures.
        images: How many of the chosen images: the first ones.
        outputs: What is explained: the class "probability", its "logit".
        networks: Which networks: "all" but figure 3's, of these only the "standard" ones, or figure 3's "graded" ones.
        precision: What the part is computed in, "auto" for the faster one; None for the study's. Constants of maps bear 16 bits
            (`benchmarks/sixteen.py`); those of the score, and contributions of groups, are small differences, which 16 bits cannot tell.
        score: Whether measures of robustness are asked of the model's own score too.
    """

    explainers: tuple[str, ...] = ()
    measures: Annotated[tuple[str, ...], Field(min_length=1)]
    images: Annotated[int, Field(ge=2)]
    outputs: Annotated[tuple[Output, ...], Field(min_length=1)] = ("probability",)
    networks: Literal["all", "standard", "graded"] = "all"
    precision: AnyPrecision | None = None
    score: bool = False

    @model_validator(mode="after")
    def _asks(self) -> Self:
        if not self.explainers and not self.score:
            raise ValueError("it has neither explainers nor score")
        return self


class RobustnessSettings(Strict):
    """What the study does.

    Attributes:
        preset: Where the settings come from.
        seed: Decides all randomness.
        data: Spec of the labelled images.
        images: How many are chosen at random by the seed, for parts to take from.
        models: Shipped names or checkpoints; the robust twins of NAME are NAME-linf and NAME-robust.
        weights: Folder with NAME.safetensors of the models, looked at first.
        graded: Folder of figure 3's networks, as `assay study graded` makes them; without it that figure is not run.
        parts: What is explained and measured, by name.
        condition: Images on which the lengths and directions of maps and contributions are held against each other; none for none.
        audited: Images on which the paper's six explainers are held against the nulls of a verdict, all together; none for none.
        certified: Images of certificates of the smoothed gradient, and L2 radii; no images for none.
        radii: The L2 radii of these certificates.
        precision: What everything is computed in.
        block: Images that are worked on and kept together, at most.
    """

    preset: Preset
    seed: int = 0
    data: str = "CIFAR10"
    images: Annotated[int, Field(ge=2)]
    models: Annotated[tuple[str, ...], Field(min_length=1)]
    weights: str | None = None
    graded: str | None = None
    parts: Annotated[dict[str, StudyPart], Field(min_length=1)]
    condition: Annotated[int, Field(ge=0)] = 0
    audited: Annotated[int, Field(ge=0)] = 0
    certified: Annotated[int, Field(ge=0)] = 0
    radii: tuple[float, ...] = (0.01, 0.02, 0.04)
    precision: Precision = "float32"
    block: Many = 16


_LIPSCHITZ = "LocalLipschitz(draws=50, sigma=0.03)"
_FAITHFUL = tuple(f"MarginalContribution(groups=100, similarity='{one}')" for one in ("inverse_l2", "pearson", "spearman"))
_ON_LOGITS = tuple(one.replace(")", ", score='output')") for one in _FAITHFUL)
_SIX = tuple(map(short, PAPER_EXPLAINERS))
_GROUPS = {"gradients": _SIX[:2], "paths": _SIX[2:3], "SmoothGrad": _SIX[3:4], "surrogates": _SIX[4:]}
"""Explainers that cost about the same."""
_SMALL = {
    "gradients": 1000,
    "paths": 60,
    "SmoothGrad": 16,
    "surrogates": 8,
    "faithfulness": 100,
    "gradients, logit": 100,
    "paths, logit": 10,
    "SmoothGrad, logit": 4,
    "surrogates, logit": 2,
    "faithfulness, logit": 50,
    "gradients, graded": 64,
    "paths, graded": 16,
    "SmoothGrad, graded": 4,
    "surrogates, graded": 2,
    "wide": 64,
    "moved": 16,
    "ours": 16,
    "attacked": 4,
}
"""Images of each part of the preset "small"."""
_SIGMAS = (0.01, 0.03, 0.1, 0.2, 0.4)
NOTIONS = ("Deletion(steps=16)", "Insertion(steps=16)", "Infidelity(samples=50, scaled=True, relative=True)")
"""Notions of faithfulness that are not in the paper."""
_ATTACKED = "AttackedSimilarity(attack=MapAttack(eps=0.00784313725490196, steps=10), distance=Cosine())"


def robustness_preset(name: Preset, seed: int = 0) -> RobustnessSettings:
    """The settings of a preset.

    Args:
        name: "paper" is the paper's setting: 1000 images, all six explainers, networks of its sizes; "small" is the same experiment sized
            for two cores: 1000 images for the gradient and its product with the image, fewer for what costs more, and 16 bits, where the
            machine has them, for local Lipschitz constants alone.
        seed: Decides all randomness.
    """
    if name == "paper":
        return _preset(name, seed, dict.fromkeys(_SMALL, 1000) | {"ours": 100, "attacked": 100}, audited=100, certified=100)
    return _preset(name, seed, _SMALL, audited=32, certified=4)


def robustness_settings(name: Preset, changes: dict[str, Any]) -> RobustnessSettings:
    """A preset with changes, which may name another preset.

    Raises:
        SpecError: A change is unknown or out of range.
    """
    wanted: dict[str, Any] = {"preset": name, **changes}
    return merged(robustness_preset("paper" if wanted["preset"] == "paper" else "small"), wanted)


def _preset(name: Preset, seed: int, images: dict[str, int], audited: int, certified: int) -> RobustnessSettings:
    fast: AnyPrecision | None = "auto" if name == "small" else None
    parts: dict[str, StudyPart] = {}
    parts["model, probability"] = _part((), (_LIPSCHITZ,), images["gradients"], "probability", score=True)
    for group, explainers in _GROUPS.items():
        parts[f"{group}, probability"] = _part(explainers, (_LIPSCHITZ,), images[group], "probability", fast)
    parts["faithfulness, probability"] = _part(_SIX, _FAITHFUL, images["faithfulness"], "probability")
    parts["model, logit"] = _part((), (_LIPSCHITZ,), images["gradients, logit"], "logit", score=True)
    for group, explainers in _GROUPS.items():
        parts[f"{group}, logit"] = _part(explainers, (_LIPSCHITZ,), images[f"{group}, logit"], "logit", fast)
    parts["faithfulness, logit"] = _part(_SIX, _ON_LOGITS, images["faithfulness, logit"], "logit")
    # The paper's rule takes 400 samples at the widest.
    wide, moved = (("Gradient", *(_smoothed(sigma, name, most) for sigma in _SIGMAS)) for most in (60, 20))
    parts["widths, faithfulness"] = _part(wide, _FAITHFUL, images["wide"], "probability")
    lipschitz = _LIPSCHITZ if name == "paper" else "LocalLipschitz(draws=10, sigma=0.03)"
    parts["widths, robustness"] = _part(moved, (lipschitz,), images["moved"], "probability", fast)
    dosed = {"model, graded": _part((), (_LIPSCHITZ,), images["gradients, graded"], "probability", score=True)}
    for group, explainers in _GROUPS.items():
        dosed[f"{group}, graded"] = _part(explainers, (_LIPSCHITZ,), images[f"{group}, graded"], "probability", fast)
    parts |= {word: part.model_copy(update={"networks": "graded"}) for word, part in dosed.items()}
    parts["ours, faithfulness"] = _part((*_SIX, "RandomMap"), NOTIONS, images["ours"], "probability")
    parts["ours, attacked"] = _part(
        ("Gradient", "SmoothGrad(sigma=0.1, samples=10)", "RandomMap"), (_ATTACKED,), images["attacked"], "logit"
    )
    return RobustnessSettings(
        preset=name,
        seed=seed,
        images=1000,
        models=default_models(name),
        parts=parts,
        condition=images["faithfulness"],
        audited=audited,
        certified=certified,
    )


def _smoothed(sigma: float, name: Preset, most: int) -> str:
    """SmoothGrad at a width: by the paper's rule of samples, of which "small" takes at most so many."""
    few = name == "small" and samples_for(sigma) > most
    return short(SmoothGrad(sigma, most if few else None, antithetic=False))


def _part(
    explainers: tuple[str, ...],
    measures: tuple[str, ...],
    images: int,
    output: Output,
    precision: AnyPrecision | None = None,
    *,
    score: bool = False,
) -> StudyPart:
    return StudyPart(explainers=explainers, measures=measures, images=images, outputs=(output,), precision=precision, score=score)
