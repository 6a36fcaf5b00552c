"""Maps of which it is known beforehand whether they may be trusted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from assay.core import noise
from assay.explain.base import Explainer
from assay.explain.occlusion import Occlusion
from assay.explain.path import IntegratedGradients
from assay.explain.superpixels.segments import Grid
from assay.models.case import Case
from assay.models.classifier import Classifier

__all__ = ["CELLS", "FLAWS", "PATH", "Call", "Candidate", "Flaw", "MakeMap", "blind", "flawed", "foreign", "worth"]

CELLS = Occlusion(segments=Grid(rows=4, columns=4))
PATH = IntegratedGradients(steps=16)
_COARSE = 6


@dataclass(frozen=True, eq=False)
class Call(Case):
    """A case as a candidate is called with."""

    def of(self, explainer: Explainer) -> Tensor:
        """The explainer's maps."""
        return explainer.attribute(self.model, self.images, self.targets, self.index, self.seed)

    def score(self, images: Tensor) -> Tensor:
        """Scores (N,) of the targets at other images."""
        return self.model.score(self.model.unchecked_logits(images), self.targets)


MakeMap = Callable[[Call], Tensor]
Flaw = Literal["signs", "order", "texture", "place", "image", "class", "mean"]
"""What is spoilt of a map: its signs, its pixels' order, all but its texture, its place, its image, its class, or all but the mean map."""
FLAWS: tuple[Flaw, ...] = get_args(Flaw)


@dataclass(frozen=True, eq=False)
class Candidate(Explainer):
    """An explainer whose answer is known.

    Attributes:
        short_name: What tables call it.
        make: Makes its maps.
        right: Whether it is to be trusted.
    """

    short_name: str
    make: MakeMap
    right: bool = False
    category: ClassVar[str] = "exam"
    reference: ClassVar[str] = "none: made for the exam"

    def attribute(self, model: Classifier, images: Tensor, targets: Tensor | None, index: Tensor, seed: int) -> Tensor:
        """See `Explainer.attribute`."""
        assert targets is not None
        return self.make(Call(model, images, targets, index, seed))


def blind() -> list[Candidate]:
    """Maps that do not explain the model's score: of the image alone, of nothing, and of the outputs' digits."""
    return [
        Candidate("the same blob", _blob),
        Candidate("brightness", lambda call: call.images.mean(1, keepdim=True)),
        Candidate("colourfulness", lambda call: call.images.amax(1, keepdim=True) - call.images.amin(1, keepdim=True)),
        Candidate("local variance", _variance),
        Candidate("white noise", lambda call: _noise(call, call.index, tuple(call.images.shape[2:]))),
        Candidate("smooth noise", lambda call: _smooth(call, call.index)),
        Candidate("noise drawn by the model's output", _hashed),
        Candidate("constant", lambda call: torch.ones_like(call.images[:, :1])),
    ]


def flawed(explainer: Explainer, name: str, flaws: Sequence[Flaw] = FLAWS) -> list[Candidate]:
    """What a sound explainer's maps become when they are spoilt in each of these ways."""

    def mean(call: Call) -> Tensor:
        maps = call.of(explainer)
        return maps.mean(0, keepdim=True).expand_as(maps).clone()

    made: dict[Flaw, Candidate] = {
        "signs": Candidate(f"minus {name}", lambda call: -call.of(explainer)),
        "order": Candidate(f"shuffled {name}", lambda call: _shuffled(call.of(explainer), call)),
        "texture": Candidate(f"texture of {name}", lambda call: _phases(call.of(explainer), call)),
        "place": Candidate(f"{name} half a side away", lambda call: _away(call.of(explainer))),
        "image": Candidate(f"{name} of another image", lambda call: _shifted(call).of(explainer)),
        "class": Candidate(
            f"{name} of the least likely class",
            lambda call: replace(call, targets=call.model.unchecked_logits(call.images).argmin(1)).of(explainer),
        ),
        "mean": Candidate(f"mean {name} of all images", mean),
    }
    return [made[flaw] for flaw in flaws]


def foreign(explainer: Explainer, name: str, other: Classifier, what: str) -> Candidate:
    """Maps of another model than the one that they are said to be of."""
    return Candidate(f"{name} of {what}", lambda call: replace(call, model=other).of(explainer))


def worth(truth: Tensor, index: Tensor) -> Candidate:
    """The known evidence (N, 1, H, W) of the images numbered (N,), times the score that is lost when it is erased to black."""
    places = {int(number): place for place, number in enumerate(index)}

    def make(call: Call) -> Tensor:
        masks = truth[[places[int(one)] for one in call.index]].to(call.images)
        lost = call.score(call.images) - call.score(call.images * (1 - masks))
        return masks * lost[:, None, None, None]

    return Candidate("the evidence, by what it is worth", make, right=True)


def _noise(call: Call, index: Tensor, shape: tuple[int, ...]) -> Tensor:
    return noise.normal(call.seed, "exam", index, torch.zeros_like(index), (1, *shape))


def _smooth(call: Call, index: Tensor) -> Tensor:
    drawn = _noise(call, index, (_COARSE, _COARSE))
    return F.interpolate(drawn, size=call.images.shape[2:], mode="bilinear", align_corners=False)


def _hashed(call: Call) -> Tensor:
    """Noise that any change of the model changes."""
    return _smooth(call, call.index + (call.score(call.images).double() * 1e6).long() * 7919)


def _blob(call: Call) -> Tensor:
    down, across = (torch.linspace(-1, 1, side, device=call.images.device) for side in call.images.shape[2:])
    return torch.exp(-6 * ((down[:, None] + 0.3) ** 2 + (across - 0.2) ** 2)).expand(len(call.images), 1, -1, -1).clone()


def _variance(call: Call) -> Tensor:
    grey = F.pad(call.images.mean(1, keepdim=True), (2, 2, 2, 2), mode="replicate")
    return F.avg_pool2d(grey.square(), 5, 1) - F.avg_pool2d(grey, 5, 1).square()


def _shifted(call: Call) -> Call:
    return replace(call, images=call.images.roll(1, 0), targets=call.targets.roll(1, 0), index=call.index.roll(1, 0))


def _away(maps: Tensor) -> Tensor:
    return maps.roll((maps.shape[2] // 2, maps.shape[3] // 2), (2, 3))


def _shuffled(maps: Tensor, call: Call) -> Tensor:
    drawn = noise.uniform(call.seed, "exam shuffle", call.index, torch.zeros_like(call.index), (maps[0, 0].numel(),))
    return maps.flatten(2).gather(2, drawn.argsort(1)[:, None].expand(-1, maps.shape[1], -1)).view_as(maps)


def _phases(maps: Tensor, call: Call) -> Tensor:
    """Maps of the same amplitudes of all frequencies, at random phases."""
    phase = torch.fft.rfft2(_noise(call, call.index, tuple(maps.shape[2:])))
    found: Tensor = torch.fft.irfft2(torch.fft.rfft2(maps) * phase / phase.abs().clamp_min(1e-12), s=tuple(maps.shape[2:]))
    return found
