"""Every choice of the robustness study as one frozen, checked value, and its two presets."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt

from assay.core.precision import Precision
from assay.core.registry import short
from assay.explain.superpixels.surrogate import KernelShap
from assay.papers.robustness.networks import default_models
from assay.papers.settings import Many, Preset, Strict, merged
from assay.study.audit.standard import PAPER
from assay.study.frontier.plan import FAITHFULNESS

__all__ = ["Certified", "Part", "RobustnessSettings", "chosen", "preset"]


class Part(Strict):
    """Explainers at some widths on some of the images.

    Attributes:
        explainers: Specs of the explainers.
        kernels: Specs of kernels of one kind, which smooth each explainer beside the explainer alone; none for claim 1.
        samples: Noisy copies per image at every width; None for the paper's rule, more at larger widths.
        images: How many of the chosen images: the first ones.
        attacked: How many of these are attacked: the first ones.
        attack: Spec of the attack, by default in the ball that the robust twins were trained in; explainers that it cannot attack are
            attacked by a black-box one in the same ball.
        attacks: Which twins are attacked.
        draws: Random changes per image, for the mean and the largest change of the map.
    """

    explainers: Annotated[tuple[str, ...], Field(min_length=1)]
    kernels: tuple[str, ...] = ()
    samples: Many | None = None
    images: Annotated[int, Field(ge=2)]
    attacked: NonNegativeInt = 0
    attack: str = "MapAttack(eps=0.5, norm='l2', steps=20)"
    attacks: Literal["both", "standard"] = "both"
    draws: Many = 4


_AGAINST_COSINE = "MapAttack(norm='l2', goal=MaximiseDistance(distance=Cosine()), steps={})"


class Certified(Strict):
    """Certificates beside attacks.

    Attributes:
        smoothing: Spec of what is certified, of the class probability.
        eps: L2 radii, ascending.
        images: How many of the chosen images: the first ones.
        samples: Forward passes per image beyond the map's; see `assay.certify`.
        attack: Spec of an L2 attack on what is certified, whose own radius does not count.
        confidence: Of each image's bounds.
    """

    smoothing: str
    eps: Annotated[tuple[float, ...], Field(min_length=1)]
    images: Annotated[int, Field(ge=2)]
    samples: Many | None = None
    attack: str = _AGAINST_COSINE.format(20)
    confidence: float = 0.99


class RobustnessSettings(Strict):
    """What the study does.

    Attributes:
        preset: Where the settings come from.
        seed: Decides all randomness.
        data: Spec of the labelled images.
        images: How many are chosen at random by the seed, for accuracy and for the parts to take from.
        models: Shipped names or checkpoints; the robust twin of NAME is NAME-robust.
        weights: Folder with NAME.safetensors of the models, looked at first.
        parts: What is explained, by name.
        certified: Certificates beside attacks; None for none.
        faithfulness: Specs of the measures of faithfulness, each a notion of its own.
        distances: Specs of the distances by which maps before and after an attack are compared.
        precision: What maps, their random changes and faithfulness are computed in.
        attack_precision: What attacks are made and judged in.
        block: Images that are worked on and kept together, at most.
    """

    preset: Preset
    seed: int = 0
    data: str = "CIFAR10"
    images: Annotated[int, Field(ge=2)]
    models: Annotated[tuple[str, ...], Field(min_length=1)]
    weights: str | None = None
    parts: Annotated[dict[str, Part], Field(min_length=1)]
    certified: Certified | None = None
    faithfulness: Annotated[tuple[str, ...], Field(min_length=1)]
    distances: Annotated[tuple[str, ...], Field(min_length=1)] = ("TopK", "Cosine")
    precision: Precision = "float32"
    attack_precision: Precision = "float32"
    block: Many = 64


_GRADIENTS, _SURROGATES = tuple(map(short, PAPER[:4])), tuple(map(short, PAPER[4:]))
_GAUSSIAN, _UNIFORM = ("Gaussian(sigma={})", (0.01, 0.03, 0.1, 0.2)), ("Uniform(radius={})", (0.02, 0.05, 0.17, 0.35))
"""Widths; those of the uniform kernel have about the standard deviations of the Gaussian ones."""
_CERTIFIED = "SmoothGrad(sigma=0.25, samples={})"
_FEWER = (
    "LocalLinearError(radius=0.01, samples=50, scaled=True, relative=True)",
    "LocalLinearError(radius=0.1, samples=50, scaled=True, relative=True)",
    "Infidelity(samples=50, scaled=True, relative=True)",
    "Deletion(steps=16)",
    "Insertion(steps=16)",
)
"""The same notions of faithfulness at half the passes."""


def preset(name: Preset, seed: int = 0) -> RobustnessSettings:
    """The settings of a preset.

    Args:
        name: "paper" is the paper's setting: 1000 images, all six explainers smoothed at every width with the paper's number of
            samples, float32, networks of its sizes; "small" is the same experiment on subsets, sized for two cores.
        seed: Decides all randomness.
    """
    if name == "paper":
        everyone = (*_GRADIENTS, *_SURROGATES)
        smoothed = (*_GRADIENTS[:3], *_SURROGATES)  # SmoothGrad is the smoothed gradient already.
        hit = "MapAttack(eps=0.5, norm='l2', steps=50)"
        return RobustnessSettings(
            preset=name,
            seed=seed,
            images=1000,
            models=default_models(name),
            parts={
                "explainers": Part(explainers=everyone, images=1000, attacked=1000, attack=hit, draws=10),
                "Gaussian": Part(explainers=smoothed, kernels=_widths(*_GAUSSIAN), images=1000, attacked=1000, attack=hit, draws=10),
                "uniform": Part(explainers=smoothed, kernels=_widths(*_UNIFORM), images=1000, attacked=1000, attack=hit, draws=10),
            },
            certified=Certified(
                smoothing=_CERTIFIED.format(1000),
                eps=(0.02, 0.05, 0.1, 0.2),
                images=200,
                samples=10000,
                attack=_AGAINST_COSINE.format(50),
            ),
            faithfulness=tuple(map(short, FAITHFULNESS)),
        )
    gaussian, uniform = (_widths(form, widths[1:]) for form, widths in (_GAUSSIAN, _UNIFORM))
    surrogate = short(KernelShap(samples=40, sampling="independent"))
    return RobustnessSettings(
        preset=name,
        seed=seed,
        images=1000,
        models=default_models(name),
        parts={
            "explainers": Part(explainers=_GRADIENTS, images=96, attacked=24),
            "surrogates": Part(explainers=_SURROGATES, images=32, attacked=12, attack="MapAttack(eps=0.5, norm='l2', steps=8)", draws=3),
            "Gaussian": Part(
                explainers=_GRADIENTS[:2], kernels=_widths(*_GAUSSIAN), samples=10, images=40, attacked=16, attacks="standard"
            ),
            "uniform": Part(explainers=_GRADIENTS[:1], kernels=uniform, samples=10, images=24, attacked=16, attacks="standard"),
            "Gaussian, path": Part(explainers=_GRADIENTS[2:3], kernels=gaussian, samples=6, images=12, draws=2),
            "Gaussian, surrogate": Part(explainers=(surrogate,), kernels=gaussian[-1:], samples=6, images=12, draws=2),
        },
        certified=Certified(
            smoothing=_CERTIFIED.format(100), eps=(0.01, 0.02, 0.04), images=8, samples=1000, attack=_AGAINST_COSINE.format(10)
        ),
        faithfulness=_FEWER,
    )


def chosen(name: Preset, changes: dict[str, Any]) -> RobustnessSettings:
    """A preset with changes, which may name another preset.

    Raises:
        SpecError: A change is unknown or out of range.
    """
    wanted: dict[str, Any] = {"preset": name, **changes}
    base = preset("paper" if wanted["preset"] == "paper" else "small")
    return merged(base, wanted)


def _widths(form: str, widths: tuple[float, ...]) -> tuple[str, ...]:
    return tuple(form.format(width) for width in widths)
