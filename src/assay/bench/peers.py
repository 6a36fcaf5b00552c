"""The same work done by Captum, pytorch-grad-cam and Quantus, where they are installed; for `assay bench` and tests only."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

__all__ = ["Peer", "PeerInput", "PeerSettings", "peers"]

Job = Callable[[], Any]
PeerSettings = Literal["default", "best"]


@dataclass(frozen=True)
class Peer:
    """The same work by another library.

    Attributes:
        library: Its name.
        settings: "default", or "best": whatever makes it fastest without changing what is computed.
        precision: Of its network and images.
        run: Does it.
    """

    library: str
    settings: PeerSettings
    precision: str
    run: Job


@dataclass(frozen=True)
class PeerInput:
    """What a peer is given.

    Attributes:
        net: The plain network, in eval mode.
        images: (N, C, H, W), in the network's precision and the memory layout in which its bare passes are fastest.
        targets: (N,) class ids.
        labels: (N, H, W) superpixels.
        maps: (N, C, H, W) that measures score.
        layer: Name of the layer that GradCAM and its kin take.
        precision: "float32" or "bfloat16".
        chunks: The chunk sizes at which bare passes are fastest (forward, forward and backward); None for the library's defaults.
    """

    net: nn.Module
    images: Tensor
    targets: Tensor
    labels: Tensor
    maps: Tensor
    layer: str
    precision: str
    chunks: tuple[int, int] | None


def peers(given: PeerInput) -> dict[str, list[Peer]]:
    """Peers by the names of our classes; of a library that is not installed there is none."""
    settings: PeerSettings = "default" if given.chunks is None else "best"
    made: tuple[tuple[str, str, Callable[[PeerInput], dict[str, Job]]], ...] = (
        ("Captum", "captum", _captum),
        ("Captum", "captum", _captum_measures),
        ("pytorch-grad-cam", "pytorch_grad_cam", _gradcam),
        ("Quantus", "quantus", _quantus),
    )
    found: dict[str, list[Peer]] = {}
    for library, module, jobs in made:
        # Quantus computes in numpy, which has no bfloat16, and takes its batches as they are.
        if importlib.util.find_spec(module) is None or (library == "Quantus" and (settings == "best" or given.precision != "float32")):
            continue
        for name, job in jobs(given).items():
            found.setdefault(name, []).append(Peer(library, settings, given.precision, job))
    return found


def _captum(given: PeerInput) -> dict[str, Job]:
    attr: Any = _quietly("captum.attr")
    net, images, targets = given.net, given.images, given.targets
    count, (height, width) = len(images), images.shape[2:]
    forward, backward = given.chunks or (1, None)
    batched = {} if backward is None else {"internal_batch_size": max(backward, count)}
    shared = {} if backward is None else {"nt_samples_batch_size": max(1, backward // count)}
    cell = (images.shape[1], -(-height // 8), -(-width // 8))

    def superpixels(method: Any) -> Tensor:
        """Captum takes one image at a time when each has superpixels of its own."""
        rows = (images[i : i + 1] for i in range(count))
        masks = (given.labels[i : i + 1, None] for i in range(count))
        return torch.cat(
            [
                method.attribute(row, target=int(target), feature_mask=mask, n_samples=100, perturbations_per_eval=forward)
                for row, mask, target in zip(rows, masks, targets, strict=True)
            ]
        )

    def leaf() -> Tensor:
        return images.clone().requires_grad_()

    noisy = attr.NoiseTunnel(attr.Saliency(net))
    found: dict[str, Job] = {
        "Gradient": lambda: attr.Saliency(net).attribute(leaf(), targets, abs=False),
        "GradientXInput": lambda: attr.InputXGradient(net).attribute(leaf(), targets),
        "IntegratedGradients": lambda: attr.IntegratedGradients(net).attribute(images, 0.0, targets, n_steps=10, **batched),
        "SmoothGrad": lambda: noisy.attribute(
            leaf(), nt_samples=30, stdevs=0.03, target=targets, abs=False, nt_type="smoothgrad", **shared
        ),
        "Lime": lambda: superpixels(attr.Lime(net)),
        "KernelShap": lambda: superpixels(attr.KernelShap(net)),
        "Occlusion": lambda: attr.Occlusion(net).attribute(
            images, sliding_window_shapes=cell, strides=cell, target=targets, perturbations_per_eval=max(1, forward // count)
        ),
    }
    if any(isinstance(one, nn.ReLU) for one in net.modules()):  # Captum guides ReLU modules alone.
        found["GuidedBackprop"] = lambda: attr.GuidedBackprop(net).attribute(leaf(), targets)
    return found


def _captum_measures(given: PeerInput) -> dict[str, Job]:
    """Captum's infidelity of the same maps with as many passes and the same noise."""
    metrics: Any = _quietly("captum.metrics")
    images, maps = given.images, given.maps.to(given.images.dtype)
    limit = {} if given.chunks is None else {"max_examples_per_batch": max(given.chunks[0], len(images))}

    def job(sigma: float) -> Job:
        def perturbed(inputs: Tensor) -> tuple[Tensor, Tensor]:
            noise = torch.randn_like(inputs) * sigma
            return noise, inputs - noise

        return lambda: metrics.infidelity(given.net, perturbed, images, maps, target=given.targets, n_perturb_samples=100, **limit)

    return {"Infidelity": job(0.2), "LocalLinearError": job(0.01)}


