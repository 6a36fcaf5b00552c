"""A DiET study of seconds: Hard Digits at 32 pixels, a tiny network, two short rounds, a few images."""

from assay.papers.diet.presets import diet_preset
from assay.papers.settings import merged

_DIGITS = 'HardDigits(split="{}", size=32, count={})'
_OURS = "DiET(rounds=2, mask_stop=Epochs(3), model_stop=Epochs(2), precision='float32', sparsity=Falling(start={}))"
_THEIRS = (
    "DiET(rounds=2, mask_lr={}, batch_size=8, mask_optimiser='paper', rounding=Rounded(), mask_stop=Converged(most=4), "
    "model_stop=Converged(most=2), choice=RoundK(1), average=False, tolerance=0.0)"
)

TINY = {
    "model": None,
    "architecture": "SmallResNet(widths=(8,), blocks=(1,), strides=(2,), stem=8, stem_stride=2)",
    "recipe": "Recipe(epochs=6, batch_size=20, lr=0.1)",
    "variants": {
        "hard-digits": {"train": _DIGITS.format("train", 200), "tune": _DIGITS.format("val", 40), "test": _DIGITS.format("test", 40)}
    },
    "methods": {"DiET": [_OURS.format(5.0), _OURS.format(10.0)], "theirs": [_THEIRS.format(2000.0), _THEIRS.format(20000.0)]},
    "seeds": 2,
    "explainers": ["Gradient", "GradCAM"],
    "backgrounds": ["RandomColour", "OtherImages"],
    "keep": [0.1, 0.02],
    "tune_images": 16,
    "scored_images": 8,
    "counted_images": 30,
    "gallery": 2,
}


def tiny(**changes):
    """The settings, some of them changed."""
    return merged(diet_preset("hard-digits", "small"), TINY | changes)
