"""The DiET study's settings for each data set: the paper's, and the same experiment sized for two cores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from assay.core.registry import short
from assay.explain.backgrounds import Blur, Constant
from assay.models.nets.resnet import SmallResNet
from assay.models.training.recipe import Flip, PixelDropout, Recipe, Shift
from assay.papers.diet.settings import DIET, PAPER_RECIPE, DatasetName, DietSettings, Variant
from assay.papers.settings import Preset, merged
from assay.tune.diet import PAPER, DiET
from assay.tune.drawn_backgrounds import Backdrop, DatasetMean, OneOf
from assay.tune.schedules import Epochs, Falling

__all__ = ["demo_settings", "diet_preset", "diet_settings"]

RIVALS = (
    "Gradient",
    "GradientXInput",
    "SmoothGrad(sigma=0.15, samples=100)",
    "GradCAM",
    "SimpleFullGrad",
    "FullGrad",
    "IntegratedGradients",
    "Lime",
    "KernelShap",
    "RandomMap",
)
"""What explains the baseline: the authors' explainers with their settings, and ours; a random map is the floor."""
_BACKGROUNDS = ("RandomColour", "GaussianNoise", "Blur", "DatasetMean", "OtherImages", "Constant")
_PAPER_SIDE = 224
_STARTS = (5.0, 10.0, 20.0)
"""Weights of the masks' size that are tried with our recipe."""
_RATES = (1000.0, 2000.0, 5000.0)
"""Rates of the masks that are tried with the authors'; theirs are 300 and, on Hard MNIST, 2000 and 5000."""
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
    dropout: bool = False


@dataclass(frozen=True)
class _Form:
    """What differs between data sets.

    Attributes:
        classes: Their number.
        side: Side of the images in the small preset.
        data: Name of the data sets' spec.
        tune: Split that DiET is tuned on.
        training: How the baseline is trained in the small preset.
        variants: The forms that are studied.
        ours: Our recipe, but the weight of the masks' size.
        lighter: What the tried weights are divided by.
        model: The shipped baseline of the small preset.
    """

    classes: int
    side: int
    data: str
    tune: str
    training: Recipe
    variants: tuple[_Words, ...] = (_Words(),)
    ours: DiET = DiET(rounds=4)
    lighter: float = 1.0
    model: str | None = None


def _tagged(title: str, strength: str, *, dropout: bool = False) -> _Words:
    """Chest X-rays with the tag on one class, and the test images with it on the other; 16 pixels wide at every size."""
    usual, other = (f', tag="{tag}", strength={strength}, tag_size={{tag_size}}' for tag in ("NORMAL", "PNEUMONIA"))
    return _Words(title, usual, usual, other, dropout)


_XRAYS = (_tagged("plain baseline", "0.05"), _tagged("pixel dropout", "0.05", dropout=True))
_GLASSES = _Words("", ", per_class=2000", ", per_class=500", ', per_class=500, glasses="reversed"')
_TAGGED = Recipe(epochs=16, optimiser="adamw", lr=2e-3, label_smoothing=0.0, augment=(Shift(8), Flip()))
"""Settled on held-out training images: without moving the images about, the network learns them by heart instead of the tag."""
_DROPPED = 24
"""Epochs with half of the pixels grey, before which the tag is not learned."""
_UNTAGGED = DiET(
    rounds=1, mask_lr=0.1, mask_stop=Epochs(25), background=OneOf((Blur(), DatasetMean())), smoothness=2.0, judges=(Constant(),)
)
"""Our recipe where a noisy tag is the evidence: erasing has to leave what looks like an image without the tag, as random colours do not.

Settled on held-out training images. The masks need their 25 epochs: with fewer, what they hide by half is still seen, and is lost
when they are rounded.
"""
_THINGS = DiET(rounds=3, mask_lr=0.05, mask_stop=Epochs(9), model_stop=Epochs(6), edges=True)
"""Our recipe where the evidence is a whole thing; settled on images of Hard Digits' split "val"."""
_DIGITS = Recipe(epochs=16, augment=(Shift(8),))
_FORMS: dict[DatasetName, _Form] = {
    # Other layouts, colours and partners than those that were looked at when the filter was settled.
    "hard-digits": _Form(10, 64, "HardDigits", "val", _DIGITS, (_Words(test=", seed=1"),), _THINGS, model="hard-digits"),
    "hard-mnist": _Form(10, 64, "HardMNIST", "tune", _DIGITS, ours=_THINGS),
    "chest-xray": _Form(2, 112, "ChestXray", "train", _TAGGED, _XRAYS, _UNTAGGED, lighter=4.0),
    "celeba": _Form(3, 112, "CelebA", "train", Recipe(epochs=5, augment=(Flip(),)), (_GLASSES,)),
}


