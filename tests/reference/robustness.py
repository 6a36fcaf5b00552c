"""A robustness study of seconds: two tiny networks on Hard Digits of 32 pixels, a few images, two widths."""

from assay.core.registry import build
from assay.data import Dataset
from assay.models.accuracy import Accuracy
from assay.models.nets.resnet import SmallResNet
from assay.models.sources import checkpoint
from assay.models.sources.model_card import Card, DataUsed
from assay.papers.robustness.settings import robustness_preset
from assay.papers.settings import merged

DATA = 'HardDigits(split="test", size=32, count=40)'
NET = SmallResNet(widths=(4,), blocks=(1,), strides=(2,), stem=4, stem_stride=2)
NAMES = ("tiny", "tiny-linf")
_EACH = ["LocalLipschitz(draws=3)", "MarginalContribution(groups=4)", "MarginalContribution(groups=4, similarity='pearson')"]
TINY = {
    "data": DATA,
    "images": 12,
    "parts": {
        "explainers": {"explainers": ["Gradient", "GradientXInput"], "measures": _EACH, "images": 8, "score": True},
        "logit": {"explainers": ["Gradient"], "measures": _EACH[:1], "images": 4, "outputs": ["logit"], "networks": "standard"},
        "widths": {
            "explainers": ["Gradient", "SmoothGrad(sigma=0.05, samples=2)", "SmoothGrad(sigma=0.2, samples=2)"],
            "measures": _EACH,
            "images": 6,
        },
        "graded": {"explainers": ["Gradient"], "measures": ["LocalLipschitz"], "images": 2, "networks": "graded", "score": True},
        "ours": {
            "explainers": ["Gradient", *(f"SmoothGrad(samples={few})" for few in (2, 3)), "RandomMap"],
            "measures": ["Deletion(steps=4)"],
            "images": 4,
        },
    },
    "condition": 4,
    "audited": 8,
    "certified": 2,
    "radii": [0.01],
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
    return merged(robustness_preset("small"), TINY | {"models": NAMES, "weights": str(folder)} | changes)
