"""Every choice of the robustness study as one frozen, checked value, and its two presets."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from assay.core.precision import Precision
from assay.core.registry import short
from assay.explain.smooth import SmoothGrad, samples_for
from assay.models.heads import Output
from assay.papers.robustness.networks import default_models
from assay.papers.settings import Many, Preset, Strict, merged
from assay.study.audit.standard import PAPER

__all__ = ["RobustnessSettings", "StudyPart", "chosen", "preset"]


class StudyPart(Strict):
    """Explainers and measures on some of the images.

    Attributes:
        explainers: Specs of the explainers.
        measures: Specs of the measures.
        images: How many of the chosen images: the first ones.
        outputs: What is explained: the class "probability", its "logit".
        networks: Which networks: "all", or only the "standard" ones.
        score: Whether measures of robustness are asked of the model's own score too.
    """

    explainers: Annotated[tuple[str, ...], Field(min_length=1)]
    measures: Annotated[tuple[str, ...], Field(min_length=1)]
    images: Annotated[int, Field(ge=2)]
    outputs: Annotated[tuple[Output, ...], Field(min_length=1)] = ("probability",)
    networks: Literal["all", "standard"] = "all"
    score: bool = False


class RobustnessSettings(Strict):
    """What the study does.

    Attributes:
        preset: Where the settings come from.
        seed: Decides all randomness.
        data: Spec of the labelled images.
        images: How many are chosen at random by the seed, for parts to take from.
        models: Shipped names or checkpoints; the robust twins of NAME are NAME-linf and NAME-robust.
        weights: Folder with NAME.safetensors of the models, looked at first.
        parts: What is explained and measured, by name.
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
    parts: Annotated[dict[str, StudyPart], Field(min_length=1)]
    certified: Annotated[int, Field(ge=0)] = 0
    radii: tuple[float, ...] = (0.01, 0.02, 0.04)
    precision: Precision = "float32"
    block: Many = 16


_LIPSCHITZ = "LocalLipschitz(draws=50, sigma=0.03)"
_FAITHFUL = tuple(f"MarginalContribution(groups=100, similarity='{one}')" for one in ("inverse_l2", "pearson", "spearman"))
_ON_LOGITS = tuple(one.replace(")", ", score='output')") for one in _FAITHFUL)
_GRADIENTS, _SMOOTHGRAD, _SURROGATES = tuple(map(short, PAPER[:3])), short(PAPER[3]), tuple(map(short, PAPER[4:]))
_SIGMAS = (0.01, 0.03, 0.1, 0.2, 0.4)
_OURS = ("Deletion(steps=16)", "Insertion(steps=16)", "Infidelity(samples=50, scaled=True, relative=True)")
_ATTACKED = "AttackedSimilarity(attack=MapAttack(eps=0.00784313725490196, steps=10), distance=Cosine())"


def preset(name: Preset, seed: int = 0) -> RobustnessSettings:
    """The settings of a preset.

    Args:
        name: "paper" is the paper's setting: 1000 images, all six explainers, networks of its sizes; "small" is the same experiment on
            subsets, sized for two cores.
        seed: Decides all randomness.
    """
    if name == "paper":
        everyone = dict.fromkeys(("gradients", "smooth", "surrogates", "wide", "moved"), 1000)
        return _preset(name, seed, **everyone, ours=100, attacked=100, certified=100)
    return _preset(name, seed, gradients=16, smooth=6, surrogates=6, wide=64, moved=8, ours=8, attacked=4, certified=4)


def chosen(name: Preset, changes: dict[str, Any]) -> RobustnessSettings:
    """A preset with changes, which may name another preset.

    Raises:
        SpecError: A change is unknown or out of range.
    """
    wanted: dict[str, Any] = {"preset": name, **changes}
    return merged(preset("paper" if wanted["preset"] == "paper" else "small"), wanted)


def _preset(name: Preset, seed: int, **images: int) -> RobustnessSettings:
    both: dict[str, tuple[Output, tuple[str, ...]]] = {"probability": ("probability", _FAITHFUL), "logit": ("logit", _ON_LOGITS)}
    parts: dict[str, StudyPart] = {}
    for word, (output, faithful) in both.items():
        measures = (_LIPSCHITZ, *faithful)
        parts[f"gradients, {word}"] = _part(_GRADIENTS, measures, images["gradients"], output, score=True)
        parts[f"SmoothGrad, {word}"] = _part((_SMOOTHGRAD,), measures, images["smooth"], output)
        parts[f"surrogates, {word}"] = _part(_SURROGATES, measures, images["surrogates"], output)
    # The paper's rule takes 400 samples at the widest.
    wide, moved = (("Gradient", *(_smoothed(sigma, name, most) for sigma in _SIGMAS)) for most in (60, 20))
    parts["widths, faithfulness"] = _part(wide, _FAITHFUL, images["wide"], "probability")
    lipschitz = _LIPSCHITZ if name == "paper" else "LocalLipschitz(draws=10, sigma=0.03)"
    parts["widths, robustness"] = _part(moved, (lipschitz,), images["moved"], "probability")
    everyone = (*_GRADIENTS, _SMOOTHGRAD, *_SURROGATES, "RandomMap")
    parts["ours, faithfulness"] = _part(everyone, _OURS, images["ours"], "probability")
    parts["ours, attacked"] = _part(
        ("Gradient", "SmoothGrad(sigma=0.1, samples=10)", "RandomMap"), (_ATTACKED,), images["attacked"], "logit"
    )
    return RobustnessSettings(preset=name, seed=seed, images=1000, models=default_models(name), parts=parts, certified=images["certified"])


def _smoothed(sigma: float, name: Preset, most: int) -> str:
    """SmoothGrad at a width: by the paper's rule of samples, of which "small" takes at most so many."""
    few = name == "small" and samples_for(sigma) > most
    return short(SmoothGrad(sigma, most if few else None, antithetic=False))


def _part(explainers: tuple[str, ...], measures: tuple[str, ...], images: int, output: Output, *, score: bool = False) -> StudyPart:
    return StudyPart(explainers=explainers, measures=measures, images=images, outputs=(output,), score=score)
