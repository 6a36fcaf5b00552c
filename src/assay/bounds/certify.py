"""`certify`: checks what it is given and hands it to the certificate that fits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from assay.bounds.certificate import Certificate
from assay.bounds.gradient_certificate import certify_gradient
from assay.bounds.votes import certify_votes
from assay.core.registry import build, short
from assay.core.surroundings import undisturbed
from assay.errors import ModelError, SpecError
from assay.explain.base import Explainer, check_call, check_case, check_model
from assay.explain.gradient import Gradient
from assay.explain.kernels import Gaussian
from assay.explain.smooth import Smoothed, SmoothGrad
from assay.explain.sparse import Sparsified
from assay.models.case import Case
from assay.models.classifier import Classifier
from assay.models.targets import Aims, Targets

__all__ = ["certify", "certify_case", "check_certifiable"]

_SAMPLES = 1000


@undisturbed()
def certify(
    model: Classifier,
    images: Any,
    smoothing: Explainer | str,
    eps: float | Sequence[float],
    confidence: float = 0.99,
    targets: Targets | None = None,
    samples: int | None = None,
    seed: int = 0,
    *,
    index: Tensor | None = None,
) -> Certificate:
    """Bounds on how far the smoothed explanation of an image can be from that of any image within L2 distance `eps`, same explained class.

    Args:
        model: The model. Gradients can be certified of probabilities only: `Classifier(net, output="probability")`.
        images: (N, C, H, W), pixels in [0, 1]; or what `assay.data.as_batch` takes.
        smoothing: `SmoothGrad(sigma, samples)`, `Smoothed(Gradient(), Gaussian(sigma), samples)`, or `Smoothed(Sparsified(...),
            Gaussian(sigma), samples)` for the certificate of top pixels; or the spec of one.
        eps: Radius, or several: all radii share all passes. The bounds of an image hold at all of them at once.
        confidence: Of each image's bounds.
        targets: (N,) class ids, or what else is explained (`Targets`); None for the predicted classes.
        samples: Forward passes per image, beyond those of the map, that a gradient's certificate is made of; None for 1000. The
            certificate of top pixels is made of the map's own copies and takes none.
        seed: Decides all randomness, together with `index`.
        index: (N,) the images' global numbers; 0..N-1 when None.

    Raises:
        ModelError: The model explains something else than a probability where that is needed.
        SpecError: There is no certificate for `smoothing`, or a number is out of range.
        AssayError: Another wrong input, named in the message.
    """
    if isinstance(smoothing, str):
        smoothing = build(smoothing, Explainer)
    single = isinstance(eps, int | float)
    radii = (float(eps),) if isinstance(eps, int | float) else tuple(map(float, eps))
    check_model(model)
    home = images.device if isinstance(images, Tensor) else None
    images, aims, index = check_call(model, images, targets, index)
    check_certifiable(model, smoothing, radii, confidence, samples, aims)
    case = check_case(model, images, aims, seed, index)
    return _shaped(certify_case(case, smoothing, radii, confidence, samples), home, single)


def certify_case(case: Case, smoothing: Explainer, radii: tuple[float, ...], confidence: float, samples: int | None = None) -> Certificate:
    """`certify` of checked images, at several radii, on the model's device."""
    chosen = check_certifiable(case.model, smoothing, radii, confidence, samples, case.targets)
    if isinstance(chosen.explainer, Sparsified):
        return certify_votes(case, chosen, radii, confidence)
    return certify_gradient(case, chosen, radii, confidence, _SAMPLES if samples is None else samples)


def check_certifiable(
    model: Classifier,
    smoothing: Explainer,
    eps: tuple[float, ...],
    confidence: float,
    samples: int | None,
    targets: Tensor | None = None,
) -> Smoothed:
    """The explainer as the composition that `certify` certifies, all but the images checked before any work.

    Raises:
        ModelError: See `certify`.
        SpecError: See `certify`.
    """
    check_model(model)
    chosen = _smoothed(smoothing)
    if not eps or not all(math.isfinite(one) and one >= 0 for one in eps):
        raise SpecError(f"eps must be a radius of at least 0, or some of them, not {list(eps)}")
    if not 0 < confidence < 1:
        raise SpecError(f"confidence must be in (0, 1), not {confidence!r}")
    if isinstance(chosen.explainer, Sparsified):
        if samples is not None:
            raise SpecError("the certificate of top pixels is made of the map's own copies; set samples in the Smoothed(...)")
        return chosen
    bounded = [None if one is None else one.bounded for one, _ in targets.parts()] if isinstance(targets, Aims) else [None]
    if not all(model.output == "probability" if one is None else one for one in bounded):
        if model.head == "scalar":
            raise ModelError(
                "a gradient is certified of a class probability, and this model gives values without bound; "
                "certify its top pixels, by Smoothed(Sparsified(Gradient()), ...)"
            )
        raise ModelError(
            "a gradient is certified of a class probability, which is in [0, 1]; "
            f"this model explains its {model.output.replace('_', ' ')}{', or another target' * isinstance(targets, Aims)}: "
            'make it Classifier(net, output="probability"), or give --output probability'
        )
    if samples is not None and (samples < 2 or samples % 2):
        raise SpecError(f"samples must be an even number of at least 2, for pairs of opposite noise, not {samples}")
    return chosen


def _smoothed(smoothing: Explainer) -> Smoothed:
    """The explainer as the composition that is certified.

    Raises:
        SpecError: There is no certificate for it.
    """
    chosen = smoothing.smoothed if isinstance(smoothing, SmoothGrad) else smoothing
    name = short(smoothing) if hasattr(smoothing, "__dataclass_fields__") else type(smoothing).__name__
    if not isinstance(chosen, Smoothed) or not isinstance(chosen.explainer, Gradient | Sparsified):
        raise SpecError(
            f"there is no certificate for {name}; take SmoothGrad(sigma, samples), or Smoothed(Sparsified(...), Gaussian(sigma), samples)"
        )
    if not isinstance(chosen.kernel, Gaussian) or not chosen.kernel.sigma > 0:
        raise SpecError(f"{name} has no certificate: the noise must be Gaussian(sigma) with sigma above 0, not {short(chosen.kernel)}")
    paired = chosen.antithetic or isinstance(chosen.explainer, Gradient)
    if chosen.count < 2 or (paired and chosen.count % 2):
        raise SpecError(f"{name} has {chosen.count} copies; its certificate takes pairs of them: give it samples={chosen.count + 1}")
    return chosen


def _shaped(found: Certificate, home: torch.device | None, single: bool) -> Certificate:
    """The certificate on the images' device, without the axis of radii where one radius was given."""
    rows = {name: getattr(found, name).to(home) for name in ("cosine", "seen", "overlap", "pixels", "needed")}
    if single:
        rows = {name: value[0] for name, value in rows.items()}
    eps = found.eps[0] if single and isinstance(found.eps, tuple) else found.eps
    return replace(found, eps=eps, maps=found.maps.to(home), norm=found.norm.to(home), radius=found.radius.to(home), **rows)
