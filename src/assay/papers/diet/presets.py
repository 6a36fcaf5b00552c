"""The DiET study's settings for each data set: the paper's, and the same experiment sized for two cores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from assay.core.registry import short
from assay.explain.backgrounds import Blur, Constant
from assay.models.nets.resnet import SmallResNet
from assay.models.training.recipe import Flip, Recipe, Shift
from assay.papers.diet.settings import Dataset, DietSettings, Variant
from assay.papers.settings import Preset, merged
from assay.tune.backgrounds import Backdrop, DatasetMean, OneOf
from assay.tune.diet import PAPER, DiET
from assay.tune.schedules import Converged, Epochs, Falling

__all__ = ["DIET", "PAPER_BASELINES", "PAPER_RECIPE", "chosen", "demo", "preset"]

DIET, PAPER_RECIPE = "DiET", "DiET, paper's recipe"
"""What the tables call the two recipes."""
PAPER_BASELINES = ("Gradient", "SmoothGrad", "GradCAM", "SimpleFullGrad", "FullGrad")
"""Explainers that the paper compares DiET with."""

_EXPLAINERS = (*PAPER_BASELINES[:1], "GradientXInput", *PAPER_BASELINES[1:], "IntegratedGradients", "Lime")
_BACKGROUNDS = ("RandomColour", "GaussianNoise", "Blur", "DatasetMean", "OtherImages", "Constant")
_PAPER_SIDE = 224
_OURS = DiET()
_PAPER_TRAINING = Recipe(
    epochs=10, batch_size=256, optimiser="adamw", lr=1e-4, warmup=0.0, weight_decay=0.0, label_smoothing=0.0, precision="float32"
)
"""Adam with the paper's rate, batch and epochs; unlike the paper's, the rate falls along half a cosine."""


@dataclass(frozen=True)
class _Words:
    """What the data sets' specs of one form say beyond split and size: of the images trained on, tested on, and reversed."""

    title: str = ""
    train: str = ""
    test: str = ""
    reversed: str = ""


@dataclass(frozen=True)
class _Form:
    """What differs between data sets.

    Attributes:
        classes: Their number.
        side: Side of the images in the small preset.
        data: Name of the data sets' spec.
        tune: Split that DiET is tuned on.
        tune_images: Images that DiET is tuned on in the small preset.
        scored_images: Images of each part whose maps are scored in the small preset.
        training: How the baseline is trained in the small preset.
        variants: The forms that are studied.
        ours: Our recipe.
        rounds: Its rounds in the small preset.
        explainers: What explains the baseline in the small preset.
    """

    classes: int
    side: int
    data: str
    tune: str
    tune_images: int
    scored_images: int
    training: Recipe
    variants: tuple[_Words, ...] = (_Words(),)
    ours: DiET = _OURS
    rounds: int = 4
    explainers: tuple[str, ...] = _EXPLAINERS


def _tagged(strength: str) -> _Words:
    """Chest X-rays with the tag on one class, and the test images with it on the other; 16 pixels wide at every size."""
    usual, other = (f', tag="{tag}", strength={strength}, tag_size={{tag_size}}' for tag in ("NORMAL", "PNEUMONIA"))
    return _Words(f"tag strength {strength}", usual, usual, other)


_GLASSES = _Words("", ", per_class=2000", ", per_class=500", ', per_class=500, glasses="reversed"')
_QUICK = Recipe(epochs=5, optimiser="adamw", lr=2e-3, label_smoothing=0.0)
_UNTAGGED = DiET(
    rounds=2,
    mask_lr=0.06,
    background=OneOf((Blur(), DatasetMean())),
    sparsity=Falling(start=5.0),
    model_stop=Epochs(4),
    smoothness=2.0,
    judges=(Constant(),),
)
"""Our recipe where a noisy tag is the evidence: erasing has to leave what looks like an image without the tag, as random colours do not."""
_FORMS: dict[Dataset, _Form] = {
    "hard-digits": _Form(10, 64, "HardDigits", "val", 400, 200, Recipe(epochs=16, augment=(Shift(8),))),
    "hard-mnist": _Form(10, 64, "HardMNIST", "tune", 1500, 300, Recipe(epochs=16, augment=(Shift(8),))),
    # The default recipe's SGD does not find the tag in so few steps. Lime's segments take longer than all other maps together.
    "chest-xray": _Form(2, 112, "ChestXray", "train", 192, 80, _QUICK, (_tagged("0.05"), _tagged("0.2")), _UNTAGGED, 2, _EXPLAINERS[:-1]),
    "celeba": _Form(3, 112, "CelebA", "train", 600, 300, Recipe(epochs=5, augment=(Flip(),)), (_GLASSES,)),
}


