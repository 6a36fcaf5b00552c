"""Maps of which it is known beforehand whether they may be trusted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from assay.core import noise
from assay.explain.base import Explainer
from assay.explain.occlusion import Occlusion
from assay.explain.path import IntegratedGradients
from assay.explain.superpixels.segments import Grid
from assay.models.classifier import Classifier

__all__ = ["CELLS", "PATH", "Asked", "Candidate", "Make", "blind", "flawed", "foreign", "worth"]

CELLS = Occlusion(segments=Grid(rows=4, columns=4))
PATH = IntegratedGradients(steps=16)
_COARSE = 6


@dataclass(frozen=True, eq=False)
class Asked:
    """What an explainer is called with: a model, images (N, C, H, W), targets (N,), numbers (N,) and a seed."""

    model: Classifier
    images: Tensor
    targets: Tensor
    index: Tensor
    seed: int

    def of(self, explainer: Explainer) -> Tensor:
        """The explainer's maps."""
        return explainer.attribute(self.model, self.images, self.targets, self.index, self.seed)

    def score(self, images: Tensor) -> Tensor:
        """Scores (N,) of the targets at other images."""
        return self.model.score(self.model.unchecked_logits(images), self.targets)


Make = Callable[[Asked], Tensor]


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
        return self.make(Asked(model, images, targets, index, seed))


def blind() -> list[Candidate]:
    """Maps that do not explain the model's score: of the image alone, of nothing, and of the outputs' digits."""
    return [
        Candidate("the same blob", _blob),
        Candidate("brightness", lambda asked: asked.images.mean(1, keepdim=True)),
        Candidate("colourfulness", lambda asked: asked.images.amax(1, keepdim=True) - asked.images.amin(1, keepdim=True)),
        Candidate("local variance", _variance),
        Candidate("white noise", lambda asked: _noise(asked, asked.index, tuple(asked.images.shape[2:]))),
        Candidate("smooth noise", lambda asked: _smooth(asked, asked.index)),
        Candidate("noise drawn by the model's output", _hashed),
        Candidate("constant", lambda asked: torch.ones_like(asked.images[:, :1])),
    ]


def flawed(explainer: Explainer, name: str) -> list[Candidate]:
    """What a sound explainer's maps become when they are spoilt: signs, places, image, class, or all but the texture."""

    def mean(asked: Asked) -> Tensor:
        maps = asked.of(explainer)
        return maps.mean(0, keepdim=True).expand_as(maps).clone()

    return [
        Candidate(f"minus {name}", lambda asked: -asked.of(explainer)),
        Candidate(f"shuffled {name}", lambda asked: _shuffled(asked.of(explainer), asked)),
        Candidate(f"texture of {name}", lambda asked: _phases(asked.of(explainer), asked)),
        Candidate(f"{name} half a side away", lambda asked: _away(asked.of(explainer))),
        Candidate(f"{name} of another image", lambda asked: _shifted(asked).of(explainer)),
        Candidate(
            f"{name} of the least likely class",
            lambda asked: replace(asked, targets=asked.model.unchecked_logits(asked.images).argmin(1)).of(explainer),
        ),
        Candidate(f"mean {name} of all images", mean),
    ]


def foreign(explainer: Explainer, name: str, other: Classifier, what: str) -> Candidate:
    """Maps of another model than the one that they are said to be of."""
    return Candidate(f"{name} of {what}", lambda asked: replace(asked, model=other).of(explainer))


def worth(truth: Tensor, index: Tensor) -> Candidate:
    """The known evidence (N, 1, H, W) of the images numbered (N,), times the score that is lost when it is erased to black."""
    places = {int(number): place for place, number in enumerate(index)}

    def make(asked: Asked) -> Tensor:
        masks = truth[[places[int(one)] for one in asked.index]].to(asked.images)
        lost = asked.score(asked.images) - asked.score(asked.images * (1 - masks))
        return masks * lost[:, None, None, None]

    return Candidate("the evidence, by what it is worth", make, right=True)


def _noise(asked: Asked, index: Tensor, shape: tuple[int, ...]) -> Tensor:
    return noise.normal(asked.seed, "exam", index, torch.zeros_like(index), (1, *shape))


def _smooth(asked: Asked, index: Tensor) -> Tensor:
    drawn = _noise(asked, index, (_COARSE, _COARSE))
    return F.interpolate(drawn, size=asked.images.shape[2:], mode="bilinear", align_corners=False)


def _hashed(asked: Asked) -> Tensor:
    """Noise that any change of the model changes."""
    return _smooth(asked, asked.index + (asked.score(asked.images).double() * 1e6).long() * 7919)


def _blob(asked: Asked) -> Tensor:
    down, across = (torch.linspace(-1, 1, side, device=asked.images.device) for side in asked.images.shape[2:])
    return torch.exp(-6 * ((down[:, None] + 0.3) ** 2 + (across - 0.2) ** 2)).expand(len(asked.images), 1, -1, -1).clone()


def _variance(asked: Asked) -> Tensor:
    grey = F.pad(asked.images.mean(1, keepdim=True), (2, 2, 2, 2), mode="replicate")
    return F.avg_pool2d(grey.square(), 5, 1) - F.avg_pool2d(grey, 5, 1).square()


def _shifted(asked: Asked) -> Asked:
    return replace(asked, images=asked.images.roll(1, 0), targets=asked.targets.roll(1, 0), index=asked.index.roll(1, 0))


def _away(maps: Tensor) -> Tensor:
    return maps.roll((maps.shape[2] // 2, maps.shape[3] // 2), (2, 3))


def _shuffled(maps: Tensor, asked: Asked) -> Tensor:
    drawn = noise.uniform(asked.seed, "exam shuffle", asked.index, torch.zeros_like(asked.index), (maps[0, 0].numel(),))
    return maps.flatten(2).gather(2, drawn.argsort(1)[:, None].expand(-1, maps.shape[1], -1)).view_as(maps)


def _phases(maps: Tensor, asked: Asked) -> Tensor:
    """Maps of the same amplitudes of all frequencies, at random phases."""
    phase = torch.fft.rfft2(_noise(asked, asked.index, tuple(maps.shape[2:])))
    found: Tensor = torch.fft.irfft2(torch.fft.rfft2(maps) * phase / phase.abs().clamp_min(1e-12), s=tuple(maps.shape[2:]))
    return found
