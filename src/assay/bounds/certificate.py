"""What a certificate says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median_low as median
from typing import ClassVar

from torch import Tensor

from assay.core.display import Shown
from assay.core.registry import short
from assay.explain.base import Explainer
from assay.explain.smooth import Smoothed
from assay.explain.sparse import Sparsified

__all__ = ["Certificate", "sentence", "top_share"]


@dataclass(frozen=True, eq=False)
class Certificate(Shown):
    """Bounds for each of N images that hold for every image within an L2 distance, pixels outside [0, 1] included; see docs/certify.md.

    An image's bounds, at all radii together, are wrong with probability at most 1 - confidence over the noise. The *exact* map is the
    smoothed map without Monte-Carlo error; the *seen* one is the average over a finite number of copies.

    Attributes:
        smoothing: What was certified.
        eps: Radii; the shape `(...)` below is (N,) for one number, (E, N) for a sequence of E.
        confidence: Of each image's bounds.
        maps: (N, C, H, W), or (N, 1, H, W), the seen maps: those that `smoothing` gives.
        cosine: (...) lower bounds of the cosine between the exact map here and the exact map there; where nothing is certified,
            -1 for gradients and 0 for frequencies, which are never negative.
        seen: (...) lower bounds of the cosine between the seen map here and the exact map there, likewise.
        overlap: (...) lower bounds of the share of the seen map's top pixels that are among the top of the exact map there; 0 for
            gradients, of which nothing of the kind is certified.
        pixels: (..., H, W) int8: 1 for a pixel that is certified in the top, which more than half of the noisy copies of every image there
            mark (whose exact frequency, of relaxed marks mean mark, is above 1/2), -1 for one certified out of it (below 1/2), 0 for
            one that is open. All 0 for gradients. See `shares`.
        norm: (N,) lower bounds of the exact map's L2 norm.
        radius: (N,) the largest eps at which `cosine` or `overlap` says something.
        samples: Noisy copies per image that went through the model.
        needed: (...) copies per image that would be enough for `cosine` or `overlap` to say something, if more copies looked like these;
            infinite where no number would.
    """

    smoothing: Smoothed
    eps: float | tuple[float, ...]
    confidence: float
    maps: Tensor
    cosine: Tensor
    seen: Tensor
    overlap: Tensor
    pixels: Tensor
    norm: Tensor
    radius: Tensor
    samples: int
    needed: Tensor

    face: ClassVar[str] = "assay.report.faces:certificate"

    def __repr__(self) -> str:
        return f"Certificate({self.sentence.removesuffix('.')})"

    @property
    def certified(self) -> Tensor:
        """(...) bool, whether `cosine` or `overlap` says something."""
        return (self.cosine > 0) | (self.overlap > 0)

    @property
    def shares(self) -> dict[str, Tensor]:
        """Shares (...) of the pixels that are certified in the top, certified out of it, and open."""
        flat = self.pixels.flatten(-2)
        return {name: (flat == sign).double().mean(-1) for name, sign in (("top", 1), ("out", -1), ("open", 0))}

    @property
    def unrelated(self) -> float:
        """Mean cosine between the seen maps of two different images: what a bound of the cosine must exceed to tell images apart.

        Maps without a mark or slope are left out; NaN where fewer than two are left.
        """
        flat = self.maps.flatten(1).double()
        flat = flat[flat.norm(dim=1) > 0]
        if len(flat) < 2:
            return float("nan")
        total = (flat / flat.norm(dim=1, keepdim=True)).sum(0).square().sum()
        return float((total - len(flat)) / (len(flat) * (len(flat) - 1)))

    @property
    def sentence(self) -> str:
        """The certificate in words, at the smallest radius."""
        radii = self.eps if isinstance(self.eps, tuple) else (self.eps,)
        row = min(range(len(radii)), key=radii.__getitem__)
        cosine, overlap, needed = (one.view(len(radii), -1)[row].tolist() for one in (self.cosine, self.overlap, self.needed))
        top, out = (float(self.shares[name].view(len(radii), -1)[row].mean()) for name in ("top", "out"))
        head = f"{short(self.smoothing)} within L2 distance {radii[row]:g}, at {self.confidence:.4g} confidence for each image"
        return sentence(head, cosine, overlap, (top, out), (self.samples, needed), (self.unrelated, top_share(self.smoothing)))


def sentence(
    head: str,
    cosine: Sequence[float],
    overlap: Sequence[float],
    shares: tuple[float, float],
    copies: tuple[int, Sequence[float]],
    unrelated: tuple[float, float],
) -> str:
    """What is certified of some images at one radius, in words.

    Args:
        head: Of what, where and how surely.
        cosine: (N,) certified cosines; at most 0 where there is none.
        overlap: (N,) certified shares of top pixels; 0 where there is none.
        shares: Mean shares of the pixels that are certified in the top, and out of it.
        copies: Copies per image that were taken, and (N,) that would be enough; infinite where no number would.
        unrelated: What maps that have nothing to do with each other come to: `Certificate.unrelated`, and the share of the top pixels
            that they have in common, which is that of the pixels that are top; NaN where there is none.
    """
    apart, chance = unrelated
    certified = [row for row, (one, other) in enumerate(zip(cosine, overlap, strict=True)) if one > 0 or other > 0]
    pixels = f"; {shares[0]:.1%} of all pixels stay in the top and {shares[1]:.1%} out of it" if sum(shares) > 0 else ""
    if not certified:
        kind = "nothing" if not pixels else "no map"
        taken, enough = copies[0], [one for one in copies[1] if math.isfinite(one)]
        some = "" if len(enough) == len(cosine) else f" of the {len(enough)} for which any number would"
        known = f"about {median(enough):,.0f} would do in the median{some}" if enough else "no number is known to do"
        return f"{head}: {kind} is certified for any of {len(cosine)} images with {taken} copies ({known}){pixels}."
    parts = []
    if max(cosine) > 0:
        beside = "" if math.isnan(apart) else f", {apart:.3f} in mean between the seen ones of different images,"
        parts.append(f"the cosine of exact maps{beside} stays above {median(cosine[row] for row in certified):.3f}")
    if max(overlap) > 0:
        parts.append(f"{median(overlap[row] for row in certified):.1%} of the top pixels stay, where unrelated maps share {chance:.1%}")
    return f"{head}: {len(certified)} of {len(cosine)} images are certified; of these, in the median, {' and '.join(parts)}{pixels}."


def top_share(smoothing: Explainer) -> float:
    """The share of the pixels that count as the top, of which two unrelated maps share as much; NaN where no top is certified."""
    inner = smoothing.explainer if isinstance(smoothing, Smoothed) else None
    return inner.fraction if isinstance(inner, Sparsified) else math.nan