def diet_preset(dataset: DatasetName, name: Preset, seed: int = 0) -> DietSettings:
    """The settings of a data set's study.

    Args:
        dataset: Whose study it is.
        name: "paper" is the paper's setting: a network with ResNet-18's stages, 224 pixels, its rates, sizes and numbers of
            images; "small" is the same experiment on smaller images, networks and samples, in bfloat16 where that is fast.
        seed: Decides all randomness.
    """
    form, small = _FORMS[dataset], name == "small"
    side = form.side if small else _PAPER_SIDE
    training = form.training if small else _PAPER_TRAINING
    return DietSettings(
        dataset=dataset,
        preset=name,
        seed=seed,
        model=form.model if small else None,
        architecture=repr(_small_net(form.classes, side) if small else _paper_net(form.classes)),
        recipe=repr(training),
        variants={words.title or dataset: _variant(form, side, words, training, small) for words in form.variants},
        methods=_methods(form, side, small),
        explainers=RIVALS,
        backgrounds=_tried(form.ours.background),
        tune_images=256 if small else 1500,
        scored_images=360 if small else 1000,
        counted_images=500 if small else 10_000,
        precision="auto" if small else "float32",
    )


def diet_settings(dataset: DatasetName, name: Preset, changes: Mapping[str, Any]) -> DietSettings:
    """The preset of a data set with changes, which may name another data set and preset.

    Raises:
        SpecError: A change is unknown or out of range.
    """
    wanted: dict[str, Any] = {"dataset": dataset, "preset": name, **changes}
    # A name that there is not is left to `merged`, which says so.
    known = next((one for one in _FORMS if one == wanted["dataset"]), dataset)
    return merged(diet_preset(known, "paper" if wanted["preset"] == "paper" else "small"), wanted)


def demo_settings(seed: int) -> DietSettings:
    """A study of about a minute on the shipped network: few images, one setting and seed, the rivals that come closest beside."""
    settings = diet_preset("hard-digits", "small", seed)
    tried = {DIET: settings.methods[DIET][1:2]}
    few = ("Gradient", "GradCAM", "IntegratedGradients", "Lime", "KernelShap")
    numbers = {"seeds": 1, "tune_images": 96, "scored_images": 32, "counted_images": 300}
    return settings.model_copy(update={"methods": tried, "explainers": few, "backgrounds": _BACKGROUNDS[:3], **numbers})


def _variant(form: _Form, side: int, words: _Words, training: Recipe, small: bool) -> Variant:
    def spec(split: str, more: str) -> str:
        return f'{form.data}(split="{split}", size={side}{more.format(tag_size=round(16 * _PAPER_SIDE / side))})'

    return Variant(
        train=spec("train", words.train),
        tune=spec(form.tune, words.train),
        test=spec("test", words.test),
        reversed=spec("test", words.reversed) if words.reversed else None,
        recipe=repr(_dropped(training, _DROPPED if small else training.epochs)) if words.dropout else None,
    )


def _dropped(training: Recipe, epochs: int) -> Recipe:
    return replace(training, epochs=epochs, augment=(*training.augment, PixelDropout(0.5)))


def _tried(used: Backdrop) -> tuple[str, ...]:
    """Backgrounds that erasure is tried with, among them that of our recipe."""
    own = short(used)
    return _BACKGROUNDS if own in _BACKGROUNDS else (own, *_BACKGROUNDS)


def _methods(form: _Form, side: int, small: bool) -> dict[str, tuple[str, ...]]:
    """Our recipe and the authors', each with as many settings, on grids of about 28 to 32 cells."""
    ours = form.ours if small else replace(form.ours, rounds=6, precision="float32")
    theirs = replace(PAPER, upsample=max(1, round(side / 28)), precision="auto" if small else "float32")
    return {
        DIET: tuple(repr(replace(ours, sparsity=Falling(start=start / form.lighter))) for start in _STARTS),
        PAPER_RECIPE: tuple(repr(replace(theirs, mask_lr=rate)) for rate in _RATES),
    }


def _small_net(classes: int, side: int) -> SmallResNet:
    """About 0.7 million parameters; one halving more above 64 pixels."""
    first = 2 if side > 64 else 1
    return SmallResNet(classes=classes, widths=(32, 64, 128), blocks=(2, 2, 2), strides=(first, 2, 2), stem=32, stem_stride=2)


def _paper_net(classes: int) -> SmallResNet:
    """ResNet-18's stages behind a 3x3 stem, as many positions in the last."""
    return SmallResNet(classes=classes, widths=(64, 128, 256, 512), blocks=(2, 2, 2, 2), strides=(2, 2, 2, 2), stem=64, stem_stride=2)
