"""The same work done by Captum and Quantus, where they are installed; for `assay bench` and tests only."""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["captum", "captum_measures", "quantus"]

Job = Callable[[], Any]


def captum(net: nn.Module, images: Tensor, targets: Tensor, labels: Tensor) -> dict[str, Job]:
    """Captum's explainers with its defaults, by the names of ours; nothing where Captum is not installed.

    Args:
        net: The plain network, in eval mode.
        images: (N, C, H, W).
        targets: (N,) class ids.
        labels: (N, H, W) superpixels.
    """
    if importlib.util.find_spec("captum") is None:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from captum import attr

    def superpixels(method: Any) -> Tensor:
        """Captum takes one image at a time when each has superpixels of its own."""
        return torch.cat(
            [
                method.attribute(images[i : i + 1], target=int(targets[i]), feature_mask=labels[i : i + 1, None], n_samples=100)
                for i in range(len(images))
            ]
        )

    noisy = attr.NoiseTunnel(attr.Saliency(net))
    return {
        "Gradient": lambda: attr.Saliency(net).attribute(images.clone().requires_grad_(), targets, abs=False),
        "GradientXInput": lambda: attr.InputXGradient(net).attribute(images.clone().requires_grad_(), targets),
        "IntegratedGradients": lambda: attr.IntegratedGradients(net).attribute(images, 0.0, targets, n_steps=10),
        "SmoothGrad": lambda: noisy.attribute(
            images.clone().requires_grad_(), nt_samples=30, stdevs=0.03, target=targets, abs=False, nt_type="smoothgrad"
        ),
        "Lime": lambda: superpixels(attr.Lime(net)),
        "KernelShap": lambda: superpixels(attr.KernelShap(net)),
    }


def captum_measures(net: nn.Module, images: Tensor, targets: Tensor, maps: Tensor) -> dict[str, Job]:
    """Captum's infidelity of the same maps with as many passes and the same noise, by the names of ours.

    Args:
        net: The plain network, in eval mode.
        images: (N, C, H, W).
        targets: (N,) class ids.
        maps: (N, C, H, W).
    """
    if importlib.util.find_spec("captum") is None:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from captum.metrics import infidelity

    def job(sigma: float) -> Job:
        def perturbed(inputs: Tensor) -> tuple[Tensor, Tensor]:
            noise = torch.randn_like(inputs) * sigma
            return noise, inputs - noise

        return lambda: infidelity(net, perturbed, images, maps, target=targets, n_perturb_samples=100)

    return {"Infidelity": job(0.2), "LocalLinearError": job(0.01)}


def quantus(net: nn.Module, images: Tensor, targets: Tensor, maps: Tensor) -> dict[str, Job]:
    """Quantus's measures of the same maps with as many passes, by the names of ours; nothing where it is not installed.

    Args:
        net: The plain network, in eval mode.
        images: (N, C, H, W).
        targets: (N,) class ids.
        maps: (N, C, H, W).
    """
    if importlib.util.find_spec("quantus") is None:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer: Any = importlib.import_module("quantus")

    pixels = images.shape[2] * images.shape[3]
    quiet = {"disable_warnings": True, "display_progressbar": False}
    x, y, flat = images.numpy(), targets.numpy(), maps.sum(1, keepdim=True).numpy()

    def gradient(model: nn.Module, inputs: Any, targets: Any, **_: Any) -> Any:
        pixels = torch.as_tensor(inputs).requires_grad_()
        score = model(pixels).gather(1, torch.as_tensor(targets)[:, None]).sum()
        return torch.autograd.grad(score, pixels)[0].sum(1, keepdim=True).numpy()

    flipping = peer.PixelFlipping(features_in_step=pixels // 32, perturb_baseline="black", normalise=False, abs=False, **quiet)
    sensitive = peer.MaxSensitivity(nr_samples=10, lower_bound=0.02, normalise=False, abs=False, **quiet)
    return {
        "Deletion": lambda: flipping(model=net, x_batch=x, y_batch=y, a_batch=flat),
        "Insertion": lambda: flipping(model=net, x_batch=x, y_batch=y, a_batch=-flat),
        "MaxSensitivity": lambda: sensitive(model=net, x_batch=x, y_batch=y, a_batch=flat, explain_func=gradient),
    }