def _gradcam(given: PeerInput) -> dict[str, Job]:
    net = copy.deepcopy(given.net).requires_grad_(True)  # Without which it has no graph.
    layer = dict(net.named_modules()).get(given.layer)
    # Transformers need a reshape function there, which differs from network to network.
    if layer is None or not any(isinstance(one, nn.Conv2d) for one in layer.modules()):
        return {}
    cam: Any = _quietly("pytorch_grad_cam")
    classes: Any = importlib.import_module("pytorch_grad_cam.utils.model_targets")
    wanted = [classes.ClassifierOutputTarget(int(one)) for one in given.targets]

    def job(name: str) -> Job:
        def run() -> Any:
            with getattr(cam, name)(net, [layer]) as method:
                return method(given.images, wanted)

        return run

    return {ours: job(theirs) for ours, theirs in (("GradCAM", "GradCAM"), ("GradCAMpp", "GradCAMPlusPlus"), ("LayerCAM", "LayerCAM"))}


def _quantus(given: PeerInput) -> dict[str, Job]:
    """Quantus's measures of the same maps with as many passes."""
    peer: Any = _quietly("quantus")
    net, images = given.net, given.images
    pixels = images.shape[2] * images.shape[3]
    quiet = {"disable_warnings": True, "display_progressbar": False}
    x, y, flat = images.contiguous().numpy(), given.targets.numpy(), given.maps.sum(1, keepdim=True).numpy()

    def gradient(model: nn.Module, inputs: Any, targets: Any, **_: Any) -> Any:
        pixels = torch.as_tensor(inputs).requires_grad_()
        score = model(pixels).gather(1, torch.as_tensor(targets)[:, None]).sum()
        return torch.autograd.grad(score, pixels)[0].sum(1, keepdim=True).numpy()

    flipping = peer.PixelFlipping(features_in_step=pixels // 32, perturb_baseline="black", normalise=False, abs=False, **quiet)
    sensitive = peer.MaxSensitivity(nr_samples=10, lower_bound=0.02, normalise=False, abs=False, **quiet)
    lipschitz = peer.LocalLipschitzEstimate(nr_samples=50, perturb_std=0.03, normalise=False, abs=False, **quiet)
    road = peer.ROAD(percentages=list(range(10, 100, 10)), noise=0.01, normalise=False, **quiet)

    def explaining(measure: Any) -> Job:
        return lambda: measure(model=net, x_batch=x, y_batch=y, a_batch=flat, explain_func=gradient)

    return {
        "Deletion": lambda: flipping(model=net, x_batch=x, y_batch=y, a_batch=flat),
        "Insertion": lambda: flipping(model=net, x_batch=x, y_batch=y, a_batch=-flat),
        "MaxSensitivity": explaining(sensitive),
        "LocalLipschitz": explaining(lipschitz),
        "Road": lambda: road(model=net, x_batch=x, y_batch=y, a_batch=flat),
    }


def _quietly(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name)