def preset(dataset: Dataset, name: Preset, seed: int = 0) -> DietSettings:
    """The settings of a data set's study.

    Args:
        dataset: Whose study it is.
        name: "paper" is the paper's setting: a network with ResNet-18's stages, 224 pixels, its rates, sizes and numbers of
            images; "small" is the same experiment on smaller images, networks and samples, in bfloat16 where that is fast.
        seed: Decides all randomness.
    """
    form = _FORMS[dataset]
    small = name == "small"
    side = form.side if small else _PAPER_SIDE
    return DietSettings(
        dataset=dataset,
        preset=name,
        seed=seed,
        architecture=repr(_small_net(form.classes, side) if small else _paper_net(form.classes)),
        recipe=repr(form.training if small else _PAPER_TRAINING),
        variants={words.title or dataset: _variant(form, side, words) for words in form.variants},
        methods=_methods(small, side, replace(form.ours, rounds=form.rounds) if small else replace(form.ours, precision="float32")),
        explainers=form.explainers if small else _EXPLAINERS,
        backgrounds=_tried(form.ours.background),
        tune_images=form.tune_images if small else 1500,
        scored_images=form.scored_images if small else 1000,
        precision="auto" if small else "float32",
    )


def chosen(dataset: Dataset, name: Preset, changes: Mapping[str, Any]) -> DietSettings:
    """The preset of a data set with changes, which may name another data set and preset.

    Raises:
        SpecError: A change is unknown or out of range.
    """
    wanted: dict[str, Any] = {"dataset": dataset, "preset": name, **changes}
    # A name that there is not is left to `merged`, which says so.
    known = next((one for one in _FORMS if one == wanted["dataset"]), dataset)
    return merged(preset(known, "paper" if wanted["preset"] == "paper" else "small"), wanted)


def demo(seed: int) -> DietSettings:
    """A study of about a minute on the shipped network: few images, short rounds, three explainers beside."""
    settings = preset("hard-digits", "small", seed)
    (form,) = settings.variants.values()
    few = form.model_copy(update={"test": form.test.replace(")", ", count=500)")})
    return settings.model_copy(
        update={
            "model": "hard-digits",
            "variants": {"hard-digits": few},
            "methods": {DIET: repr(DiET(rounds=4))},
            "explainers": ("Gradient", "SmoothGrad", "GradCAM"),
            "backgrounds": _BACKGROUNDS[:3],
            "mask_network": None,
            "tune_images": 128,
            "scored_images": 32,
        }
    )


def _variant(form: _Form, side: int, words: _Words) -> Variant:
    def spec(split: str, more: str) -> str:
        return f'{form.data}(split="{split}", size={side}{more.format(tag_size=round(16 * _PAPER_SIDE / side))})'

    return Variant(
        train=spec("train", words.train),
        tune=spec(form.tune, words.train),
        test=spec("test", words.test),
        reversed=spec("test", words.reversed) if words.reversed else None,
    )


def _tried(used: Backdrop) -> tuple[str, ...]:
    """Backgrounds that erasure is tried with, among them that of our recipe."""
    own = short(used)
    return _BACKGROUNDS if own in _BACKGROUNDS else (own, *_BACKGROUNDS)


def _methods(small: bool, side: int, ours: DiET) -> dict[str, str]:
    """Our recipe, and the paper's with its authors' rate for the masks, on a grid of 28 to 32 cells as theirs."""
    paper = replace(PAPER, upsample=max(1, round(side / 28)), mask_lr=2000.0)
    if small:
        paper = replace(paper, precision="auto", mask_stop=Converged(most=15), model_stop=Converged(low=0.97, below=0.025, most=8))
    return {DIET: repr(ours), PAPER_RECIPE: repr(paper)}


def _small_net(classes: int, side: int) -> SmallResNet:
    """About 0.7 million parameters; one halving more above 64 pixels."""
    first = 2 if side > 64 else 1
    return SmallResNet(classes=classes, widths=(32, 64, 128), blocks=(2, 2, 2), strides=(first, 2, 2), stem=32, stem_stride=2)


def _paper_net(classes: int) -> SmallResNet:
    """ResNet-18's stages behind a 3x3 stem, as many positions in the last."""
    return SmallResNet(classes=classes, widths=(64, 128, 256, 512), blocks=(2, 2, 2, 2), strides=(2, 2, 2, 2), stem=64, stem_stride=2)
