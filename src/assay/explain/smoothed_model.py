"""The model convolved with a kernel, to be explained itself: `SmoothedModel(model, Gaussian(0.1), samples=100)`."""

from __future__ import annotations

import torch
from torch import Tensor

from assay.core.inputs import check_seed
from assay.core.registry import short
from assay.errors import ModelError, SpecError
from assay.explain.kernels import Kernel, draw
from assay.explain.smooth import samples_for
from assay.models.classifier import Classifier
from assay.models.pixels import Copies

__all__ = ["SmoothedModel"]


class SmoothedModel(Classifier):
    """`f * mu`: the mean of a model's outputs over noisy copies of the image, used as a Classifier.

    The mean is of what the model explains: of the logits, or with `output` "probability" or "log_probability" of the probabilities,
    whose logarithms then stand for logits. All images, at every call, get the same noise, so that this is one function of the image,
    as the paths and coalitions of an explainer need. Weights and the count of passes are those of `model`: each image counts
    `samples` times, and once more where a backward pass has to repeat what does not fit into memory.

    `Smoothed(explainer, kernel)` is something else, the mean of maps; only for the gradient are they the same.

    Args:
        model: What is smoothed; it is not changed.
        kernel: The noise.
        samples: Noisy copies per image; None for the paper's rule at the kernel's spread (`samples_for`).
        seed: Decides the noise.
        antithetic: Noise in pairs of opposite sign, which cancels all odd terms of the error at equal passes.

    Raises:
        ModelError: `model` is no Classifier, or is smoothed already.
        SpecError: `kernel` is no kernel, or `samples` is not at least 1.

    Source: Tan and Tian, ICML 2023 (proposition 4.2 and theorem 4.3), with a finite number of samples.
    """

    def __init__(self, model: Classifier, kernel: Kernel, samples: int | None = None, seed: int = 0, antithetic: bool = True) -> None:
        if not isinstance(model, Classifier):
            raise ModelError(
                f"SmoothedModel smooths an assay.Classifier, not {type(model).__name__}; wrap the network: assay.Classifier(net)"
            )
        if model.copies is not None:
            raise ModelError(f"SmoothedModel: {model.name} is smoothed already, by {model.copies.spec}")
        if not isinstance(kernel, Kernel):
            raise SpecError(f"SmoothedModel: kernel must be one such as Gaussian(0.1), not {kernel!r}")
        count = samples_for(kernel.spread) if samples is None else samples
        if count < 1:
            raise SpecError(f"SmoothedModel: samples must be at least 1, not {samples}")
        vars(self).update(vars(model))
        self._bytes = {}
        seed = check_seed(seed)

        def noise(number: Tensor, shape: tuple[int, ...]) -> Tensor:
            return draw(kernel, seed, "Smoothed", torch.zeros_like(number), number, shape, antithetic)

        self.copies = Copies(count, noise, f"{short(kernel)}, samples={count}, seed={seed}, antithetic={antithetic}")

    def __repr__(self) -> str:
        spec = self.copies.spec if self.copies is not None else ""
        return f"SmoothedModel({super().__repr__()}, {spec})"
