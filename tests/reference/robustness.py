"""A robustness study of seconds: two tiny networks on Hard Digits of 32 pixels, a few images, one width."""

from assay.core.registry import build
from assay.data import Dataset
from assay.models.accuracy import Accuracy
from assay.models.nets.resnet import SmallResNet
from assay.models.sources import checkpoint
from assay.models.sources.card import Card, DataUsed
from assay.papers.robustness.settings import preset
from assay.papers.settings import merged

DATA = 'HardDigits(split="test", size=32, count=40)'
NET = SmallResNet(widths=(4,), blocks=(1,), strides=(2,), stem=4, stem_stride=2)
NAMES = ("tiny", "tiny-robust")
TINY = {
    "data": DATA,
    "images": 12,
    "parts": {
        "explainers": {
            "explainers": ["Gradient", "GradientXInput"],
            "images": 8,
            "attacked": 4,
            "attack": "MapAttack(steps=2)",
            "draws": 2,
        },
        "Gaussian": {
            "explainers": ["Gradient"],
            "kernels": ["Gaussian(sigma=0.05)", "Gaussian(sigma=0.2)"],
            "samples": 2,
            "images": 6,
            "attacked": 4,
            "attack": "MapAttack(steps=2)",
            "attacks": "standard",
            "draws": 2,
        },
    },
    "faithfulness": ["LocalLinearError(samples=8, scaled=True, relative=True)", "Deletion(steps=4)"],
    "certified": {
        "smoothing": "SmoothGrad(sigma=0.5, samples=4)",
        "eps": [0.01, 0.05],
        "images": 4,
        "samples": 20,
        "attack": "MapAttack(norm='l2', steps=1)",
    },
    "block": 6,
}


def make_weights(folder, names=NAMES):
    """Checkpoints of untrained networks, each with other weights."""
    classes = build(DATA, Dataset).classes
    for seed, name in enumerate(names):
        used, guess = DataUsed("hard-digits", "test", 40, "none"), Accuracy.of(4, 40)
        card = Card(
            repr(NET),
            "Recipe()",
            seed,
            classes,
            (0.5,) * 3,
            (0.25,) * 3,
            (16, 16),
            used,
            used,
            guess,
            "float32",
            100,
            0.0,
            "",
            "2026-01-01",
        )
        checkpoint.save(folder / f"{name}.safetensors", NET.make(seed), card)
    return folder


def tiny(folder, **changes):
    """The settings, some of them changed."""
    return merged(preset("small"), TINY | {"models": NAMES, "weights": str(folder)} | changes)
