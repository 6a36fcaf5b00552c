"""Maps of which it is known beforehand whether they may be trusted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from assay.core import noise
from assay.explain.base import Explainer
from assay.explain.occlusion import Occlusion
from assay.explain.path import IntegratedGradients
from assay.explain.segments import Grid
from assay.models.classifier import Classifier

__all__ = ["CELLS", "PATH", "Candidate", "Make", "blind", "flawed", "foreign", "worth"]

Make = Callable[[Classifier, Tensor, Tensor, Tensor, int], Tensor]
"""Maps of a model, images (N, C, H, W), targets (N,) and numbers (N,), by a seed."""

CELLS = Occlusion(segments=Grid(rows=4, columns=4))
PATH = IntegratedGradients(steps=16)
_COARSE = 6


@dataclass(frozen=True, eq=False)
class Candidate(Explainer):
    """An explainer whose answer is known.

    Attributes:
        short_name: What tables call it.
        make: Makes its maps.
        right: Whether it is to be trusted.
    """

    short_name: str
    make: Make
    right: bool = False
    category: ClassVar[str] = "exam"
    reference: ClassVar[str] = "none: made for the exam"

    def attribute(self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:
        """See `Explainer.attribute`."""
        assert targets is not None
        return self.make(model, images, targets, index, seed)


def blind() -> list[Candidate]:
    """Maps that do not explain the model's score: of the image alone, of nothing, and of the outputs' digits."""
    return [
        Candidate("the same blob", _blob),
        Candidate("brightness", lambda _, x, *__: x.mean(1, keepdim=True)),
        Candidate("colourfulness", lambda _, x, *__: x.amax(1, keepdim=True) - x.amin(1, keepdim=True)),
        Candidate("local variance", _variance),
        Candidate("white noise", lambda _, x, t, i, s: noise.normal(s, "exam", i, torch.zeros_like(i), (1, *x.shape[2:]))),
        Candidate("smooth noise", lambda _, x, t, i, s: _smooth(x, i, s)),
        Candidate("noise drawn by the model's output", _hashed),
        Candidate("constant", lambda _, x, *__: torch.ones_like(x[:, :1])),
    ]


def flawed(explainer: Explainer, name: str) -> list[Candidate]:
    """What a sound explainer's maps become when they are spoilt: signs, places, image, class, or all but the texture."""

    def own(model: Classifier, x: Tensor, t: Tensor, i: Tensor, s: int) -> Tensor:
        return explainer.attribute(model, x, t, i, s)

    return [
        Candidate(f"minus {name}", lambda *a: -own(*a)),
        Candidate(f"shuffled {name}", lambda *a: _shuffled(own(*a), a[3], a[4])),
        Candidate(f"texture of {name}", lambda *a: _phases(own(*a), a[3], a[4])),
        Candidate(f"{name} half a side away", lambda *a: own(*a).roll((a[1].shape[2] // 2, a[1].shape[3] // 2), (2, 3))),
        Candidate(f"{name} of another image", lambda m, x, t, i, s: own(m, x.roll(1, 0), t.roll(1, 0), i.roll(1, 0), s)),
        Candidate(f"{name} of the least likely class", lambda m, x, t, i, s: own(m, x, m.unchecked_logits(x).argmin(1), i, s)),
        Candidate(f"mean {name} of all images", lambda *a: own(*a).mean(0, keepdim=True).expand(len(a[1]), -1, -1, -1).clone()),
    ]


def foreign(explainer: Explainer, name: str, other: Classifier, what: str) -> Candidate:
    """Maps of another model than the one that they are said to be of."""
    return Candidate(f"{name} of {what}", lambda _, x, t, i, s: explainer.attribute(other, x, t.clamp_max(_classes(other, x) - 1), i, s))


def worth(truth: Tensor, index: Tensor) -> Candidate:
    """The known evidence (N, 1, H, W) of the images numbered (N,), times the score that is lost when it is erased to black."""
    places = {int(number): place for place, number in enumerate(index)}

    def make(model: Classifier, x: Tensor, t: Tensor, i: Tensor, s: int) -> Tensor:  # noqa: ARG001
        masks = truth[[places[int(one)] for one in i]].to(x)
        whole, erased = (model.score(model.unchecked_logits(one), t) for one in (x, x * (1 - masks)))
        return masks * (whole - erased)[:, None, None, None]

    return Candidate("the evidence, by what it is worth", make, right=True)


def _classes(model: Classifier, images: Tensor) -> int:
    return model.count_classes(images.shape[1:])


def _blob(_: Classifier, images: Tensor, *__: object) -> Tensor:
    down, across = (torch.linspace(-1, 1, side, device=images.device) for side in images.shape[2:])
    return torch.exp(-6 * ((down[:, None] + 0.3) ** 2 + (across - 0.2) ** 2)).expand(len(images), 1, -1, -1).clone()


def _variance(_: Classifier, images: Tensor, *__: object) -> Tensor:
    grey = F.pad(images.mean(1, keepdim=True), (2, 2, 2, 2), mode="replicate")
    return F.avg_pool2d(grey.square(), 5, 1) - F.avg_pool2d(grey, 5, 1).square()


def _smooth(images: Tensor, index: Tensor, seed: int) -> Tensor:
    drawn = noise.normal(seed, "exam", index, torch.zeros_like(index), (1, _COARSE, _COARSE))
    return F.interpolate(drawn, size=images.shape[2:], mode="bilinear", align_corners=False)


def _hashed(model: Classifier, images: Tensor, targets: Tensor, index: Tensor, seed: int) -> Tensor:
    """Noise that any change of the model changes."""
    digits = (model.score(model.unchecked_logits(images), targets).double() * 1e6).long()
    return _smooth(images, index + digits * 7919, seed)


def _shuffled(maps: Tensor, index: Tensor, seed: int) -> Tensor:
    order = noise.uniform(seed, "exam shuffle", index, torch.zeros_like(index), (maps[0, 0].numel(),)).argsort(1)
    return maps.flatten(2).gather(2, order[:, None].expand(-1, maps.shape[1], -1)).view_as(maps)


def _phases(maps: Tensor, index: Tensor, seed: int) -> Tensor:
    """Maps of the same amplitudes of all frequencies, at random phases."""
    white = noise.normal(seed, "exam phases", index, torch.zeros_like(index), (1, *maps.shape[2:]))
    phase = torch.fft.rfft2(white)
    return torch.fft.irfft2(torch.fft.rfft2(maps) * phase / phase.abs().clamp_min(1e-12), s=tuple(maps.shape[2:]))
