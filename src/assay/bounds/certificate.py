"""What a certificate says."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from assay.core.registry import short
from assay.explain.smooth import Smoothed

__all__ = ["Certificate"]


@dataclass(frozen=True, eq=False)
class Certificate:
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
    norm: Tensor
    radius: Tensor
    samples: int
    needed: Tensor

    @property
    def certified(self) -> Tensor:
        """(...) bool, whether `cosine` or `overlap` says something."""
        return (self.cosine > 0) | (self.overlap > 0)

    @property
    def sentence(self) -> str:
        """The certificate in words, at the smallest radius."""
        radii = self.eps if isinstance(self.eps, tuple) else (self.eps,)
        row = min(range(len(radii)), key=radii.__getitem__)
        cosine, overlap, certified = (one.view(len(radii), -1)[row] for one in (self.cosine, self.overlap, self.certified))
        count, many = int(certified.sum()), len(certified)
        head = f"{short(self.smoothing)} within L2 distance {radii[row]:g}, at {self.confidence:.4g} confidence for each image"
        if not count:
            return f"{head}: nothing is certified for any of {many} images with {self.samples} copies; see `needed`."
        parts = [f"the cosine of exact maps stays above {cosine[certified].median():.3f}"] if bool((cosine > 0).any()) else []
        if bool((overlap > 0).any()):
            parts.append(f"{overlap[certified].median():.1%} of the top pixels stay")
        return f"{head}: {count} of {many} images are certified; of these, in the median, {' and '.join(parts)}."
